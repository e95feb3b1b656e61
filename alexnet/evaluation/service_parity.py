"""The same images answered by a running service over HTTP.

In: images uint8 [N, 32, 32, 3] RGB and the service's address. Out: its predictions, to compare with those of the file
that it serves. Needs httpx.
"""

import io
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from alexnet.errors import UserError
from alexnet.evaluation.scores import OtherOutputs
from alexnet.inference.classifier import Classifier

Pixels = npt.NDArray[np.uint8]

KEYS: Final = "ALEXNET_API_KEYS"  # as the service is told them; the first is sent

_MOST_IMAGES: Final = 32  # in a request; the service takes 64 unless it is told otherwise
_MOST_CLASSES: Final = 10  # that the service names for an image
_REQUESTS: Final = 4  # at once
_TRIES: Final = 8
_LONGEST_WAIT: Final = 30.0  # seconds, whatever Retry-After says
_TIME_LIMIT: Final = 60.0


class Service:
    """A running service that serves the file of `classifier`; whether it does is asked when it is made of its address.

    Raises `UserError` when nothing answers at `url`, something else does, or it serves another model. A `with` block
    closes the connections.
    """

    def __init__(self, url: str, classifier: Classifier) -> None:
        self._url, self._classifier = url.rstrip("/"), classifier
        key = os.environ.get(KEYS, "").split(",")[0].strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=_TIME_LIMIT)
        self._check(self._request("GET", "/model"))

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, pixels: Pixels, batch_size: int) -> OtherOutputs:
        """The service's answers to `pixels`, sent as PNG files, some at a time, with a progress bar on standard error.

        Raises `UserError` as the class does, and on an answer that is an error.
        """
        size = min(batch_size, _MOST_IMAGES)
        batches = [pixels[first : first + size] for first in range(0, len(pixels), size)]
        results: list[dict[str, Any]] = []
        pool = ThreadPoolExecutor(_REQUESTS)
        try:
            with Progress(console=Console(stderr=True)) as progress:
                task = progress.add_task("images over HTTP", total=len(pixels))
                for part in pool.map(self._ask, batches):
                    results += part
                    progress.advance(task, len(part))
        finally:
            pool.shutdown(cancel_futures=True)
        return self._read(results)

    def _ask(self, batch: Pixels) -> list[dict[str, Any]]:
        parts = [("images", (f"{place}.png", _to_png(image), "image/png")) for place, image in enumerate(batch)]
        top_k = min(len(self._classifier.classes), _MOST_CLASSES)
        answer = self._request("POST", f"/classify_batch?top_k={top_k}", parts)
        self._check(answer.get("model", {}))
        results: list[dict[str, Any]] = answer.get("results", [])
        for result in results:
            if "predictions" not in result:
                raise UserError(f"{self._url} answers to an image of ours: {result.get('error')}; its log tells more")
        if len(results) != len(batch):
            raise UserError(f"{self._url} gives {len(results)} results for {len(batch)} images; is it this service?")
        return results

    def _request(self, method: str, path: str, parts: Sequence[Any] = ()) -> dict[str, Any]:
        """The JSON of the answer, asked for again while the service is busy."""
        for _ in range(_TRIES):
            try:
                response = self._client.request(method, self._url + path, files=parts or None)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise UserError(f"--url {self._url}: {error}; give an address as http://127.0.0.1:3000") from error
            except httpx.ConnectError as error:
                raise UserError(f"nothing answers at {self._url}; start the service, or give another --url") from error
            except httpx.TransportError as error:
                kind = type(error).__name__
                raise UserError(f"{self._url}: the connection broke ({kind}); look at the service's log") from error
            if response.status_code not in (429, 503):
                return self._content(response)
            time.sleep(_wait(response.headers.get("Retry-After")))
        raise UserError(f"{self._url} was busy {_TRIES} times in a row; try again when it has less to do")

    def _content(self, response: httpx.Response) -> dict[str, Any]:
        try:
            content = response.json()
        except json.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise UserError(f"what answers at {self._url} is not this service; give another --url")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise UserError(f"{self._url} wants an API key; put one it knows into {KEYS}")
        if response.is_error:
            said = content.get("error", content)
            raise UserError(f"{self._url} answers {response.status_code}: {said}; a smaller --batch-size may help")
        return content

    def _check(self, model: dict[str, Any]) -> None:
        """Raises `UserError` unless `model`, of `/model` or of an answer, is ours."""
        if "sha256" not in model:
            raise UserError(f"what answers at {self._url} is not this service; give another --url")
        if model["sha256"] != self._classifier.sha256:
            raise UserError(
                f"{self._url} serves another model, sha256 {model['sha256'][:12]}, not {self._classifier.sha256[:12]}; "
                "start it with ALEXNET_MODEL naming the file that is measured"
            )

    def _read(self, results: Sequence[dict[str, Any]]) -> OtherOutputs:
        places = {name: place for place, name in enumerate(self._classifier.classes)}
        probabilities = np.full((len(results), len(places)), np.nan)
        for row, result in zip(probabilities, results, strict=True):
            for prediction in result["predictions"]:
                row[places[prediction["label"]]] = prediction["score"]
        predicted = np.array([places[result["predictions"][0]["label"]] for result in results])
        told = all("unknown" in result for result in results)
        return OtherOutputs(
            predicted, probabilities, np.array([result["unknown"] for result in results]) if told else None
        )


def _to_png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _wait(retry_after: str | None) -> float:
    """Seconds; a second where the header is missing or a date."""
    return min(float(retry_after), _LONGEST_WAIT) if retry_after and retry_after.isdigit() else 1.0
