"""The command `alexnet predict`: inputs to a table, to bars in the terminal, or to lines of JSON.

In: files, folders, globs and Parquet files. Out: a table as CSV or Parquet, resumable and in order, with a progress bar
on standard error; without an `output`, some lines for each image on standard output.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from alexnet.batch import parquet, ray_backend, sources, table, terminal
from alexnet.batch.pipeline import BATCH, Job, Limits, Predictor
from alexnet.batch.sources import Part
from alexnet.batch.table import Store
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import DEFAULT_TOP_K

_LIMITS: Final = Limits()
_MAX_BARS: Final = 32  # images; of more, each is one line


class Options(BaseModel):
    """How to predict, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path | None = Field(None, description="table to write, .csv or .parquet; without it, bars in the terminal")
    top_k: int | None = Field(None, ge=1, description="classes for each image; by default 5, or all if there are fewer")
    column: str | None = Field(
        None,
        description="column of Parquet files that holds images, as bytes or structs of bytes and path; by default "
        "image, or the only one",
    )
    resume: bool = Field(False, description="compute what a run that was stopped left out")
    overwrite: bool = Field(False, description="start again, whatever is there")
    part: int = Field(1024, ge=1, description="images that are written together: the most that a kill can cost")
    threads: int | None = Field(None, ge=1, description="threads of ONNX Runtime; by default the usable CPUs")
    gpu: Literal["never", "prefer", "require"] = Field("never", description="whether to compute on a GPU")
    ray: str | None = Field(None, description="compute on Ray: local, auto (this machine's cluster) or HOST:PORT")


def predict(
    inputs: Sequence[str],
    model: Path,
    options: Options,
    *,
    as_json: bool = False,
    limits: Limits = _LIMITS,
    out: TextIO | None = None,
) -> int:
    """Predict with the ONNX file `model`; returns how many images could not be read or decoded.

    Without an `output`, bars or lines go to `out`, standard output unless given: `as_json`, a line of JSON for each
    image. Raises `UserError` when it cannot be done as it is asked for: before anything
    is computed, unless the cluster gives up, or images come or go meanwhile.
    """
    _check(options, as_json)
    classifier = Classifier(model, threads=options.threads, gpu=options.gpu, concurrent=True)
    job = _job(model, options, limits, classifier)
    if options.output is None:
        return _show(inputs, options, job, classifier, as_json, out or sys.stdout)
    if options.output.exists() and options.resume and not table.parts_folder(options.output).exists():
        print(f"{options.output} is finished; --overwrite predicts again", file=sys.stderr)
        return 0
    total = _count(inputs, options)
    plan = {
        "model": classifier.sha256,
        "columns": [name for name, _ in table.columns(job.top_k, classifier.detects_ood)],
        "part": options.part,
        "column": options.column,
    }
    with Store(options.output, plan, resume=options.resume, overwrite=options.overwrite) as store:
        try:
            parts = _fill(store, inputs, options, job, classifier, total)
        except KeyboardInterrupt:
            print(f"\nstopped: what is done is in {table.parts_folder(options.output)}", file=sys.stderr)
            print("resume with the same command and --resume", file=sys.stderr)
            raise
        errors = store.finish(parts)
    print(f"{options.output}: {total:,} images, {errors or 'none'} of them with an error", file=sys.stderr)
    return errors


def _fill(store: Store, inputs: Sequence[str], options: Options, job: Job, classifier: Classifier, total: int) -> int:
    """Put all parts into the store that it does not have; returns how many there are then."""
    assert options.output is not None
    kind, count = options.output.suffix, 0

    with _progress(total) as (progress, task):

        def missing() -> Iterator[Part]:
            nonlocal count
            for part in sources.divide(_find(inputs, options), options.part):
                count = part.number + 1
                if store.has(part):
                    progress.advance(task, part.images)
                else:
                    yield part

        if options.ray is None:
            with Predictor(job, classifier) as predictor:
                for done in predictor.tables(missing(), kind, lambda images: progress.advance(task, images)):
                    store.add(*done)
        else:
            for done in ray_backend.tables(job, classifier.sha256, kind, missing(), options.ray):
                store.add(*done)
                progress.advance(task, done[0].images)
    return count


def _show(inputs: Sequence[str], options: Options, job: Job, classifier: Classifier, as_json: bool, out: TextIO) -> int:
    """Bars, or a line for each image, as they come."""
    total, errors = _count(inputs, options), 0
    console = Console(file=out, highlight=False)
    with Predictor(job, classifier) as predictor:
        for _, rows in predictor.rows(sources.divide(_find(inputs, options), BATCH)):
            errors += sum(row.error is not None for row in rows)
            if as_json:
                out.writelines(json.dumps(row.describe(), ensure_ascii=False) + "\n" for row in rows)
                out.flush()
            elif total > _MAX_BARS:
                terminal.show_lines(rows, console)
            else:
                terminal.show_bars(rows, console)
    return errors


def _check(options: Options, as_json: bool) -> None:
    if options.output is None:
        if options.ray or options.resume or options.overwrite:
            raise UserError("--ray, --resume and --overwrite are for --output FILE; give one")
        return
    if as_json:
        raise UserError("--json is for standard output; leave it out, or --output")
    if options.resume and options.overwrite:
        raise UserError("--resume continues and --overwrite starts again; give one of them")
    if options.output.suffix not in table.FORMATS:
        raise UserError(f"--output {options.output}: its name must end in {' or '.join(table.FORMATS)}")
    if options.output.suffix == ".parquet":
        parquet.require()
    if options.ray is not None:
        ray_backend.check(options.ray)


def _job(model: Path, options: Options, limits: Limits, classifier: Classifier) -> Job:
    classes = len(classifier.classes)
    if options.top_k is not None and options.top_k > classes:
        raise UserError(f"--top-k is {options.top_k}; the model has {classes} classes")
    return Job(
        model=model,
        top_k=options.top_k or min(DEFAULT_TOP_K, classes),
        column=options.column,
        limits=limits,
        gpu=options.gpu,
        threads=options.threads if options.ray is None else 1,
    )


def _find(inputs: Sequence[str], options: Options) -> Iterator[sources.Span]:
    output = options.output
    own = () if output is None else (output, table.parts_folder(output))
    return sources.find(inputs, options.column, own)


def _count(inputs: Sequence[str], options: Options) -> int:
    """How many images there are, none of which is read; so that mistakes show at once and the bar knows its end."""
    total = sum(span.count for span in _find(inputs, options))
    if not total:
        raise UserError(f"no image in {', '.join(inputs)}")
    return total


@contextmanager
def _progress(total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress, progress.add_task("images", total=total)
