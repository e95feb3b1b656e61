"""What batch prediction costs: beside ONNX Runtime alone, and for more and more images.

    python -m benchmarks.predict [--rounds 9] [--most 4000] [--model models/alexnet/model.onnx]
    python -m benchmarks.predict report

First ONNX Runtime alone, decoding alone and everything that `alexnet predict` does take turns on the same images, of
three kinds. Then the command itself is run with more and more images. Writes `benchmarks/results/predict.csv` and the
tables of `docs/guide/scaling.md` (`report` only the latter). The table shows the CPU time of other processes: measure
on an idle machine.
"""

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from alexnet import environment, files
from alexnet.batch import sources
from alexnet.batch.command import Options
from alexnet.batch.pipeline import BATCH, Job, Limits, Predictor
from alexnet.batch.table import Store
from alexnet.inference.classifier import Classifier
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.decode import decode
from alexnet.markdown import replace_section, table
from alexnet.paths import ROOT
from benchmarks.images import PHOTO, fixture_files, photos
from benchmarks.records import describe_model
from benchmarks.verdict import Verdict, lines, ratio

RESULT: Final = ROOT / "benchmarks" / "results" / "predict.csv"
PAGE: Final = ROOT / "docs" / "guide" / "scaling.md"
HEADER: Final = (
    "measured", "kind", "images", "input_bytes", "seconds", "cpu_seconds", "others_share", "peak_mb", "output_bytes",
    "model", "cpu", "cpus", "onnxruntime",
)  # fmt: skip
# Name, width and height, images in a round. The first is judged: a whole part, as millions of images come; of few, done
# in 0.25 s, starting threads takes a part.
KINDS: Final = (
    ("PNG, 32 x 32", None, Options().part),
    ("PNG, 32 x 32, few", None, 256),
    ("JPEG, 500 x 375", (500, 375), 256),
    ("JPEG, 4000 x 3000", PHOTO, 64),
)
_PHOTOS: Final = 8
_LIMIT: Final = 10_000_000
_BILLION: Final = 10**9
_DAY: Final = 86_400
_HOUR: Final = 3_600

Row = dict[str, Any]


def compare(model: Path, rounds: int, folder: Path) -> list[Row]:
    """ONNX Runtime alone, decoding alone and the whole, in turns: for each kind and round a row of each."""
    classifier = Classifier(model, concurrent=True)
    height, width, _ = classifier.image_shape
    rows: list[Row] = []
    for kind, size, count in KINDS:
        paths = _files(folder / str(len(rows)), size, count)
        pixels = np.stack([decode(path.read_bytes(), height, width) for path in paths])
        job = Job(model, 5, None, Limits(max_bytes=_LIMIT))
        facts = {"kind": kind, "images": count, "input_bytes": sum(path.stat().st_size for path in paths)}

        def alone(pixels: Any = pixels) -> None:
            for first in range(0, len(pixels), BATCH):
                classifier.run(pixels[first : first + BATCH])

        def decoding(paths: Sequence[Path] = paths) -> None:
            with ThreadPoolExecutor(usable_cpus()) as pool:
                list(pool.map(lambda file: decode(file.read_bytes(), height, width), paths))

        def whole(paths: Sequence[Path] = paths, job: Job = job) -> None:
            output = folder / "out.csv"
            parts = list(sources.divide(sources.find([str(path) for path in paths]), len(paths)))
            with Store(output, {}, resume=False, overwrite=True) as store, Predictor(job, classifier) as predictor:
                for done in predictor.tables(parts, ".csv"):
                    store.add(*done)
                assert store.finish(len(parts)) == 0

        alone()
        for _ in range(rounds):
            rows += [{"measured": "onnxruntime", **facts, **_timed(alone)}]
            rows += [{"measured": "decoding", **facts, **_timed(decoding)}]
            rows += [{"measured": "predict", **facts, **_timed(whole)}]
    return rows


def scale(model: Path, most: int, folder: Path) -> list[Row]:
    """The command with more and more images, from one on."""
    paths = fixture_files()
    rows = []
    for count in sorted({1, *(most // part for part in (40, 10, 4, 2, 1))}):
        inputs = folder / f"{count}"
        inputs.mkdir()
        for number in range(count):
            os.link(paths[number % len(paths)], inputs / f"{number:08}.png")
        output = folder / "scale.csv"
        command = ["predict", str(inputs), "--model", str(model), "--output", str(output), "--overwrite"]
        code = "import sys; from pathlib import Path; from alexnet.cli import main; assert main(sys.argv[1:]) == 0\n"
        code += "print(Path('/proc/self/status').read_text())"
        done: list[str] = []

        def run(command: list[str] = command, code: str = code, done: list[str] = done) -> None:
            started = [sys.executable, "-c", code, *command]
            done.append(subprocess.run(started, check=True, capture_output=True, text=True, cwd=ROOT).stdout)

        row = _timed(run)
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", done[0])[0]) / 1024
        size = sum(path.stat().st_size for path in inputs.iterdir())
        row |= {"peak_mb": round(peak), "output_bytes": output.stat().st_size, "input_bytes": size}
        rows.append({"measured": "command", "kind": KINDS[0][0], "images": count, **row})
    return rows


def _files(folder: Path, size: tuple[int, int] | None, count: int) -> list[Path]:
    """`count` paths: the test images in turn, or photos of `size`, of which there are eight."""
    paths = fixture_files()
    if size is not None:
        folder.mkdir()
        paths = [folder / f"{number}.jpg" for number in range(_PHOTOS)]
        for path, content in zip(paths, photos(size, _PHOTOS), strict=True):
            path.write_bytes(content)
    return [paths[number % len(paths)] for number in range(count)]


def _timed(work: Callable[[], None]) -> Row:
    """Seconds, CPU seconds of this process and its children, and the others' share of all CPUs."""
    busy, own, started = _busy(), _own(), time.perf_counter()
    work()
    seconds, used = time.perf_counter() - started, _own() - own
    others = max(0.0, _busy() - busy - used) / (seconds * (psutil.cpu_count() or 1))
    return {"seconds": round(seconds, 3), "cpu_seconds": round(used, 3), "others_share": round(others, 3)}


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy() -> float:
    times = psutil.cpu_times()._asdict()
    return float(sum(times.values()) - times["idle"] - times.get("iowait", 0) - times.get("guest", 0))


def shares(rows: Sequence[Row]) -> dict[str, tuple[float, float, float, float]]:
    """For each kind the images/s of ONNX Runtime, decoding and the whole, and the share of ONNX Runtime's rate."""
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows if row["measured"] == "predict"):
        alone, decoding, whole = (
            [int(r["images"]) / float(r["seconds"]) for r in rows if (r["measured"], r["kind"]) == (name, kind)]
            for name in ("onnxruntime", "decoding", "predict")
        )
        kept = statistics.median(b / a for a, b in zip(alone, whole, strict=True))
        found[kind] = (statistics.median(alone), statistics.median(decoding), statistics.median(whole), kept)
    return found


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of batch prediction."""
    found = shares(rows)
    unknown = (None, None, None, None)
    small, photos_ = found.get(KINDS[0][0], unknown), found.get(KINDS[-1][0], unknown)
    return [
        Verdict(f"{KINDS[0][0]}, images/s", small[-1], "ONNX Runtime alone", 0.85),
        Verdict(f"{KINDS[-1][0]}, images/s", ratio(photos_[2], photos_[1]), "decoding alone on all CPUs", 0.9),
    ]


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """The texts of docs/guide/scaling.md, by the name of their markers."""
    curve = [row for row in rows if row["measured"] == "command"]
    first, last = curve[0], curve[-1]
    more = int(last["images"]) - int(first["images"])
    each, cpu_each = ((float(last[key]) - float(first[key])) / more for key in ("seconds", "cpu_seconds"))
    row_bytes, image_bytes = (float(last[key]) / int(last["images"]) for key in ("output_bytes", "input_bytes"))
    others = max(float(row["others_share"]) for row in rows)
    machine = f"Measured on {last['cpus']} CPUs of {last['cpu']}, ONNX Runtime {last['onnxruntime']}, "
    machine += f"{describe_model(last['model'])}; other processes took at most {100 * others:.0f} % of the CPUs."
    kept = [
        [kind, *(f"{value:,.1f}" for value in values), f"{100 * share:.1f} %"]
        for kind, (*values, share) in shares(rows).items()
    ]
    cost = [
        [f"{int(row['images']):,}", row["seconds"], row["cpu_seconds"], row["peak_mb"], f"{int(row['output_bytes']):,}"]
        for row in curve
    ]
    whole = [
        ["CPU time", f"{cpu_each * _BILLION / _DAY:,.0f} days of one CPU"],
        [f"on {last['cpus']} such CPUs", f"{each * _BILLION / _DAY:,.0f} days"],
        ["on 1,000 such CPUs", f"{cpu_each * _BILLION / _HOUR / 1000:.1f} hours"],
        ["images read, as here", f"{image_bytes * _BILLION / 1e12:.1f} TB"],
        ["table written, CSV with 5 classes", f"{row_bytes * _BILLION / 1e9:,.0f} GB"],
    ]
    return {
        "machine": machine + "\n\n" + "\n".join(f"- {verdict.line()}" for verdict in verdicts(rows)),
        "share": table(
            ("images/s", "ONNX Runtime alone", "decoding alone", "`alexnet predict`", "of ONNX Runtime"), kept
        ),
        "curve": table(("images", "seconds", "CPU seconds", "peak memory, MB", "bytes of CSV"), cost),
        "each": f"Start-up apart, an image takes {1e3 * each:.1f} ms here, and {1e3 * cpu_each:.1f} ms of CPU time.",
        "whole": table(("a billion images", ""), whole),
    }


def report(page: Path, rows: Sequence[Row]) -> None:
    """Write the tables between their markers in `page`."""
    text = page.read_text(encoding="utf-8")
    for name, content in tables(rows).items():
        text = replace_section(text, name, content)
    page.write_text(text, encoding="utf-8")


def read_result() -> list[Row]:
    """The rows of the last measurement."""
    with RESULT.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> int:
    """Measure, write the table and the page, and print the verdict; or write the page. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("measure", "report"), default="measure")
    parser.add_argument("--rounds", type=int, default=9, help="for each kind of images (default: 9)")
    parser.add_argument("--most", type=int, default=4000, help="images of the longest run (default: 4000)")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "alexnet" / "model.onnx")
    options = parser.parse_args()
    if options.command == "report":
        report(PAGE, read_result())
        return 0
    machine = environment.describe("onnxruntime-gpu", "onnxruntime")
    facts = {
        "model": files.sha256(options.model)[:12],
        "cpu": machine["cpu"],
        "cpus": machine["cpus"],
        "onnxruntime": machine.get("onnxruntime-gpu") or machine["onnxruntime"],
    }
    with tempfile.TemporaryDirectory(dir=ROOT / "benchmarks") as folder:  # beside the images: the many are links
        found = compare(options.model, options.rounds, Path(folder)) + scale(options.model, options.most, Path(folder))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(RESULT, HEADER, [[(row | facts).get(name, "") for name in HEADER] for row in found])
    report(PAGE, read_result())
    for kind, (alone, _, whole, share) in shares(found).items():
        print(f"{kind}: ONNX Runtime alone {alone:.1f} images/s, all of it {whole:.1f}: {100 * share:.1f} % kept")
    print(lines(verdicts(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
