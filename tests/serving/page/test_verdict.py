"""What the page says comes from the model that is served; the headline is the verdict."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from alexnet.inference.classifier import Classifier
from alexnet.paths import MODEL
from tests.images import encode, photo
from tests.models import SIDE, write_model
from tests.serving.conftest import StartService
from tests.serving.page.conftest import NewPage, click_sample, expect_answer

SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]
PIZZA = ("hawaii", "margherita", "napoli")


def upload(page: Page, image: Image.Image, name: str = "mine.png") -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": encode(image, "PNG")}
    page.set_input_files("#file", file)
    expect_answer(page)


def white() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), "white")


@pytest.mark.parametrize("viewport", SIZES)
def test_none_of_the_classes_is_the_headline_in_a_neutral_colour(
    viewport: Any, new_page: NewPage, start_service: StartService, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.onnx", detects_ood=True)
    with start_service(ALEXNET_MODEL=str(model)) as server:
        page = new_page(server, viewport=viewport)
        label = page.locator("#label")
        click_sample(page, "cat")
        expect_answer(page)
        expect(label).not_to_have_text("None of the classes")
        known = label.evaluate("element => getComputedStyle(element).color")
        upload(page, white())
        expect(label).to_have_text("None of the classes")
        expect(page.locator("#score")).to_be_empty()
        neutral = page.locator("#worth").evaluate("element => getComputedStyle(element).color")
        assert label.evaluate("element => getComputedStyle(element).color") == neutral != known
        sizes = page.evaluate(
            "['#label', '#bars'].map(p => parseFloat(getComputedStyle(document.querySelector(p)).fontSize))"
        )
        assert sizes[0] > 1.5 * sizes[1]
        expect(page.locator("#worth")).to_contain_text("The nearest:")
        expect(page.locator("#bars li")).to_have_count(3)
        expect(page.locator("#announcement")).to_contain_text("None of the classes. The nearest: ")
        expect(page.locator("#card")).to_contain_text("Calibrated at temperature1.25")
        click_sample(page, "dog")
        expect_answer(page)
        expect(label).not_to_have_text("None of the classes")


def test_the_sentence_beside_it_tells_what_the_verdict_is_worth(
    new_page: NewPage, start_service: StartService, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.onnx", detects_ood=True)
    measured = json.loads((MODEL.parent / "metrics.json").read_text())
    measured["model"]["sha256"] = Classifier(model, threads=1).sha256
    interval = [0.1, 0.9]
    measured["photos"] = {
        "name": "photos",
        "sha256": "0" * 64,
        "accuracy": {"images": 400, "value": 0.875, "interval_95": interval},
        "mean_class_accuracy": 0.87,
        "classes": {},
        "calibration": {"expected_calibration_error": 0.03, "negative_log_likelihood": 0.4},
        "expected_calibration_error_interval_95": interval,
        "refused": {"images": 400, "value": 0.125, "interval_95": interval},
        "ood": {
            "images": 300, "auroc": 0.8, "auroc_interval_95": interval, "fpr_at_95_tpr": 0.5,
            "fpr_at_95_tpr_interval_95": interval, "refused": 0.625,
        },
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    with start_service(ALEXNET_MODEL=str(model)) as server:
        page = new_page(server)
        worth = page.locator("#worth")
        upload(page, white())
        expect(worth).to_contain_text(
            "62.5% of 300 photos of other things, and wrongly of 12.5% of photos of its classes"
        )
        click_sample(page, "cat")
        expect_answer(page)
        expect(worth).to_contain_text("Of 400 photos of its classes the model names 87.5% correctly")
        expect(page.locator("#card")).to_contain_text(re.compile("10,000 test images of CIFAR-10.*%"))


@pytest.mark.parametrize("viewport", SIZES)
def test_another_model_is_shown_as_what_it_is(
    viewport: Any, new_page: NewPage, start_service: StartService, tmp_path: Path
) -> None:
    metadata = {"name": "pizzeria", "classes": json.dumps(PIZZA), "license": "CC0-1.0"}
    model = write_model(tmp_path / "model.onnx", classes=PIZZA, metadata=metadata)
    with start_service(ALEXNET_MODEL=str(model), ALEXNET_SAMPLES="") as server:
        page = new_page(server, viewport=viewport)
        expect(page.locator("#classes")).to_have_text("This model tells 3 classes apart: hawaii, margherita, napoli.")
        expect(page).to_have_title("pizzeria: what is in the image?")
        expect(page.locator("#samples")).to_be_hidden()
        expect(page.locator("#bars li")).to_have_count(3)
        upload(page, photo())
        assert set(page.locator("#bars .name").all_inner_texts()) == set(PIZZA)
        expect(page.locator("#label")).to_have_text(re.compile("|".join(PIZZA)))
        expect(page.locator("#card")).to_contain_text("CC0-1.0")
        expect(page.locator("#card-link")).to_be_hidden()
        assert "CIFAR" not in page.content()
        assert "AlexNet" not in page.content()
        page.goto(f"{server.url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()
        assert "CIFAR-10" not in page.inner_text("body")


def test_samples_of_ones_own(new_page: NewPage, start_service: StartService, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "napoli.png").write_bytes(encode(photo(seed=3)))
    metadata = {"name": "pizzeria", "classes": json.dumps(PIZZA)}
    model = write_model(tmp_path / "model.onnx", classes=PIZZA, metadata=metadata)
    with start_service(ALEXNET_MODEL=str(model), ALEXNET_SAMPLES=str(samples)) as server:
        page = new_page(server)
        expect(page.locator("#samples button")).to_have_count(1)
        click_sample(page, "napoli")
        expect_answer(page)


def test_the_shipped_model_has_its_samples_its_card_and_its_test_accuracy(
    new_page: NewPage, start_service: StartService
) -> None:
    with start_service(ALEXNET_MODEL=str(MODEL), ALEXNET_SAMPLES="") as server:
        model = httpx.get(f"{server.url}/model").json()
        page = new_page(server)
        expect(page.locator("#samples button")).to_have_count(10)
        accuracy = f"{100 * model['test']['accuracy']:.1f}%"
        expect(page.locator("#card")).to_contain_text(f"Accuracy on 10,000 test images of CIFAR-10{accuracy}")
        with page.expect_navigation():
            page.get_by_role("link", name="Model card").click()
        assert page.inner_text("body").strip() == (MODEL.parent / "README.md").read_text().strip()


def test_behind_a_proxy_with_a_prefix(new_page: NewPage, start_service: StartService) -> None:
    """The page, its samples, answers and /docs work where a proxy has put the service under /alex."""
    with start_service() as server:
        page = new_page(server)
        prefix = f"{server.url}/alex/"

        def forward(route: Any) -> None:
            route.continue_(url=route.request.url.replace("/alex/", "/", 1))

        page.route(f"{prefix}**", forward)
        page.goto(f"{prefix}ui")
        click_sample(page, "cat")
        expect_answer(page)
        page.goto(f"{prefix}docs")
        expect(page.locator(".opblock").first).to_be_visible()
        asked = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert asked
        assert [url for url in asked if not url.startswith(prefix)] == []
        found = httpx.get(f"{server.url}/", follow_redirects=False)
        assert found.headers["location"] == "ui"


def test_try_it_out_in_docs_takes_a_file(new_page: NewPage, start_service: StartService) -> None:
    with start_service() as server:
        page = new_page(server)
        page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-default-classify")
        operation.click()
        operation.get_by_role("button", name="Try it out").click()
        picker = operation.locator("input[type=file]")
        picker.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": encode(photo())})
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
        expect(operation.locator(".live-responses-table")).to_contain_text("predictions")
