"""The tables, verdicts and plots of docs/guide/benchmarks.md, from the CSV files of benchmarks/results/ alone.

    python -m benchmarks.report

What stands between the markers of the page is made anew from the newest file of each kind; the rest is written by hand.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from alexnet import files
from alexnet.markdown import replace_section, table
from alexnet.paths import ROOT
from benchmarks import evaluate, inference, records, serving, startup, training
from benchmarks.records import Row, choose, value
from benchmarks.systems import RUNTIME

PAGE: Final = ROOT / "docs" / "guide" / "benchmarks.md"
PLOTS: Final = ROOT / "docs" / "guide" / "benchmarks"
KINDS: Final[dict[str, ModuleType]] = {
    module.KIND: module for module in (serving, inference, evaluate, training, startup)
}


def render(page: str, folder: Path = records.RESULTS) -> str:
    """The text of the page with the measurements as `folder` has them."""
    for kind, module in KINDS.items():
        page = replace_section(page, kind, section(kind, module, folder))
    return replace_section(page, "machines", machines(folder))


def machines(folder: Path) -> str:
    """The value of every verdict on every machine that was measured: a column for each, the newest first."""
    columns: dict[str, dict[tuple[str, int], str]] = {}
    labels = {("", 0): ("model", "")}
    paths = (path for kind in KINDS for path in folder.glob(f"{kind}-*-cpus-????-??-??.csv"))
    for path in sorted(paths, key=lambda path: path.stem[-10:], reverse=True):
        kind, rows = path.stem.partition("-")[0], records.read(path)
        column = columns.setdefault(f"{short_cpu(rows[0]['cpu'])}, {rows[0]['cpus']} CPUs, {rows[0]['date']}", {})
        measured = [row["sha256"] for row in rows if row.get("sha256") and row.get("model", "shipped") == "shipped"]
        if measured:
            column["", 0] = records.describe_model(measured[0])
        for place, verdict in enumerate(KINDS[kind].verdicts(rows)):
            column[kind, place] = verdict.value_text()
            labels.setdefault((kind, place), (verdict.what, verdict.against))
    if not columns:
        return "Nothing is measured yet."
    order = sorted(labels, key=lambda key: (["", *KINDS].index(key[0]), key[1]))
    lines = [[*labels[key], *(column.get(key, "") for column in columns.values())] for key in order]
    return table(("measure", "against", *columns), lines, texts=2)


def short_cpu(name: str) -> str:
    """`AMD EPYC with avx512f` for `AMD EPYC (avx2, avx512f)`, without trade marks.

    CPUs of one name differ in their generation, which the best of their instruction sets tells.
    """
    model, _, instructions = name.partition(" (")
    best = instructions.rstrip(")").rpartition(" ")[2]
    return re.sub(r"\([RT]M?\)| Processor", "", model).strip() + (f" with {best}" if best else "")


def shown(kind: str, folder: Path) -> Path | None:
    """The file that a section shows: of the machine whose newest measurement of the service is shown, or the newest."""
    serving = records.newest("serving", folder)
    same = serving and serving.with_name(serving.name.replace("serving", kind, 1))
    return same if same and same.exists() else records.newest(kind, folder)


def section(kind: str, module: ModuleType, folder: Path) -> str:
    """What was measured of one kind: with what, the verdicts, the plot and the tables."""
    path = shown(kind, folder)
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


def draw(folder: Path = records.RESULTS, plots: Path = PLOTS) -> list[Path]:
    """Write the plots of what was measured; returns their paths."""
    import matplotlib  # needed by this function alone

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = []
    for kind, plot in DRAWN.items():
        path = shown(kind, folder)
        if path is None:
            continue
        figure = plot(plt, records.read(path))
        figure.tight_layout()
        plots.mkdir(parents=True, exist_ok=True)
        target = plots / f"{kind}.png"
        with files.replacing(target) as partial:
            figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
        plt.close(figure)
        drawn.append(target)
    return drawn


def _draw_serving(plt: Any, rows: Sequence[Row]) -> Any:
    """Throughput with 32 clients, and latency with one, by system and model"""
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
    axes[0].set_xlabel("images/s, 32 clients")
    axes[1].set_xlabel("latency in ms, 1 client")
    axes[1].set_xscale("log")
    for axis in axes:
        axis.set_yticks(range(len(names)), names)
        axis.legend()
    return figure


def _draw_inference(plt: Any, rows: Sequence[Row]) -> Any:
    """Throughput by batch size, model and threads"""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    whole = [row for row in rows if row["images_per_second"]]
    for model, threads in dict.fromkeys((row["model"], row["threads"]) for row in whole):
        found = choose(whole, model=model, threads=threads)
        x, y = [int(row["batch"]) for row in found], [float(row["images_per_second"]) for row in found]
        axis.plot(x, y, marker="o", label=f"{model}, {threads} threads")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("batch size")
    axis.set_ylabel("images/s")
    axis.legend()
    return figure


def _draw_training(plt: Any, rows: Sequence[Row]) -> Any:
    """Throughput of training by loop, precision and batch size"""
    figure, axis = plt.subplots(figsize=(7, 3.5))
    names = [f"{row['system']}, {row['precision']}, batch {row['batch']}" for row in rows]
    axis.barh(names, [float(row["images_per_second"]) for row in rows])
    axis.set_xlabel("images/s")
    return figure


DRAWN: Final[dict[str, Callable[[Any, Sequence[Row]], Any]]] = {
    serving.KIND: _draw_serving,
    inference.KIND: _draw_inference,
    training.KIND: _draw_training,
}


def main() -> int:
    """Write the page and its plots."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path in [PAGE, *draw()]:
        print(path.relative_to(ROOT), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
