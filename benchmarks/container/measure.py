"""What the image costs: bytes, seconds until it is ready, memory, and requests per second on one CPU.

In: an engine that can build and run the image. Out: the result as `benchmarks/results/container.json` has it, and the
tables of docs/guide/deployment.md.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from alexnet import environment, markdown
from alexnet.paths import ROOT
from benchmarks.container import engine as engines
from benchmarks.container.service import Image, Service, harden, memory_bytes, start
from benchmarks.records import describe_model

RESULT = ROOT / "benchmarks" / "results" / "container.json"
PAGE = ROOT / "docs" / "guide" / "deployment.md"
CLIENTS = (1, 8, 32)
CAT = "/images/cat/00000.png"
MB = 1e6

# Runs inside the image. What a package's wheel brings beside its folder (its libraries) is counted with it.
_COUNT = """
import json, pathlib

def size(*paths):
    files = [f for p in paths for f in (p, *p.rglob("*")) if f.is_file() and not f.is_symlink()]
    return sum(f.stat().st_size for f in files)

packages = next(pathlib.Path("/app/lib").glob("python3*")) / "site-packages"
groups = {"onnxruntime": "onnxruntime*", "numpy": "numpy*", "Pillow": "[Pp][Ii][Ll]*", "bentoml": "*bentoml*"}
found = {name: size(*packages.glob(pattern)) for name, pattern in groups.items()}
found["the other packages"] = size(pathlib.Path("/app")) - sum(found.values())
found["the model"] = size(pathlib.Path("/bento/src/models/alexnet/model.onnx"))
found["the rest of the Bento: code and the web page"] = size(pathlib.Path("/bento")) - found["the model"]
print(json.dumps(found))
"""


def measure(times: int, seconds: float) -> dict[str, Any]:
    """Build, start `times` times, load for `seconds` with each number of clients."""
    engine = engines.find()
    base = engines.python_image(engine)
    with tempfile.TemporaryDirectory() as store:
        built = engines.build(engine, base, Path(store))
    image = Image(built["Id"], built["Size"], engine.inspect(base, "image")["Size"], built["Config"]["Labels"])
    options = [*harden(engine), "-e", "ALEXNET_ACCESS_LOG=false"]
    try:
        bytes_of = json.loads(engine.run("--rm", "--net", "none", image.id, "python", "-c", _COUNT).stdout)
        starts = []
        for _ in range(times):
            service = start(engine, image, *options)
            starts.append(service.seconds_to_ready)
            idle = memory_bytes(service)
            service.remove()
        service = start(engine, image, *options)
        loads = [{"clients": clients, **_load(service, clients, seconds)} for clients in CLIENTS]
        exit_code = service.stop()
        service.remove()
    finally:
        engine("rmi", "--force", image.id, check=False)
    return {
        "model": {"sha256": image.labels["alexnet.model.sha256"]},
        "image": {"engine": engine.tool, "base": base, "base_bytes": image.base_size, "bytes": image.size},
        "bytes": bytes_of,
        "seconds_to_ready": starts,
        "idle_bytes": idle,
        "loads": loads,
        "exit_code": exit_code,
        "environment": environment.describe("bentoml", "numpy"),
    }


def _load(service: Service, clients: int, seconds: float) -> dict[str, Any]:
    command = service.client("load", str(clients), str(seconds), CAT)
    found: dict[str, Any] = json.loads(service.engine(*command, seconds=seconds + 120).stdout)
    return {**found, "bytes": memory_bytes(service)}


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The texts of docs/guide/deployment.md, by the name of their markers."""
    image, machine = result["image"], result["environment"]
    beyond = image["bytes"] - image["base_bytes"]
    sizes = [f"| {name} | {size / MB:.1f} |" for name, size in result["bytes"].items()]
    sizes += [f"| **beyond the base image** | **{beyond / MB:.0f}** |"]
    loads = [
        f"| {row['clients']} | {row['requests']:.0f} | {row['p50'] * 1e3:.0f} | {row['p99'] * 1e3:.0f} "
        f"| {row['bytes'] / MB:.0f} |"
        for row in result["loads"]
    ]
    starts = result["seconds_to_ready"]
    return {
        "bytes": "\n".join(
            [f"With {describe_model(result['model']['sha256'])}:", "", "| what | MB |", "|---|---|", *sizes]
        ),
        "sizing": "\n".join(
            [
                f"One CPU of {machine['cpu']}, limits of the manifest, {describe_model(result['model']['sha256'])}: "
                f"ready {statistics.median(starts):.1f} s after `run` ({max(starts):.1f} s at most of {len(starts)}), "
                f"{result['idle_bytes'] / MB:.0f} MB before the first request.",
                "",
                "| clients | requests/s | p50, ms | p99, ms | memory, MB |",
                "|---|---|---|---|---|",
                *loads,
            ]
        ),
    }


def report(page: Path, result: dict[str, Any]) -> None:
    """Write the tables between their markers in `page`."""
    text = page.read_text()
    for name, table in tables(result).items():
        text = markdown.replace_section(text, name, table)
    page.write_text(text)
