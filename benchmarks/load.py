"""Load on a server with wrk (https://github.com/wg/wrk): requests/s, latencies and errors.

In: an address and the bodies that are sent in turn. Out: `Measured`. Each client waits for its answer before it sends
the next request, as wrk does.
"""

import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alexnet.errors import UserError

BOUNDARY: Final = "----benchmark7MA4YWxkTrZu0gW"
_SCRIPT: Final = """
local folder, count, path, kind = %s, %d, %s, %s
local requests, turn = {}, 0

function init(args)
  for i = 1, count do
    local file = io.open(folder .. "/" .. i, "rb")
    requests[i] = wrk.format("POST", path, {["Content-Type"] = kind}, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn %% count + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %%d, "microseconds": %%d, "p50": %%d, "p95": %%d, "p99": %%d, "errors": %%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Measured:
    """Good responses/s, percentiles of the latency in ms, and how many responses were errors or missing."""

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


def find() -> str:
    """The path of wrk. Raises `UserError` when it is not installed."""
    found = shutil.which("wrk")
    if found is None:
        raise UserError("wrk is not installed; `apt-get install wrk` on Debian or Ubuntu, `brew install wrk` on macOS")
    return found


def version() -> str:
    """The version of wrk, which prints `wrk 4.2.0 [epoll]`, or on Debian `wrk debian/4.1.0-4 [epoll]`."""
    text = subprocess.run([find(), "-v"], capture_output=True, text=True, check=False)
    return (re.search(r"^wrk (?:\S+/)?(\d\S*)", text.stdout + text.stderr, re.MULTILINE) or ["", "unknown"])[1]


def form(field: str, images: Sequence[bytes]) -> tuple[str, bytes]:
    """Content type and body of a multipart form with JPEG files, as curl and browsers send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{number}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + image
        + b"\r\n"
        for number, image in enumerate(images)
    ]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def measure(url: str, path: str, kind: str, bodies: Sequence[bytes], clients: int, seconds: float) -> Measured:
    """Send the bodies in turn to `url` + `path` for so long, from so many connections at once."""
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(bodies, 1):
            Path(folder, str(number)).write_bytes(body)
        script = Path(folder, "script.lua")
        script.write_text(_SCRIPT % (json.dumps(folder), len(bodies), json.dumps(path), json.dumps(kind)))
        command = [find(), "-t", "1", "-c", str(clients), "-d", f"{max(1, math.ceil(seconds))}s", "--timeout", "30s"]
        done = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=False)
    line = re.search("RESULT (.*)", done.stdout)
    if line is None:
        raise RuntimeError(f"wrk failed:\n{done.stdout}{done.stderr}")
    found = json.loads(line[1])
    good = found["requests"] - found["errors"]
    p50, p95, p99 = (found[name] / 1000 for name in ("p50", "p95", "p99"))
    return Measured(good / (found["microseconds"] / 1e6), p50, p95, p99, found["errors"])
