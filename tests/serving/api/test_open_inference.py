"""The Open Inference Protocol: Triton's and KServe's clients get the bits of the model, and what is wrong is said."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from benchmarks.harness import Server
from serving.settings import Settings
from tests.images import encode, photo
from tests.models import CLASSES, SIDE, write_model
from tests.serving.conftest import App, StartService

MakeApp = Callable[..., App]
MODEL = "/v2/models/tiny"
FILES = [encode(photo(seed=seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
PIXELS = np.stack([decode(content, SIDE, SIDE) for content in FILES])


@pytest.fixture(scope="module")
def ood_model(session_path: Path) -> Path:
    return write_model(session_path / "ood.onnx", detects_ood=True)


@pytest.fixture
def app(ood_model: Path) -> App:
    return App(Classifier(ood_model, threads=1), Settings(), None)


@pytest.fixture
def expected(ood_model: Path) -> Any:
    return Classifier(ood_model, threads=1).run(PIXELS)


def pixels_as_json(pixels: Any = PIXELS, **changes: Any) -> dict[str, Any]:
    data = pixels.ravel().tolist()
    return {"name": "pixels", "shape": list(pixels.shape), "datatype": "UINT8", "data": data, **changes}


def infer(app: App, tensor: Any, path: str = MODEL, **more: Any) -> httpx.Response:
    return app.post(f"{path}/infer", json={"inputs": [tensor], **more})


def with_binary(head: Any, binary: bytes, length: int | str | None = None) -> dict[str, Any]:
    content = json.dumps(head).encode()
    return {
        "content": content + binary,
        "headers": {"inference-header-content-length": str(len(content) if length is None else length)},
    }


# --- what there is


def test_the_server_and_the_model_describe_themselves(app: App) -> None:
    server = app.get("/v2").json()
    assert server["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert app.get(path).status_code == 200
    model = app.get(MODEL).json()
    assert model == app.get(f"{MODEL}/versions/1").json()
    assert model["inputs"] == [
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 3]},
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
    ]
    assert model["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(CLASSES)]},
        {"name": "unknown_score", "datatype": "FP32", "shape": [-1]},
    ]


def test_a_model_without_an_ood_score_has_one_output(make_app: MakeApp) -> None:
    app = make_app()
    assert [output["name"] for output in app.get(MODEL).json()["outputs"]] == ["probabilities"]
    assert [output["name"] for output in infer(app, pixels_as_json()).json()["outputs"]] == ["probabilities"]


def test_only_probes_are_open_where_keys_are_needed(ood_model: Path) -> None:
    app = App(Classifier(ood_model, threads=1), Settings(api_keys="key"), None)  # type: ignore[arg-type]
    assert app.get("/v2/health/ready").status_code == 200
    assert infer(app, pixels_as_json()).status_code == 401
    assert app.get(MODEL).status_code == 401


# --- the same bits


def test_pixels_and_image_files_give_the_bits_of_the_model(app: App, expected: Any) -> None:
    files = {"name": "image", "shape": [3], "datatype": "BYTES"}
    as_json = {**files, "data": [base64.b64encode(content).decode() for content in FILES]}
    nested = pixels_as_json(data=PIXELS.tolist())
    raw = PIXELS.tobytes()
    lengths = b"".join(struct.pack("<I", len(content)) + content for content in FILES)
    binary_pixels = {"name": "pixels", "shape": list(PIXELS.shape), "datatype": "UINT8"}
    answers = [
        infer(app, pixels_as_json()),
        infer(app, nested),
        infer(app, as_json),
        infer(app, {**as_json, "shape": [3, 1]}, f"{MODEL}/versions/1"),
        app.post(
            f"{MODEL}/infer",
            **with_binary({"inputs": [{**binary_pixels, "parameters": {"binary_data_size": len(raw)}}]}, raw),
        ),
        app.post(
            f"{MODEL}/infer",
            **with_binary({"inputs": [{**files, "parameters": {"binary_data_size": len(lengths)}}]}, lengths),
        ),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        probabilities, score = answer.json()["outputs"]
        assert (probabilities["shape"], score["shape"]) == ([3, len(CLASSES)], [3])
        np.testing.assert_array_equal(
            np.array(probabilities["data"], np.float32).reshape(3, -1), expected.probabilities
        )
        np.testing.assert_array_equal(np.array(score["data"], np.float32), expected.ood_score)


def test_classify_says_the_same_rounded(app: App, expected: Any) -> None:
    for content, row in zip(FILES, expected.probabilities, strict=True):
        answer = app.post("/classify?top_k=10", content=content).json()
        for prediction in answer["predictions"]:
            place = CLASSES.index(prediction["label"])
            assert prediction["score"] == round(float(row[place]), 6)


def test_more_images_than_one_run_holds_stay_in_order(ood_model: Path) -> None:
    app = App(Classifier(ood_model, threads=1), Settings(max_images=100), None)
    many = np.random.default_rng(0).integers(0, 256, (75, SIDE, SIDE, 3), np.uint8)
    answer = infer(app, pixels_as_json(many)).json()
    found = np.array(answer["outputs"][0]["data"], np.float32).reshape(75, -1)
    expected = app.api.classifier.run(many).probabilities
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert infer(app, pixels_as_json(many[:0])).json()["outputs"][0]["shape"] == [0, 10]


def test_outputs_are_those_that_are_wanted_and_binary_where_that_is_wanted(app: App, expected: Any) -> None:
    wanted = [{"name": "unknown_score"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    answer = infer(app, pixels_as_json(), outputs=wanted, id="mine")
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.content[:length])
    assert (head["id"], head["model_name"], head["model_version"]) == ("mine", "tiny", "1")
    assert [output["name"] for output in head["outputs"]] == ["unknown_score", "probabilities"]
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 3 * 10 * 4}
    found = np.frombuffer(answer.content[length:], "<f4").reshape(3, 10)
    np.testing.assert_array_equal(found, expected.probabilities)
    everything = infer(app, pixels_as_json(), parameters={"binary_data_output": True})
    length = int(everything.headers["inference-header-content-length"])
    assert len(everything.content) - length == 3 * 10 * 4 + 3 * 4


# --- what is wrong

GOOD = pixels_as_json(PIXELS[:1])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [GOOD, GOOD]},
        {"inputs": [{**GOOD, "name": "other"}]},
        {"inputs": [{**GOOD, "datatype": "FP32"}]},
        {"inputs": [{**GOOD, "shape": [1, 3, SIDE, SIDE]}]},
        {"inputs": [{**GOOD, "shape": []}]},
        {"inputs": [{**GOOD, "shape": [-1, SIDE, SIDE, 3]}]},
        {"inputs": [{**GOOD, "data": GOOD["data"][:-1]}]},
        {"inputs": [{**GOOD, "data": [256, *GOOD["data"][1:]]}]},
        {"inputs": [{**GOOD, "data": [-1, *GOOD["data"][1:]]}]},
        {"inputs": [{**GOOD, "data": [0.5, *GOOD["data"][1:]]}]},
        {"inputs": [{**GOOD, "data": ["x", *GOOD["data"][1:]]}]},
        {"inputs": [{**GOOD, "data": [[1, 2], [3]]}]},
        {"inputs": [{**GOOD, "data": [10**30]}]},
        {"inputs": [{**GOOD, "data": None}]},
        {"inputs": [{**GOOD, "data": "x"}]},
        {"inputs": [{**GOOD, "parameters": {"binary_data_size": 4}}]},
        {"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["AAAA"]}]},
        {"inputs": [{"name": "image", "shape": [1, 2], "datatype": "BYTES", "data": ["AAAA", "AAAA"]}]},
        {"inputs": [GOOD], "outputs": [{"name": "logits"}]},
        {"inputs": [GOOD], "outputs": "x"},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_such_request_is_400_with_a_text(body: Any, app: App) -> None:
    answer = app.post(f"{MODEL}/infer", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("malformed_body: ")
    assert app.count("alexnet_errors_total", code="malformed_body") == 1


@pytest.mark.parametrize("length", ["", "-1", "x", "99999999999", "1e3", "12", "٣".encode()])
def test_a_wrong_length_of_the_json_is_400(length: Any, app: App) -> None:
    sent = with_binary({"inputs": [GOOD]}, b"")
    sent["headers"]["inference-header-content-length"] = length
    assert app.post(f"{MODEL}/infer", **sent).status_code == 400


@pytest.mark.parametrize("binary", [b"", b"\x01", struct.pack("<I", 9) + b"x", struct.pack("<I", 0) + b"more"])
def test_wrong_lengths_of_binary_texts_are_400(binary: bytes, app: App) -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(binary)}}
    answer = app.post(f"{MODEL}/infer", **with_binary({"inputs": [tensor]}, binary))
    assert answer.json()["error"].startswith("malformed_body: ")


def test_an_image_that_cannot_be_decoded_is_named_with_its_place_and_its_status(app: App) -> None:
    texts = [base64.b64encode(content).decode() for content in (FILES[0], b"no image")]
    answer = infer(app, {"name": "image", "shape": [2], "datatype": "BYTES", "data": texts})
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("unsupported_format: image 1: ")


def test_too_many_images_and_unknown_models_and_methods(ood_model: Path) -> None:
    app = App(Classifier(ood_model, threads=1), Settings(max_images=2), None)
    answer = infer(app, {"name": "image", "shape": [3], "datatype": "BYTES", "data": ["AAAA"] * 3})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_many_images: At most 2 images in a request.")
    unknown = infer(app, GOOD, "/v2/models/other")
    assert unknown.status_code == 404
    assert unknown.json()["error"].startswith("not_found: ")
    assert app.get(f"{MODEL}/infer").status_code == 405


def test_lists_of_lists_are_refused_before_they_are_parsed(app: App) -> None:
    body = b'{"inputs": [' + b"[]," * 1_000_000 + b"[]]}"
    answer = app.post(f"{MODEL}/infer", content=body)
    assert answer.status_code == 400
    assert "elements" in answer.json()["error"]
    assert app.post(f"{MODEL}/infer", content=b"[" * 90_000).status_code == 400


# --- clients that others write


@pytest.fixture(scope="module")
def server(start_service: StartService, ood_model: Path) -> Any:
    with start_service(ALEXNET_MODEL=str(ood_model)) as server:
        yield server


def test_tritonclient(server: Server, expected: Any) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.get_model_metadata("tiny")["outputs"][0]["name"] == "probabilities"
    pixels = triton.InferInput("pixels", list(PIXELS.shape), "UINT8")
    pixels.set_data_from_numpy(PIXELS)
    files = triton.InferInput("image", [3], "BYTES")
    files.set_data_from_numpy(np.array(FILES, np.object_))
    for given in (pixels, files):
        for outputs in (None, [triton.InferRequestedOutput(name) for name in ("probabilities", "unknown_score")]):
            found = client.infer("tiny", [given], outputs=outputs)
            np.testing.assert_array_equal(found.as_numpy("probabilities"), expected.probabilities)
            np.testing.assert_array_equal(found.as_numpy("unknown_score"), expected.ood_score)
    wrong = triton.InferInput("pixels", [1, 2], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 2), np.uint8))
    with pytest.raises(triton.InferenceServerException, match="malformed_body"):
        client.infer("tiny", [wrong])
    client.close()


@pytest.mark.parametrize("binary", [True, False])
def test_kserve(binary: bool, server: Server, expected: Any) -> None:
    import asyncio

    kserve = pytest.importorskip("kserve", reason="kserve is not installed")

    async def ask() -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        assert await client.is_server_ready(server.url)
        assert await client.is_model_ready(server.url, "tiny")
        given = kserve.InferInput("pixels", list(PIXELS.shape), "UINT8")
        given.set_data_from_numpy(PIXELS, binary_data=binary)
        request = kserve.InferRequest(model_name="tiny", infer_inputs=[given])
        return await client.infer(server.url, request, model_name="tiny")

    found = asyncio.run(ask())
    outputs = {output.name: output.as_numpy() for output in found.outputs}
    np.testing.assert_array_equal(outputs["probabilities"].astype(np.float32), expected.probabilities)
    np.testing.assert_array_equal(outputs["unknown_score"].astype(np.float32), expected.ood_score)
