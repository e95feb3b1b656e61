"""The CSV files of measurements: every row says what it was measured with, and when.

In: rows as dictionaries. Out: `benchmarks/results/<kind>-<hardware>-<date>.csv`; read back, the rows as texts.
"""

import csv
import datetime
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from alexnet import environment, files
from alexnet.paths import MODEL, ROOT
from benchmarks.verdict import Verdict, lines

RESULTS: Final = ROOT / "benchmarks" / "results"
EARLIER: Final = "measured on an earlier model"
MEASURED_WITH: Final = ("date", "cpu", "cpus", "versions")
_LABELS: Final = ("cpu", "cpus", "platform")

Row = Mapping[str, str]

_PACKAGES: Final = (
    "bentoml",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "simplejpeg",
    "torch",
    "torchvision",
)


def write(
    kind: str, rows: Sequence[Mapping[str, object]], versions: Mapping[str, str], folder: Path = RESULTS
) -> tuple[Path, list[Row]]:
    """Write the rows, in place of those that this machine has measured before; returns the file and what is in it.

    `versions` are those of programs that are not packages of this environment. A new file of the same hardware takes
    the place of the old.
    """
    facts = environment.describe(*_PACKAGES)
    known = {name: str(value) for name, value in facts.items() if name not in _LABELS} | dict(versions)
    common = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": str(facts["cpu"]),
        "cpus": str(facts["cpus"]),
        "versions": "; ".join(f"{name} {version}" for name, version in known.items()),
    }
    hardware = f"{slug(common['cpu'])}-{common['cpus']}-cpus"
    header = [*MEASURED_WITH, *rows[0]]
    texts: list[Row] = [{**common, **{name: _text(value) for name, value in row.items()}} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{kind}-{hardware}-*.csv"):
        old.unlink()
    path = folder / f"{kind}-{hardware}-{common['date']}.csv"
    files.write_csv(path, header, [[row.get(name, "") for name in header] for row in texts])
    return path, texts


def publish(
    kind: str,
    rows: Sequence[Mapping[str, object]],
    versions: Mapping[str, str],
    tables: Callable[[Sequence[Row]], str],
    verdicts: Callable[[Sequence[Row]], Sequence[Verdict]],
) -> None:
    """Write the rows, print their tables and a verdict for each target."""
    path, texts = write(kind, rows, versions)
    print(tables(texts), lines(verdicts(texts)), path.relative_to(ROOT), sep="\n\n")


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest(kind: str, folder: Path = RESULTS) -> Path | None:
    """The file of this kind with the latest date, of one day that of the shipped model; None when there is none."""
    shipped = files.sha256(MODEL)

    def rank(path: Path) -> tuple[str, bool, Path]:
        found = [row["sha256"] for row in read(path) if row.get("sha256")]
        return path.stem[-10:], any(map(shipped.startswith, found)), path

    return max(folder.glob(f"{kind}-*-cpus-????-??-??.csv"), key=rank, default=None)


def choose(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Those rows that have these values."""
    return [row for row in rows if all(row[name] == str(value) for name, value in wanted.items())]


def describe_model(sha256: str) -> str:
    """How a page names the measured model by its SHA-256, of which the first 12 digits are enough."""
    short = sha256[:12]
    return f"model {short}" + ("" if files.sha256(MODEL).startswith(short) else f" ({EARLIER})")


def value(rows: Iterable[Row], column: str, **wanted: object) -> float | None:
    """The median of a column over the rows that have these values; None where nothing was measured."""
    found = [float(row[column]) for row in choose(rows, **wanted)]
    return statistics.median(found) if found else None


def spread(rows: Iterable[Row], column: str, keys: Sequence[str]) -> float | None:
    """By what share of its median a column differs between rows of the same `keys`, at the median of all such keys.

    None where no key has two rows, or their median is 0.
    """
    found: dict[tuple[str | None, ...], list[float]] = {}
    for row in rows:
        found.setdefault(tuple(map(row.get, keys)), []).append(float(row[column]))
    repeated = [(some, statistics.median(some)) for some in found.values() if len(some) > 1]
    shares = [(max(some) - min(some)) / middle for some, middle in repeated if middle]
    return statistics.median(shares) if shares else None


def slug(text: str) -> str:
    """Lower-case letters, digits and dashes alone."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
