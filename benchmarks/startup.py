"""From the start of the process to the first answer, and the memory that the service then has.

    python -m benchmarks.startup [--quick] [--times 3]

Our service with the shipped model, beside stock BentoML and FastAPI with the float32 one; memory is the proportional
set size of all processes, counted after a hundred requests, for one and for two workers. Writes
benchmarks/results/startup-<hardware>-<date>.csv.
"""

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.markdown import table
from alexnet.paths import ROOT
from benchmarks import environments, models, records, systems
from benchmarks.images import small_jpegs
from benchmarks.records import Row, choose, value
from benchmarks.systems import FASTAPI, OURS, STOCK, System
from benchmarks.verdict import Verdict, ratio

KIND: Final = "startup"
SHIPPED: Final = "shipped"
_REQUESTS: Final = 100
_PINS: Final = tuple(ROOT / "requirements" / name for name in ("serving.txt", "cpu.txt"))


def measure(shipped: Path, float32: Path, times: int, with_fastapi: bool) -> list[dict[str, Any]]:
    """A row for each start. They take turns, so that what else the machine does hits all of them."""
    one, two = (dataclasses.replace(OURS, environment={"ALEXNET_WORKERS": number}) for number in ("1", "2"))
    cases = [(one, shipped, 1), (STOCK, float32, 1), (two, shipped, 2)]
    if with_fastapi:
        cases.append((FASTAPI, float32, 1))
    rows: list[dict[str, Any]] = []
    for number in range(1, times + 1):
        for system, model, workers in cases:
            print(f"start {number}: {system.name}, {workers} workers", file=sys.stderr, flush=True)
            found = start(system, model)
            name = SHIPPED if model == shipped else "float32"
            known = {"system": system.name, "model": name, "sha256": files.sha256(model)[:12], "workers": workers}
            rows.append({**known, "number": number, **found, "environment_mb": environment_mb() if not rows else ""})
    return rows


def start(system: System, model: Path) -> dict[str, Any]:
    """Seconds from the start of the process to its first answer, and its memory."""
    started = time.perf_counter()
    with system.serve(model) as server:
        seconds = time.perf_counter() - started
        sent = systems.requests(system, 1, small_jpegs())
        for number in range(_REQUESTS):
            systems.ask(server.url, system.path(1), *sent[number % len(sent)])
        return {"seconds_to_ready": seconds, "memory_mb": server.memory_mb()}


def environment_mb() -> float:
    """MB of 10^6 bytes that the packages of `make serve` take here, without bytecode."""
    names = [name for file in _PINS for name in re.findall(r"^([\w.-]+)==", file.read_text(), re.MULTILINE)]
    size = 0
    for name in names:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or the other ONNX Runtime
        paths = (Path(str(found.locate_file(path))) for path in found.files or () if path.suffix != ".pyc")
        size += sum(path.stat().st_size for path in paths if path.is_file())
    return size / 1e6


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of the start."""
    ours = value(rows, "seconds_to_ready", system=OURS.name, workers=1)
    stock = value(rows, "seconds_to_ready", system=STOCK.name, workers=1)
    size = next((float(row["environment_mb"]) for row in rows if row.get("environment_mb")), None)
    what = "start to ready, one worker"
    return [
        Verdict(what, ratio(ours, stock), f"{STOCK.name} with the float32 model", 1.0, at_most=True),
        Verdict(what, ours, "from start to ready", 1.5, at_most=True, unit=" s"),
        Verdict("packages of `make serve`", size, "on disk", 250, at_most=True, unit=" MB"),
    ]


def tables(rows: Sequence[Row]) -> str:
    """Medians, and the size of the image where it was built."""
    lines = []
    for system, workers in dict.fromkeys((row["system"], row["workers"]) for row in rows):
        found = choose(rows, system=system, workers=workers)
        seconds = [float(row["seconds_to_ready"]) for row in found]
        memory = value(found, "memory_mb") or 0
        middle = value(found, "seconds_to_ready") or 0
        lines.append(
            [
                system,
                found[0]["model"],
                workers,
                f"{middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
                f"{memory:,.0f}",
            ]
        )
    sha256 = choose(rows, model=SHIPPED)[0]["sha256"]
    text = f"The {SHIPPED} {records.describe_model(sha256)}:\n\n"
    text += table(("system", "model", "workers", "start to ready, s", "memory, MB"), lines)
    return text + "\n\nSize and speed of the container image: [deployment.md](deployment.md)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge; returns the exit code, 0 also where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="starts of each (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one start of each")
    parser.add_argument("--no-peers", action="store_true", help="without FastAPI, which would have to be installed")
    models.add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        if not options.no_peers:
            environments.PEERS.ensure()
        float32 = models.float32(options.float32)
        rows = measure(options.model, float32, 1 if options.quick else options.times, not options.no_peers)
    except UserError as error:
        print(f"benchmarks.startup: {error}", file=sys.stderr)
        return 1
    records.publish(KIND, rows, {}, tables, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
