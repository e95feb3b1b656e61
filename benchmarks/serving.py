"""The service beside its peers, on this machine, at the same task.

    python -m benchmarks.serving [--quick] [--only ours "stock BentoML"] [--rounds 3] [--seconds 2]

Every system serves the float32 model of 224 pixels, which is what people do today, and our shipped model, which leaves
the server alone to make a difference. Ten real images as JPEG files of 32 x 32 pixels are sent in turn, as multipart
forms, by 1, 8 and 32 clients; and 16 in each request by 8. Every server runs as its documentation starts it, logs what
it logs by default, and is checked to answer rightly. Writes benchmarks/results/serving-<hardware>-<date>.csv.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.markdown import table
from benchmarks import load, models, records, systems
from benchmarks.records import Row, choose, value
from benchmarks.systems import FASTAPI, OURS, RUNTIME, STOCK, System
from benchmarks.verdict import Verdict, ratio

KIND: Final = "serving"
CLIENTS: Final = (1, 8, 32)
BATCH: Final = 16
BATCH_CLIENTS: Final = 8
FLOAT32: Final = "float32"
SHIPPED: Final = "shipped"
_WARM_UP_SECONDS: Final = 1.0
_MANY: Final = 32  # images asked for at once, from which on answers come so unevenly that it takes the whole time
_ANSWERS: Final = 3  # that each client gets at least, unless that would take longer than
_MOST_SECONDS: Final = 4.0
_RUNTIME_BATCHES: Final = (1, BATCH, 32)


def measure(
    chosen: Sequence[System], models_: dict[str, Path], rounds: int, seconds: float, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each system, model, number of clients and round; the order is another in each round."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for round_ in range(1, rounds + 1):
        tasks = [(name, system) for name in models_ for system in (*chosen, None)]
        rng.shuffle(tasks)
        for model, system in tasks:
            common = {"model": model, "sha256": files.sha256(models_[model])[:12], "round": round_}
            print(f"round {round_}: {system.name if system else RUNTIME}, {model}", file=sys.stderr, flush=True)
            if system is None:
                rows += [{**common, **row} for row in measure_runtime(models_[model], seconds / 2)]
            else:
                try:
                    rows += [{**common, **row} for row in measure_system(system, models_[model], seconds)]
                except RuntimeError as error:
                    if system is OURS:
                        raise
                    print(f"left out, {system.name} with the {model} model: {error}", file=sys.stderr, flush=True)
    return rows


def measure_system(system: System, model: Path, seconds: float) -> list[dict[str, Any]]:
    """A row for each number of clients and images in a request."""
    rows: list[dict[str, Any]] = []
    per_second = 0.0  # images, as measured last
    with system.serve(model) as server:
        systems.check(system, server, model)
        for clients, size in [*((clients, 1) for clients in CLIENTS), (BATCH_CLIENTS, BATCH)]:
            if size > 1 and not system.batches:
                continue
            sent = systems.requests(system, size)
            options = (server.url, systems.path_for(size), sent[0][0], [body for _, body in sent], clients)
            if not rows or size > 1:  # what this server has not done before
                per_second = load.measure(*options, _WARM_UP_SECONDS).per_second * size or per_second
            share = 1.0 if clients * size >= _MANY else 0.5
            found = load.measure(*options, long_enough(share * seconds, clients * size, per_second))
            per_second = found.per_second * size or per_second
            rows.append(
                {
                    "system": system.name,
                    "clients": clients,
                    "images": size,
                    **asdict(found),
                    "images_per_second": found.per_second * size,
                    "memory_mb": server.memory_mb(),
                }
            )
    return rows


def long_enough(seconds: float, images: int, per_second: float) -> float:
    """Seconds in which every client gets a few answers, where so many images are asked for at once."""
    if not per_second:
        return _MOST_SECONDS
    return min(max(seconds, _ANSWERS * images / per_second), max(seconds, _MOST_SECONDS))


def measure_runtime(model: Path, seconds: float) -> list[dict[str, Any]]:
    """The same for ONNX Runtime without a server."""
    return [
        {
            "system": RUNTIME,
            "clients": 1,
            "images": size,
            **found,
            "errors": 0,
            "images_per_second": found["per_second"] * size,
            "memory_mb": "",
        }
        for size, found in systems.run_alone(model, seconds, _RUNTIME_BATCHES).items()
    ]


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of the service's speed."""

    def rate(system: str, model: str, clients: int, images: int = 1, column: str = "images_per_second") -> float | None:
        return value(rows, column, system=system, model=model, clients=clients, images=images)

    ours = rate(OURS.name, SHIPPED, 32)
    peers = {s.name: rate(s.name, FLOAT32, 32) or 0.0 for s in systems.ALL if s is not OURS}
    best = max(peers, key=peers.__getitem__)
    p50 = rate(OURS.name, SHIPPED, 1, column="p50_ms")
    p99 = rate(OURS.name, SHIPPED, 1, column="p99_ms")
    single = "single images, 32 clients, requests/s"
    return [
        Verdict(single, ratio(ours, rate(STOCK.name, FLOAT32, 32)), f"{STOCK.name} with the float32 model", 12),
        Verdict(single, ratio(ours, peers[best]), f"the best peer with the float32 model, {best}", 5.5),
        Verdict(single, ratio(ours, rate(FASTAPI.name, SHIPPED, 32)), f"{FASTAPI.name} with our model", 1.15),
        Verdict(
            "single images, 1 client, p50",
            ratio(p50, rate(FASTAPI.name, SHIPPED, 1, column="p50_ms")),
            f"{FASTAPI.name} with our model",
            1.0,
            at_most=True,
        ),
        Verdict("single images, 1 client, p99", ratio(p99, p50), "our own p50", 3, at_most=True),
        Verdict(
            f"batches of {BATCH}, images/s",
            ratio(rate(OURS.name, SHIPPED, BATCH_CLIENTS, BATCH), rate(RUNTIME, SHIPPED, 1, BATCH)),
            f"{RUNTIME} with our model",
            0.85,
        ),
        Verdict(
            f"{RUNTIME}, batch 32, our model",
            ratio(rate(RUNTIME, SHIPPED, 1, 32), rate(RUNTIME, FLOAT32, 1, 32)),
            "the float32 model",
            7,
        ),
    ]


def tables(rows: Sequence[Row]) -> str:
    """For each model a table of medians and, after ±, half the range of the rounds."""
    parts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        lines_ = []
        for system in dict.fromkeys(row["system"] for row in choose(rows, model=model)):
            for key in sorted(
                {(int(row["images"]), int(row["clients"])) for row in choose(rows, model=model, system=system)}
            ):
                found = choose(rows, model=model, system=system, images=key[0], clients=key[1])
                lines_.append([system, str(key[1]), str(key[0]), *_cells(found)])
        lines_.sort(key=lambda cells: (int(cells[2]), int(cells[1]), -float(cells[3].split()[0].replace(",", ""))))
        sha256 = choose(rows, model=model)[0]["sha256"]
        title = f"The {model} {records.describe_model(sha256)}" if model == SHIPPED else f"The {model} model"
        header = ("system", "clients", "images", "images/s", "p50, ms", "p95, ms", "p99, ms", "errors", "memory, MB")
        parts.append(f"{title}:\n\n{table(header, lines_)}")
    return "\n\n".join(parts)


def _cells(rows: Sequence[Row]) -> list[str]:
    rates = [float(row["images_per_second"]) for row in rows]
    times = [f"{median(float(row[name]) for row in rows):.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    memory = [float(row["memory_mb"]) for row in rows if row["memory_mb"]]
    return [
        f"{median(rates):,.0f} ± {(max(rates) - min(rates)) / 2:,.0f}",
        *times,
        str(sum(int(row["errors"]) for row in rows)),
        f"{median(memory):,.0f}" if memory else "",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge; returns the exit code, 0 also where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=2, help="of load for each number, half for the smaller ones (default: 2)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--only", nargs="+", choices=[s.name for s in systems.ALL], help="these systems alone")
    models.add_arguments(parser)
    options = parser.parse_args(arguments)
    chosen = [s for s in systems.ALL if options.only is None or s.name in options.only]
    try:
        versions = {"wrk": load.version()}
        if any(s.name not in (OURS.name, STOCK.name, systems.BATCHABLE.name) for s in chosen):
            versions |= {f"peer {name}": version for name, version in systems.ensure_peers().items()}
        found = {FLOAT32: models.float32(options.float32), SHIPPED: options.model}
        rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
        rows = measure(chosen, found, rounds, seconds)
    except (UserError, subprocess.CalledProcessError) as error:
        print(f"benchmarks.serving: {error}", file=sys.stderr)
        return 1
    records.publish(KIND, rows, versions, tables, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
