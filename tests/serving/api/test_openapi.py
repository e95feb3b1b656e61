"""The OpenAPI description says what the routes take and answer, no more and no less."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import alexnet
from alexnet.inference.classifier import Classifier
from serving.api import openapi, routes, schemas
from serving.errors import CODES
from serving.settings import Settings
from tests.images import encode, photo
from tests.models import CLASSES, write_model
from tests.serving.conftest import App

MakeApp = Callable[..., App]

# Pages and files for people, and what BentoML's clients fetch.
NOT_DESCRIBED = {"/", "/docs", "/docs.json", "/ui"}
# Codes that no route's description needs: unknown paths, other origins, clients that are gone.
NOWHERE = {"not_found", "client_error", "client_gone", "unavailable"}


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def codes_of(operation: dict[str, Any]) -> set[str]:
    codes: set[str] = set()
    for status, response in operation["responses"].items():
        if status != "200":
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            listed = set(re.findall(r"`(\w+)`: ", response["description"]))
            assert {CODES[code].status for code in listed} == {int(status)}
            codes |= listed
    return codes


def test_it_describes_exactly_the_routes_that_there_are(make_app: MakeApp) -> None:
    app = make_app()
    described = {(path, method.upper()) for path, method, _ in operations(app.get("/docs.json").json())}
    ours = {
        (path, method)
        for path, methods in app.routes.items()
        for method in methods
        if path not in NOT_DESCRIBED and not path.startswith(("/ui/", "/v2"))  # that has its own specification
    }
    assert described - ours == {("/livez", "GET")}
    assert "/livez" in routes.BENTOML
    assert ours <= described


def test_every_code_is_described_somewhere(make_app: MakeApp) -> None:
    document = openapi.describe(len(CLASSES), Settings(api_keys="key"))  # type: ignore[arg-type]
    described = set().union(*(codes_of(operation) for _, _, operation in operations(document)))
    assert described == set(CODES) - NOWHERE


def test_it_is_made_for_the_model_and_the_settings_that_run() -> None:
    document = openapi.describe(3, Settings(max_images=7))
    (parameter,) = document["paths"]["/classify"]["post"]["parameters"]
    top_k = {"type": "integer", "minimum": 1, "maximum": 3, "default": 3}
    assert parameter["schema"] == top_k
    shapes = document["components"]["schemas"]
    assert top_k.items() <= shapes["ImageForm"]["properties"]["top_k"].items()
    assert shapes["ImagesForm"]["properties"]["images"]["maxItems"] == 7
    assert document["info"]["version"] == alexnet.__version__


def test_files_have_a_picker_and_booleans_are_plain() -> None:
    shapes = openapi.describe(3, Settings())["components"]["schemas"]
    file = {"type": "string", "format": "binary"}
    assert file.items() <= shapes["ImageForm"]["properties"]["image"].items()
    assert shapes["ImagesForm"]["properties"]["images"]["items"] == file
    assert shapes["ImageResult"]["properties"]["unknown"]["type"] == "boolean"
    assert "unknown" not in shapes["ImageResult"]["required"]
    assert "default" not in shapes["ImageResult"]["properties"]["unknown"]


@pytest.mark.parametrize("detects_ood", [False, True])
def test_answers_have_the_shapes_that_are_described(detects_ood: bool, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", detects_ood=detects_ood)
    app = App(Classifier(model, threads=1), Settings(), None)
    content = encode(photo())
    answers: list[tuple[type[BaseModel], Any]] = [
        (schemas.Classification, app.post("/classify", content=content)),
        (schemas.BatchClassification, app.post("/classify_batch", files=[("images", content), ("images", b"x")])),
        (schemas.ErrorResponse, app.post("/classify", content=b"x")),
        (schemas.ModelInfo, app.get("/model")),
        (schemas.Readiness, app.get("/readyz")),
    ]
    for shape, response in answers:
        shape.model_validate(response.json(), strict=True)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("public_metrics", "closed"), [(True, False), (False, True)])
def test_a_key_is_asked_for_where_one_is_needed(public_metrics: bool, closed: bool) -> None:
    settings = Settings(api_keys="key", public_metrics=public_metrics)  # type: ignore[arg-type]
    document = openapi.describe(len(CLASSES), settings)
    for path, _, operation in operations(document):
        needed = path not in ("/livez", "/readyz", "/metrics") or (path == "/metrics" and closed)
        assert ("security" in operation) == needed
        assert ("unauthorized" in codes_of(operation)) == needed
    without = openapi.describe(len(CLASSES), Settings())
    assert "unauthorized" not in str(without["paths"])


def test_every_answer_that_is_tried_is_described(make_app: MakeApp) -> None:
    app = make_app(max_images=2, max_body_bytes=50_000)
    document = app.get("/docs.json").json()
    content = encode(photo())
    png = {"content-type": "image/png"}
    tries: list[tuple[str, dict[str, Any]]] = [
        ("/classify", {"content": content, "headers": png}),
        ("/classify", {"files": {"image": content}, "data": {"top_k": "3"}}),
        ("/classify", {"content": b"", "headers": png}),
        ("/classify", {"content": content[:-30], "headers": png}),
        ("/classify", {"content": bytes(60_000), "headers": png}),
        ("/classify", {"content": content, "headers": {"content-type": "text/plain"}}),
        ("/classify", {"json": {}}),
        ("/classify", {"json": {"image": "%"}}),
        ("/classify?top_k=0", {"content": content, "headers": png}),
        ("/classify_batch", {"json": []}),
        ("/classify_batch", {"json": [""] * 3}),
        ("/classify_batch", {"files": [("images", content), ("images", b"x")]}),
        ("/classify_batch", {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("/preview", {"content": content, "headers": png}),
        ("/preview", {"content": b"x", "headers": png}),
    ]
    for path, sent in tries:
        response = app.post(path, **sent)
        answers = document["paths"][path.partition("?")[0]]["post"]["responses"]
        described = answers[str(response.status_code)]
        assert response.headers["content-type"] in described["content"]
        if response.status_code != 200:
            operation = document["paths"][path.partition("?")[0]]["post"]
            assert response.json()["error"]["code"] in codes_of(operation)
