"""The command `alexnet predict`: inputs to a table, to bars in the terminal, or to lines of JSON.

In: files, folders, globs and Parquet files. Out: `--output` as CSV or Parquet, resumable and in order, with a progress
bar on standard error. Needs no torch. The limits are those of the service, by the same environment variables.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from alexnet.batch import bars, parquet, ray_backend, sources, table
from alexnet.batch.pipeline import BATCH, Job, Predictor
from alexnet.batch.sources import Part
from alexnet.batch.table import Store
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import DEFAULT_TOP_K
from serving import settings

PART: Final = 1024
_MOST_SHOWN: Final = 32  # images that a terminal is for


@dataclass(frozen=True)
class Request:
    """What is asked for: one field for each flag of the command, None where it was not given."""

    inputs: Sequence[str]
    model: Path
    output: Path | None = None
    top_k: int | None = None
    column: str | None = None
    part: int = PART
    threads: int | None = None
    gpu: Literal["never", "prefer", "require"] = "never"
    ray: str | None = None
    resume: bool = False
    overwrite: bool = False
    json: bool = False


def predict(request: Request, out: TextIO | None = None) -> int:
    """Do it; returns how many images could not be read or decoded. `out` is standard output unless given.

    Raises `UserError` when it cannot be done as it is asked for: before anything is computed, unless the cluster gives
    up, or images come or go meanwhile.
    """
    _check(request)
    classifier = Classifier(request.model, threads=request.threads, gpu=request.gpu)
    job = _job(request, classifier)
    if request.output is None:
        return _show(request, job, classifier, out or sys.stdout)
    if request.output.exists() and request.resume and not table.parts_folder(request.output).exists():
        print(f"{request.output} is finished; --overwrite predicts anew", file=sys.stderr)
        return 0
    total = _count(request)
    plan = {
        "model": classifier.sha256,
        "columns": [name for name, _ in table.columns(job.top_k, classifier.detects_ood)],
        "part": request.part,
        "column": request.column,
    }
    with Store(request.output, plan, resume=request.resume, overwrite=request.overwrite) as store:
        try:
            parts = _fill(store, request, job, classifier, total)
        except KeyboardInterrupt:
            print(f"\nstopped: what is done is in {table.parts_folder(request.output)}", file=sys.stderr)
            print("go on with the same command and --resume", file=sys.stderr)
            raise
        errors = store.finish(parts)
    print(f"{request.output}: {total:,} images, {errors or 'none'} of them with an error", file=sys.stderr)
    return errors


def _fill(store: Store, request: Request, job: Job, classifier: Classifier, total: int) -> int:
    """Put all parts into the store that it does not have; returns how many there are then."""
    assert request.output is not None
    kind, count = request.output.suffix, 0

    with _progress(total) as (progress, task):

        def missing() -> Iterator[Part]:
            nonlocal count
            for part in sources.divide(_find(request), request.part):
                count = part.number + 1
                if store.has(part):
                    progress.advance(task, part.images)
                else:
                    yield part

        if request.ray is None:
            with Predictor(job, classifier) as predictor:
                for done in predictor.tables(missing(), kind, lambda images: progress.advance(task, images)):
                    store.add(*done)
        else:
            for done in ray_backend.tables(job, classifier.sha256, kind, missing(), request.ray):
                store.add(*done)
                progress.advance(task, done[0].images)
    return count


def _show(request: Request, job: Job, classifier: Classifier, out: TextIO) -> int:
    """Bars, or a line of JSON for each image, as they come."""
    total, errors = _count(request), 0
    if not request.json and total > _MOST_SHOWN:
        raise UserError(f"{total:,} images are too many for a terminal; give --output FILE, or --json")
    console = Console(file=out, highlight=False)
    with Predictor(job, classifier) as predictor:
        for _, rows in predictor.rows(sources.divide(_find(request), BATCH)):
            errors += sum(row.error is not None for row in rows)
            if request.json:
                out.writelines(json.dumps(row.describe(), ensure_ascii=False) + "\n" for row in rows)
                out.flush()
            else:
                bars.show(rows, console)
    return errors


def _check(request: Request) -> None:
    for name, value in (("top-k", request.top_k), ("part", request.part), ("threads", request.threads)):
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; give 1 or more")
    if request.output is None:
        if request.ray or request.resume or request.overwrite:
            raise UserError("--ray, --resume and --overwrite are for --output FILE; give one")
        return
    if request.json:
        raise UserError("--json is for standard output; leave it out, or --output")
    if request.resume and request.overwrite:
        raise UserError("--resume goes on and --overwrite begins anew; give one of them")
    if request.output.suffix not in table.FORMATS:
        raise UserError(f"--output {request.output}: its name must end in {' or '.join(table.FORMATS)}")
    if request.output.suffix == ".parquet":
        parquet.require()
    if request.ray is not None:
        ray_backend.check(request.ray)


def _job(request: Request, classifier: Classifier) -> Job:
    limits, classes = settings.load(), len(classifier.classes)
    if request.top_k is not None and request.top_k > classes:
        raise UserError(f"--top-k is {request.top_k}; the model knows {classes} classes")
    return Job(
        model=request.model,
        top_k=request.top_k or min(DEFAULT_TOP_K, classes),
        column=request.column,
        max_bytes=limits.max_body_bytes,
        max_pixels=limits.max_pixels,
        gpu=request.gpu,
        threads=request.threads if request.ray is None else 1,
    )


def _find(request: Request) -> Iterator[sources.Span]:
    output = request.output
    own = () if output is None else (output, table.parts_folder(output))
    return sources.find(request.inputs, request.column, own)


def _count(request: Request) -> int:
    """How many images there are, none of which is read; so that mistakes show at once and the bar knows its end."""
    total = sum(span.count for span in _find(request))
    if not total:
        raise UserError(f"no image in {', '.join(request.inputs)}")
    return total


@contextmanager
def _progress(total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress, progress.add_task("images", total=total)
