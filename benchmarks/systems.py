"""What is measured side by side: our service and its peers, how each is started, and whether it answers rightly.

In: the path of an ONNX file. Out: running servers. BentoML is installed with the service, the other peers in
environments of their own.
"""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from alexnet.datasets.cifar10 import CLASSES, SIDE
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from alexnet.paths import ROOT
from benchmarks import environments, load
from benchmarks.harness import PORT, Server, running
from benchmarks.images import small_jpegs

_PEER_PYTHON: Final = environments.PEERS.python
_BENTOML: Final = (sys.executable, "-m", "bentoml", "serve")
_HERE: Final = ("--host", "127.0.0.1", "--port", PORT)
_SECONDS_TO_READY: Final = 120.0  # Ray takes its time
_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class System:
    """A server: how it is started, and the names of its form's fields.

    `batches` where a request can hold several images, `resizes` where it takes photos, `answers` unless it has no
    model, `infer` where it has the route of the Open Inference Protocol alone: images in base64 then, not forms.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    image: str = "image"
    batches: bool = False
    resizes: bool = False
    answers: bool = True
    infer: str | None = None

    @property
    def needs(self) -> environments.Environment | None:
        """The environment whose program it starts; None for ours."""
        return next((e for e in environments.ALL if Path(self.command[0]).is_relative_to(e.folder)), None)

    def path(self, images: int) -> str:
        """The route for so many images in a request."""
        return self.infer or ("/classify" if images == 1 else "/classify_batch")

    @contextmanager
    def serve(self, model: Path) -> Iterator[Server]:
        """Run it with `model` until the block ends; it is ready once it has classified an image.

        Raises `RuntimeError` when it does not become ready. MLServer does not stop once a client has left without its
        answer, so peers are killed when they take long.
        """
        (kind, body), *_ = requests(self, 1, small_jpegs())

        def ready(url: str) -> bool:
            return ask(url, self.path(1), kind, body) is not None

        environment = {"MODEL": str(model), "ALEXNET_MODEL": str(model), **self.environment}
        with running(self.command, ready, environment, _SECONDS_TO_READY, must_stop=self is OURS) as server:
            yield server


OURS: Final = System("ours", (sys.executable, "-m", "alexnet", "serve", *_HERE), batches=True, resizes=True)
STOCK: Final = System("stock BentoML", (*_BENTOML, "benchmarks.peers.bentoml_server:Typed", *_HERE), batches=True)
BATCHABLE: Final = System(
    "BentoML, batchable", (*_BENTOML, "benchmarks.peers.bentoml_server:Batchable", *_HERE), image="images"
)
FASTAPI: Final = System(
    "FastAPI",
    (_PEER_PYTHON, "-m", "fastapi", "run", "benchmarks/peers/fastapi_server.py", *_HERE),
    batches=True,
)
LITSERVE: Final = System("LitServe", (_PEER_PYTHON, "benchmarks/peers/litserve_server.py"))
LITSERVE_32: Final = System("LitServe, batches", LITSERVE.command, {"BATCH": "32"})
LITSERVE_ZMQ: Final = System("LitServe, batches, ZeroMQ", LITSERVE.command, {"BATCH": "32", "QUEUE": "zmq"})
RAY: Final = System("Ray Serve", (_PEER_PYTHON, "benchmarks/peers/ray_server.py"))
MLSERVER: Final = System(
    "MLServer",
    (str(environments.MLSERVER.folder / "bin" / "mlserver"), "start", "benchmarks/peers"),
    {
        "PYTHONPATH": str(ROOT / "benchmarks" / "peers"),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": PORT,
        "MLSERVER_GRPC_PORT": "0",
        "MLSERVER_METRICS_PORT": "0",
        "MLSERVER_MODEL_NAME": "alexnet",
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_server.Classifier",
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "32",
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.01",
    },
    batches=True,
    infer="/v2/models/alexnet/infer",
)
# The next ones decode as we do, so that only the servers differ.
_OURS_INSIDE: Final = {"DECODER": "ours", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks' / 'peers'}"}
ASGI: Final = System(
    "bare ASGI",
    (_PEER_PYTHON, "-m", "uvicorn", "asgi_server:app", "--http", "httptools", "--loop", "uvloop", *_HERE),
    _OURS_INSIDE,
    batches=True,
    resizes=True,
)
ASGI_2: Final = System(
    "bare ASGI, two workers",
    (*ASGI.command, "--workers", "2"),
    {**_OURS_INSIDE, "THREADS": "1"},
    batches=True,
    resizes=True,
)
GRANIAN: Final = System(
    "granian, two workers",
    (_PEER_PYTHON, "-m", "granian", "--interface", "asgi", "asgi_server:app", "--workers", "2", *_HERE),
    ASGI_2.environment,
    batches=True,
    resizes=True,
)
MOSEC: Final = System(
    "mosec",
    (_PEER_PYTHON, "benchmarks/peers/mosec_server.py", "--address", "127.0.0.1", "--port", PORT),
    _OURS_INSIDE,
    resizes=True,
)
FLOOR: Final = System("no model, the same bytes", (_PEER_PYTHON, "benchmarks/peers/floor_server.py"), answers=False)
PUBLISHED: Final = (STOCK, BATCHABLE, FASTAPI, LITSERVE, LITSERVE_32, MLSERVER, RAY)  # as their documentation has them
BARE: Final = (ASGI, ASGI_2, GRANIAN, MOSEC, FLOOR)
ALL: Final = (OURS, *PUBLISHED, LITSERVE_ZMQ, *BARE)
RUNTIME: Final = "ONNX Runtime alone"


def requests(system: System, size: int, files: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Content type and body of requests with `size` of the images each, which begin with each image in turn."""
    name = system.image if size == 1 else "images"
    turns = [[files[(first + place) % len(files)] for place in range(size)] for first in range(len(files))]
    return [_tensor(images) if system.infer else load.form(name, images) for images in turns]


def _tensor(images: Sequence[bytes]) -> tuple[str, bytes]:
    data = [base64.b64encode(image).decode() for image in images]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}
    return "application/json", json.dumps({"inputs": [tensor]}).encode()


def check(system: System, server: Server, model: Path) -> None:
    """Raise `RuntimeError` unless `server` answers everything as `model` does: a fast wrong answer is no record."""
    if not system.answers:
        return
    classifier = Classifier(model, threads=1)
    pixels = np.stack([decode(image, SIDE, SIDE) for image in small_jpegs()])
    expected = classifier.run(pixels).probabilities
    for size in (1, 16) if system.batches else (1,):
        for first, (kind, body) in enumerate(requests(system, size, small_jpegs())):
            found = ask(server.url, system.path(size), kind, body)
            wanted = [expected[(first + place) % len(expected)] for place in range(size)]
            if found is None or not _fits(found, wanted, classifier.classes):
                raise RuntimeError(f"{system.name} answers {found!r}, not the probabilities of the model")


def ask(url: str, path: str, kind: str, body: bytes) -> list[dict[str, float]] | None:
    """For each image of a request the probabilities by label; None when the answer is none."""
    request = urllib.request.Request(url + path, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: Any = json.loads(response.read())
    except (OSError, urllib.error.HTTPError, ValueError):
        return None
    if isinstance(answer, dict) and "model" in answer:  # ours
        results = answer.get("results", [answer])
        return [{entry["label"]: entry["score"] for entry in result["predictions"]} for result in results]
    if isinstance(answer, dict) and "outputs" in answer:  # the Open Inference Protocol, which has no labels
        (output,) = (entry for entry in answer["outputs"] if entry["name"] == "probabilities")
        return [dict(zip(CLASSES, row, strict=True)) for row in np.reshape(output["data"], output["shape"]).tolist()]
    return answer if isinstance(answer, list) else [answer]


def _fits(found: list[dict[str, float]], wanted: Sequence[Any], classes: tuple[str, ...]) -> bool:
    """Whether these are the probabilities, the best among them, for those labels that the answers name."""
    return len(found) == len(wanted) and all(
        abs(max(row.values()) - max(expected)) < _TOLERANCE
        and all(abs(score - expected[classes.index(label)]) < _TOLERANCE for label, score in row.items())
        for row, expected in zip(found, wanted, strict=True)
    )


def run_alone(model: Path, seconds: float, batches: Sequence[int]) -> dict[int, dict[str, float]]:
    """ONNX Runtime without a server, in a process of its own: for each batch size what `peers.runtime` measures."""
    command = [sys.executable, "benchmarks/peers/runtime.py", str(seconds), *map(str, batches)]
    environment = {**os.environ, "MODEL": str(model)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return {int(size): found for size, found in json.loads(done.stdout).items()}


def run_openvino(model: Path, seconds: float, images: Path, threads: int, batches: Sequence[int]) -> dict[str, Any]:
    """OpenVINO without a server, in the environment of the peers: what `peers.openvino_runtime` measures."""
    command = [_PEER_PYTHON, "benchmarks/peers/openvino_runtime.py", str(seconds), str(images), *map(str, batches)]
    environment = {**os.environ, "MODEL": str(model), "THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
