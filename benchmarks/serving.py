"""The service beside its peers, on this machine, at the same task.

    python -m benchmarks.serving [--quick] [--only ours "stock BentoML"] [--rounds 3] [--seconds 2]

The published systems serve the float32 model with 224-pixel input, which is common practice. Our service, the best of
them and the barest servers serve our shipped model, so that only the servers differ. Ten test images as JPEG files of
32 x 32 pixels are sent in turn, as multipart forms (to MLServer in JSON), by 1 and 32 clients; 16 in each request by 8;
and photos of 12 megapixels by 1 and 8. Every server runs as its documentation starts it, logs what it logs by default,
and is checked to answer rightly. Writes benchmarks/results/serving-<hardware>-<date>.csv.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.markdown import table
from benchmarks import load, models, records, systems
from benchmarks.images import PHOTO, photos, small_jpegs
from benchmarks.records import Row, choose, value
from benchmarks.systems import (
    ASGI,
    ASGI_2,
    FASTAPI,
    LITSERVE,
    LITSERVE_32,
    LITSERVE_ZMQ,
    MLSERVER,
    MOSEC,
    OURS,
    PUBLISHED,
    RAY,
    RUNTIME,
    STOCK,
    System,
)
from benchmarks.verdict import Verdict, ratio

KIND: Final = "serving"
BATCH: Final = 16
FLOAT32: Final = "float32"
SHIPPED: Final = "shipped"
SMALL: Final = "32 x 32"
PHOTOS: Final = f"{PHOTO[0]} x {PHOTO[1]}"
RATE: Final = "images_per_second"
_WITH_SHIPPED: Final = (OURS, FASTAPI, LITSERVE_32, LITSERVE_ZMQ, MLSERVER, *systems.BARE)
_WITH_PHOTOS: Final = (OURS, ASGI, MOSEC)
_PUBLISHED_ROUNDS: Final = 2  # at most: they differ by more than their rounds do
_ONCE: Final = (RAY, MLSERVER, LITSERVE, LITSERVE_ZMQ)  # two take so long to start, two only show a difference
_WARM_UP_SECONDS: Final = 1.0
_MANY: Final = 32  # images in flight, from which on responses come so unevenly that it takes the whole time
_PHOTOS: Final = 4
_ANSWERS: Final = 3  # that each client gets at least, unless that would take longer than
_MOST_SECONDS: Final = 4.0
_IDLE_SPREAD: Final = 0.1  # 0.03 to 0.06 on idle machines, 0.14 to 0.25 on one whose host had other work
_RUNTIME_BATCHES: Final = (1, BATCH, 32)


@dataclass(frozen=True)
class Load:
    """How many clients send how many images of which size in a request."""

    clients: int
    images: int = 1
    size: str = SMALL


def loads(system: System, model: str) -> Iterator[Load]:
    """What is measured of a system with a model."""
    if model == FLOAT32:
        yield Load(32)
        return
    yield from (Load(1), Load(32))
    if system.batches:
        yield Load(8, BATCH)
    if system in _WITH_PHOTOS:
        yield from (Load(1, size=PHOTOS), Load(8, size=PHOTOS))


def measure(
    chosen: Sequence[System], models_: dict[str, Path], rounds: int, seconds: float, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each system, model, load and round; the order is another in each round."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for round_ in range(1, rounds + 1):
        tasks: list[tuple[str, System | None]] = [(name, None) for name in models_]
        if round_ <= _PUBLISHED_ROUNDS:
            tasks += [(FLOAT32, system) for system in PUBLISHED]
        tasks += [(SHIPPED, system) for system in _WITH_SHIPPED]
        tasks = [
            task for task in tasks if task[1] is None or (task[1] in chosen and (round_ == 1 or task[1] not in _ONCE))
        ]
        rng.shuffle(tasks)
        for model, system in tasks:
            common = {"model": model, "sha256": files.sha256(models_[model])[:12], "round": round_}
            print(f"round {round_}: {system.name if system else RUNTIME}, {model}", file=sys.stderr, flush=True)
            if system is None:
                rows += [{**common, **row} for row in measure_runtime(models_[model], seconds / 2)]
                continue
            try:
                found = measure_system(system, models_[model], list(loads(system, model)), seconds)
            except RuntimeError as error:
                if system is OURS:
                    raise
                print(f"left out, {system.name} with the {model} model: {error}", file=sys.stderr, flush=True)
            else:
                rows += [{**common, **row} for row in found]
    return rows


def measure_system(system: System, model: Path, todo: Sequence[Load], seconds: float) -> list[dict[str, Any]]:
    """A row for each load."""
    rows: list[dict[str, Any]] = []
    warm: set[tuple[int, str]] = set()
    per_second = 0.0  # images, as measured last
    with system.serve(model) as server:
        systems.check(system, server, model)
        for item in todo:
            content = photos(PHOTO, _PHOTOS) if item.size == PHOTOS else small_jpegs()
            sent = systems.requests(system, item.images, content)
            options = (server.url, system.path(item.images), sent[0][0], [body for _, body in sent], item.clients)
            if (item.images, item.size) not in warm:  # what this server has not done before
                per_second = load.measure(*options, _WARM_UP_SECONDS).per_second * item.images
                warm.add((item.images, item.size))
            share = 1.0 if item.clients * item.images >= _MANY or item.size == PHOTOS else 0.5
            found = load.measure(*options, long_enough(share * seconds, item.clients * item.images, per_second))
            per_second = found.per_second * item.images or per_second
            rows.append(
                {
                    "system": system.name,
                    **asdict(item),
                    **asdict(found),
                    "images_per_second": found.per_second * item.images,
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
            "size": SMALL,
            **found,
            "errors": 0,
            "images_per_second": found["per_second"] * size,
            "memory_mb": "",
        }
        for size, found in systems.run_alone(model, seconds, _RUNTIME_BATCHES).items()
    ]


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of the service's speed."""

    def of(
        system: str, clients: int, model: str = SHIPPED, images: int = 1, size: str = SMALL, column: str = RATE
    ) -> float | None:
        found = [row for row in rows if row.get("size", SMALL) == size]
        return value(found, column, system=system, model=model, clients=clients, images=images)

    def p50(system: str, size: str = SMALL) -> float | None:
        return of(system, 1, size=size, column="p50_ms")

    def rate(system: str, *, size: str = SMALL) -> float | None:
        return of(system, 8 if size == PHOTOS else 32, size=size)

    peers = {system.name: of(system.name, 32, FLOAT32) or 0.0 for system in PUBLISHED}
    best = max(peers, key=peers.__getitem__)
    ours, alone = rate(OURS.name), of(RUNTIME, 1, images=32)
    many, one = "32 clients, images/s", "1 client, p50"
    large = "12-megapixel photos, "
    with_ours = "with our model"
    return [
        Verdict(many, ratio(ours, of(STOCK.name, 32, FLOAT32)), f"{STOCK.name} with the float32 model", 18),
        Verdict(many, ratio(ours, peers[best]), f"the best published system with the float32 model, {best}", 10),
        Verdict(many, ratio(ours, rate(FASTAPI.name)), f"{FASTAPI.name} {with_ours}", 1.5),
        Verdict(many, ratio(ours, rate(MOSEC.name)), f"{MOSEC.name} {with_ours}", 1.1),
        Verdict(many, ratio(ours, rate(ASGI_2.name)), f"{ASGI_2.name}, {with_ours}", 1.1),
        Verdict(many, ratio(ours, alone), f"{RUNTIME} at batch 32", 0.75),
        Verdict(one, ratio(p50(OURS.name), p50(ASGI.name)), f"{ASGI.name} {with_ours}", 1.1, at_most=True),
        Verdict(one, ratio(p50(OURS.name), p50(FASTAPI.name)), f"{FASTAPI.name} {with_ours}", 0.85, at_most=True),
        Verdict(one, ratio(p50(OURS.name), p50(RUNTIME)), RUNTIME, 1.35, at_most=True),
        Verdict(
            "1 client, p99", ratio(of(OURS.name, 1, column="p99_ms"), p50(OURS.name)), "our own p50", 3, at_most=True
        ),
        Verdict(
            f"batches of {BATCH}, images/s",
            ratio(of(OURS.name, 8, images=BATCH), of(RUNTIME, 1, images=BATCH)),
            RUNTIME,
            0.92,
        ),
        Verdict(
            f"{large}8 clients, images/s",
            ratio(rate(OURS.name, size=PHOTOS), rate(MOSEC.name, size=PHOTOS)),
            f"{MOSEC.name} with our model and decoder",
            1.2,
        ),
        Verdict(
            f"{large}{one}",
            ratio(p50(OURS.name, PHOTOS), p50(ASGI.name, PHOTOS)),
            f"{ASGI.name} with our model and decoder",
            0.7,
            at_most=True,
        ),
    ]


def tables(rows: Sequence[Row]) -> str:
    """For each model and image size a table of medians and, after ±, half the range of the rounds."""
    parts = [_describe_spread(rows)]
    for model, size in dict.fromkeys((row["model"], row.get("size", SMALL)) for row in rows):
        part = [row for row in rows if (row["model"], row.get("size", SMALL)) == (model, size)]
        cells = [
            [system, clients, images, *_cells(choose(part, system=system, clients=clients, images=images))]
            for system, clients, images in dict.fromkeys((row["system"], row["clients"], row["images"]) for row in part)
        ]
        cells.sort(key=lambda line: (int(line[2]), int(line[1]), -float(line[3].split()[0].replace(",", ""))))
        sha256 = part[0]["sha256"]
        name = f"shipped {records.describe_model(sha256)}" if model == SHIPPED else f"{model} model"
        header = ("system", "clients", "images", "images/s", "p50, ms", "p95, ms", "p99, ms", "errors", "memory, MB")
        parts.append(f"The {name}, images of {size} pixels:\n\n{table(header, cells)}")
    return "\n\n".join(filter(None, parts))


def _describe_spread(rows: Sequence[Row]) -> str:
    share = records.spread(rows, RATE, ("system", "model", "clients", "images", "size"))
    if share is None:
        return ""
    text = f"The rounds of a measurement differ by {share:.0%} at the median."
    return (
        text if share <= _IDLE_SPREAD else f"{text} The machine was not idle: do not trust the ratios, measure again."
    )


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
        for environment in dict.fromkeys(s.needs for s in chosen if s.needs):
            versions |= environment.ensure()
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
