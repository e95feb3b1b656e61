"""The tables, verdicts and pictures of docs/benchmarks.md, from the CSV files of benchmarks/results/ alone.

    python -m benchmarks.report

What stands between the markers of the page is made anew from the newest file of each kind; the rest is written by hand.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from alexnet import files
from alexnet.markdown import replace_section
from benchmarks import evaluate, inference, records, serving, startup, training
from benchmarks.harness import ROOT
from benchmarks.records import Row, choose, value
from benchmarks.systems import RUNTIME

PAGE: Final = ROOT / "docs" / "benchmarks.md"
PICTURES: Final = ROOT / "docs" / "benchmarks"
KINDS: Final[dict[str, ModuleType]] = {
    module.KIND: module for module in (serving, inference, evaluate, training, startup)
}


def render(page: str, folder: Path = records.RESULTS) -> str:
    """The text of the page with the measurements as `folder` has them."""
    for kind, module in KINDS.items():
        page = replace_section(page, kind, section(kind, module, folder))
    return page


def section(kind: str, module: ModuleType, folder: Path) -> str:
    """What was measured of one kind: with what, the verdicts, the picture and the tables."""
    path = records.newest(kind, folder)
    if path is None:
        return f"Not measured yet: `python -m benchmarks.{kind}`."
    rows = records.read(path)
    first = rows[0]
    parts = [
        f"{first['date']}, {first['cpus']} CPUs of {first['cpu']}; {first['versions']}.",
        "\n".join(f"- {verdict.line()}" for verdict in module.verdicts(rows)),
    ]
    if kind in DRAWN:
        parts.append(f"![{DRAWN[kind].__doc__}](benchmarks/{kind}.png)")
    return "\n\n".join([*parts, module.tables(rows)])


def draw(folder: Path = records.RESULTS, pictures: Path = PICTURES) -> list[Path]:
    """The pictures of what was measured."""
    import matplotlib  # needed by this function alone

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = []
    for kind, plot in DRAWN.items():
        path = records.newest(kind, folder)
        if path is None:
            continue
        figure = plot(plt, records.read(path))
        figure.tight_layout()
        pictures.mkdir(parents=True, exist_ok=True)
        target = pictures / f"{kind}.png"
        with files.replacing(target) as partial:
            figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
        plt.close(figure)
        drawn.append(target)
    return drawn


def _draw_serving(plt: Any, rows: Sequence[Row]) -> Any:
    """Images a second with 32 clients, and latency with one, by system and model"""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    names = [name for name in dict.fromkeys(row["system"] for row in rows) if name != RUNTIME]
    best = {name: value(rows, "images_per_second", system=name, clients=32, images=1) or 0.0 for name in names}
    names.sort(key=best.__getitem__)
    for place, model in enumerate((serving.FLOAT32, serving.SHIPPED)):
        heights = [y + 0.38 * (place - 0.5) for y in range(len(names))]
        found = [{"system": name, "model": model, "images": 1} for name in names]
        rates = [value(rows, "images_per_second", clients=32, **key) or 0.0 for key in found]
        axes[0].barh(heights, rates, 0.36, label=f"{model} model")
        p50, p99 = ([value(rows, c, clients=1, **key) or 0.0 for key in found] for c in ("p50_ms", "p99_ms"))
        axes[1].barh(heights, p50, 0.36, label=f"{model} model, p50")
        axes[1].scatter(p99, heights, marker="|", s=120, color="black", label="p99" if place else None)
    axes[0].set_xlabel("images a second, 32 clients")
    axes[1].set_xlabel("milliseconds, 1 client")
    axes[1].set_xscale("log")
    for axis in axes:
        axis.set_yticks(range(len(names)), names)
        axis.legend()
    return figure


def _draw_inference(plt: Any, rows: Sequence[Row]) -> Any:
    """Images a second by batch size, model and threads"""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    whole = [row for row in rows if row["images_per_second"]]
    for model, threads in dict.fromkeys((row["model"], row["threads"]) for row in whole):
        found = choose(whole, model=model, threads=threads)
        x, y = [int(row["batch"]) for row in found], [float(row["images_per_second"]) for row in found]
        axis.plot(x, y, marker="o", label=f"{model}, {threads} threads")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("images in a batch")
    axis.set_ylabel("images a second")
    axis.legend()
    return figure


def _draw_training(plt: Any, rows: Sequence[Row]) -> Any:
    """Images a second of training, by loop, precision and batch size"""
    figure, axis = plt.subplots(figsize=(7, 3.5))
    names = [f"{row['system']}, {row['precision']}, batch {row['batch']}" for row in rows]
    axis.barh(names, [float(row["images_per_second"]) for row in rows])
    axis.set_xlabel("images a second")
    return figure


DRAWN: Final[dict[str, Callable[[Any, Sequence[Row]], Any]]] = {
    serving.KIND: _draw_serving,
    inference.KIND: _draw_inference,
    training.KIND: _draw_training,
}


def main() -> int:
    """Write the page and its pictures."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path in [PAGE, *draw()]:
        print(path.relative_to(ROOT), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
