"""The same parts, predicted by Ray Data on the CPUs or GPUs of one or many machines. The only import of ray (extra).

In: parts and the address of a cluster. Out: for each part its table, in the order in which they end. Ray computes the
part of a worker that died again, and nothing of a part is seen before it is whole, so that a row is never there twice.
Every machine needs this package, the model and the images at the same paths; only this process writes.
"""

import itertools
import json
import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Final

from alexnet.batch.pipeline import Job, Predictor
from alexnet.batch.sources import Part, Span
from alexnet.errors import UserError
from alexnet.inference.cpus import usable_cpus

LOCAL: Final = "local"
_ADDRESS: Final = re.compile(r"local|auto|(ray://)?[\w.\[\]-]+:\d+")
_ANSWER_SECONDS: Final = 10
_OBJECT_BYTES: Final = 100 * 2**20  # of shared memory on a local Ray: only tables of parts pass through it
_PARTS_AT_ONCE: Final = 1024  # given to Ray; their paths are held in memory


def check(address: str) -> None:
    """Raise `ImportError` where ray is missing, `UserError` for what is not an address or where nobody listens."""
    if not _ADDRESS.fullmatch(address):
        raise UserError(f"--ray {address}: not local, auto or HOST:PORT")
    _require(address)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:  # Ray itself would try for many minutes
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: no Ray there ({error}); see `ray status` on that machine") from error


def tables(job: Job, sha256: str, kind: str, parts: Iterable[Part], address: str) -> Iterator[tuple[Part, bytes, int]]:
    """For each part, in any order, the file of `kind` that holds its rows, and how many of them have an error.

    Workers refuse a model whose SHA-256 is not `sha256`. Raises `UserError` when the cluster cannot be reached or gives
    up.
    """
    ray = _require(address)
    try:
        _start(ray, address)
        parts = iter(parts)
        while held := {part.number: part for part in itertools.islice(parts, _PARTS_AT_ONCE)}:
            for row in _dataset(ray, job, sha256, kind, held.values()).iter_rows():
                yield held[row["number"]], row["content"], row["errors"]
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        reason = reason.removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")  # of a worker
        raise UserError(f"Ray gave up: {reason}; continue with --resume") from error
    finally:
        ray.shutdown()


class _Worker:
    """One model on one CPU, or one GPU."""

    def __init__(self, job: Job, sha256: str, kind: str) -> None:
        self._predictor = Predictor(job)
        self._kind = kind
        found = self._predictor.classifier.sha256
        if found != sha256:
            raise UserError(f"{job.model} on {os.uname().nodename} is another model, sha256 {found}")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part = Part(row["number"], tuple(Span(*span) for span in json.loads(row["spans"])))
        ((_, content, errors),) = self._predictor.tables([part], self._kind)
        return {"number": part.number, "content": content, "errors": errors}


def _require(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of how Ray Data itself makes its workers
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's switch for staying on 127.0.0.1
    import ray
    import ray.data

    return ray


def _start(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        own = {"num_cpus": usable_cpus(), "object_store_memory": _OBJECT_BYTES, "include_dashboard": False}
        ray.init(address=address, **own, **quiet)
    else:
        ray.init(address=address, **quiet)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is wrong is said once, in one line
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours counts images
    context.print_on_execution_start = False


def _dataset(ray: Any, job: Job, sha256: str, kind: str, parts: Iterable[Part]) -> Any:
    """A block for each part, so that a part is what a worker takes, and what Ray computes again."""
    rows = [
        {"number": part.number, "spans": json.dumps([(s.path, s.first, s.count) for s in part.spans])} for part in parts
    ]
    gpu = job.gpu == "require"
    workers = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
    if not workers:
        raise UserError(f"the Ray cluster has no {'GPU' if gpu else 'CPU'}; see `ray status`")
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(job, sha256, kind),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
        num_cpus=1,
        num_gpus=1 if gpu else 0,
    )
