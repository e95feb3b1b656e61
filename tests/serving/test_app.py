"""The routes: one image by every way in, batches item by item, the preview and the model's card."""

import asyncio
import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from serving.inference.pipeline import ClassifyRequest
from serving.settings import Settings
from tests.images import encode, photo
from tests.models import CLASSES, SIDE, write_model
from tests.serving.conftest import App

MakeApp = Callable[..., App]

IMAGE_FILE = encode(photo(), "JPEG")
OTHER = encode(photo(seed=5), "PNG")
JPEG = {"content-type": "image/jpeg"}


def text(content: bytes = IMAGE_FILE) -> str:
    return base64.b64encode(content).decode()


def scores(app: App, path: str = "/classify", **sent: Any) -> Any:
    response = app.post(path, **sent)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_an_answer_is_the_best_classes_best_first_and_says_which_model(make_app: MakeApp) -> None:
    app = make_app()
    response = app.post("/classify?top_k=10", content=IMAGE_FILE, headers=JPEG)
    body = response.json()
    assert set(body) == {"predictions", "model"}
    assert body["model"] == {"name": "tiny", "sha256": app.api.classifier.sha256}
    found = body["predictions"]
    assert sorted(prediction["label"] for prediction in found) == sorted(CLASSES)
    values = [prediction["score"] for prediction in found]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    probabilities = app.api.classifier.run(decode(IMAGE_FILE, SIDE, SIDE)[np.newaxis]).probabilities[0]
    assert values == pytest.approx(sorted(probabilities, reverse=True), abs=1e-6)


def test_every_way_in_gives_the_same_scores_to_the_last_digit(make_app: MakeApp) -> None:
    app = make_app()
    expected = scores(app, content=IMAGE_FILE, headers=JPEG)
    ways: list[dict[str, Any]] = [
        {"content": IMAGE_FILE},
        {"content": IMAGE_FILE, "headers": {"content-type": "image/png"}},
        {"content": IMAGE_FILE, "headers": {"content-type": "application/octet-stream"}},
        {"files": {"image": IMAGE_FILE}},
        {"files": {"image": ("cat.txt", IMAGE_FILE, "text/plain")}},
        {"json": {"image": text()}},
        {"json": {"image": "data:image/gif;base64," + text()}},
    ]
    for sent in ways:
        assert scores(app, **sent) == expected
    batches: list[dict[str, Any]] = [
        {"files": [("images", OTHER), ("images", IMAGE_FILE)]},
        {"json": [text(OTHER), text()]},
        {"json": {"images": [text(OTHER), text()]}},
    ]
    for sent in batches:
        results = app.post("/classify_batch", **sent).json()["results"]
        together = results[1]["predictions"]
        assert [p["label"] for p in together] == [p["label"] for p in expected]
        assert [p["score"] for p in together] == pytest.approx([p["score"] for p in expected], abs=2e-6)
        assert results[0] != results[1]


@pytest.mark.parametrize("top_k", range(1, 11))
def test_top_k_decides_how_many(top_k: int, make_app: MakeApp) -> None:
    app = make_app()
    assert len(scores(app, f"/classify?top_k={top_k}", content=IMAGE_FILE, headers=JPEG)) == top_k
    assert len(scores(app, json={"image": text(), "top_k": top_k})) == top_k
    assert len(scores(app, files={"image": IMAGE_FILE}, data={"top_k": str(top_k)})) == top_k


def test_one_broken_image_of_a_batch_is_an_error_in_its_own_place(make_app: MakeApp) -> None:
    app = make_app()
    contents = [IMAGE_FILE, b"nonsense", OTHER, b"", IMAGE_FILE[:-100]]
    expected = [scores(app, content=content, headers=JPEG) for content in (IMAGE_FILE, OTHER)]
    response = app.post("/classify_batch", json=[*map(text, contents), "%%", 7])
    assert response.status_code == 200
    results = response.json()["results"]
    assert [list(result) for result in results] == [["predictions"], ["error"], ["predictions"], *[["error"]] * 4]
    assert [results[0]["predictions"], results[2]["predictions"]] == expected
    codes = [result["error"]["code"] for result in results if "error" in result]
    assert codes == ["unsupported_format", "empty_image", "truncated_image", "invalid_base64", "invalid_base64"]
    for code in set(codes):
        assert app.count("alexnet_errors_total", code=code) == codes.count(code)


def test_more_images_than_one_run_of_the_model_are_split_and_stay_in_order(make_app: MakeApp) -> None:
    app = make_app(max_images=100)
    contents = [encode(photo(SIDE, SIDE, seed=seed)) for seed in range(75)]
    results = app.post("/classify_batch", json=[text(content) for content in contents]).json()["results"]
    for place in (0, 31, 32, 63, 64, 74):
        alone = scores(app, content=contents[place], headers=JPEG)
        together = results[place]["predictions"]
        assert [p["label"] for p in together] == [p["label"] for p in alone]
        assert [p["score"] for p in together] == pytest.approx([p["score"] for p in alone], abs=2e-6)
    assert app.count("alexnet_batch_size_bucket", le="32.0") == app.count("alexnet_batch_size_count")
    assert app.count("alexnet_batch_size_sum") == 75 + 6


def test_one_image_too_many_is_413_with_the_limit(make_app: MakeApp) -> None:
    app = make_app(max_images=3)
    assert len(app.post("/classify_batch", json=[text()] * 3).json()["results"]) == 3
    response = app.post("/classify_batch", json=[text()] * 4)
    assert response.status_code == 413
    assert "At most 3 images" in response.json()["error"]["message"]


def test_an_empty_batch_has_no_results(make_app: MakeApp) -> None:
    assert make_app().post("/classify_batch", json=[]).json()["results"] == []


def test_the_limit_of_pixels_is_the_one_of_the_settings(make_app: MakeApp) -> None:
    response = make_app(max_pixels=100).post("/classify", content=IMAGE_FILE, headers=JPEG)
    assert response.json()["error"]["code"] == "too_many_pixels"


def test_the_preview_is_what_the_model_sees(make_app: MakeApp) -> None:
    app = make_app()
    response = app.post("/preview", content=IMAGE_FILE, headers=JPEG)
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        np.testing.assert_array_equal(np.asarray(image), decode(IMAGE_FILE, SIDE, SIDE))
    again = scores(app, content=response.content, headers=JPEG)
    assert again == scores(app, content=IMAGE_FILE, headers=JPEG)
    assert app.post("/preview", content=b"x", headers=JPEG).status_code == 415


def test_the_models_card_and_readiness_say_where_it_runs(make_app: MakeApp) -> None:
    app = make_app()
    card = app.get("/model").json()
    assert card["classes"] == list(CLASSES)
    assert card["image_size"] == [SIDE, SIDE]
    assert card["runtime"]["provider"] == "CPUExecutionProvider"
    assert card["runtime"]["threads"] == 1
    assert app.get("/readyz").json() == {"ready": True, "provider": "CPUExecutionProvider", "degraded": False}
    labels = {"name": "tiny", "sha256": card["sha256"], "provider": "CPUExecutionProvider"}
    assert app.count("alexnet_model_info", **labels) == 1
    assert app.count("alexnet_degraded") == 0


def test_time_is_split_into_stages_and_answers_are_counted_by_class(make_app: MakeApp) -> None:
    app = make_app()
    (best,) = scores(app, "/classify?top_k=1", content=IMAGE_FILE, headers=JPEG)
    app.post("/classify", content=b"x", headers=JPEG)
    assert app.count("alexnet_answers_total", label=best["label"]) == 1
    # What is small is decoded where it arrives: a broken file waits for nothing.
    for stage, times in {"queue": 1, "decode": 2, "inference": 1, "encode": 1}.items():
        assert app.count("alexnet_stage_seconds_count", stage=stage) == times


def test_many_at_once_do_not_mix_up_their_answers(make_app: MakeApp) -> None:
    app = make_app()
    contents = [encode(photo(seed=seed)) for seed in range(12)]
    requests = [ClassifyRequest([content], 5) for content in contents]

    async def one_by_one() -> Any:
        return [await app.api.pipeline.classify(request) for request in requests]

    async def together() -> Any:
        return await asyncio.gather(*[app.api.pipeline.classify(request) for request in requests])

    assert asyncio.run(together()) == asyncio.run(one_by_one())


@pytest.mark.parametrize("path", ["/docs", "/ui"])
def test_a_page_may_load_nothing_from_elsewhere(path: str, make_app: MakeApp) -> None:
    response = make_app().get(path)
    assert response.status_code == 200
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    for foreign in ("http://", "https://", "//cdn"):
        assert f'src="{foreign}' not in response.text
        assert f'href="{foreign}' not in response.text


def test_the_root_leads_to_the_page(make_app: MakeApp) -> None:
    response = make_app().get("/")
    assert response.status_code == 307
    assert response.headers["location"] == "ui"


def test_answers_of_a_model_with_an_ood_output_carry_it(tmp_path: Path) -> None:
    app = App(Classifier(write_model(tmp_path / "model.onnx", detects_ood=True), threads=1), Settings(), None)
    white, black = (encode(Image.new("RGB", (40, 40), colour), "PNG") for colour in ("white", "black"))
    assert app.post("/classify", content=white).json()["unknown"] is True
    body = app.post("/classify", content=black).json()
    assert list(body) == ["predictions", "unknown", "model"]
    assert body["unknown"] is False
    images = [text(white), text(b"broken"), text(black)]
    results = app.post("/classify_batch", json=images).json()["results"]
    assert [result.get("unknown") for result in results] == [True, None, False]
    assert app.get("/model").json()["unknown_threshold"] == 0.9


def test_explain_says_which_part_of_an_image_its_best_class_needs(make_app: MakeApp) -> None:
    app = make_app()
    (best,) = scores(app, "/classify?top_k=1", content=IMAGE_FILE, headers=JPEG)
    answer = app.post("/explain", files={"image": IMAGE_FILE})
    body = answer.json()
    assert (body["label"], body["score"]) == (best["label"], best["score"])
    grid = np.array(body["grid"])
    assert grid.shape == (8, 8)
    pixels = decode(IMAGE_FILE, SIDE, SIDE)
    covered = pixels.copy()
    covered[:8, :8] = pixels.mean(axis=(0, 1)).round()
    without = app.api.classifier.run(covered[None]).probabilities[0]
    (place,) = [number for number, name in enumerate(CLASSES) if name == best["label"]]
    assert grid[0, 0] == pytest.approx(best["score"] - without[place], abs=2e-5)
    assert body["model"] == app.post("/classify", content=IMAGE_FILE).json()["model"]
    assert app.post("/explain", content=b"x").json()["error"]["code"] == "unsupported_format"
    assert app.get("/explain").status_code == 405
