"""What the page does around an answer: shrinking, progress, commands to copy, why, the camera; and accessibility."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from benchmarks.harness import Server
from tests.models import CLASSES
from tests.serving.conftest import SAMPLES, StartService
from tests.serving.page.conftest import NewPage, click_sample, expect_answer, expect_failure, read_bars

SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]


def large_photo(orientation: int = 1) -> bytes:
    """4000 x 3000 pixels and several megabytes: a red half on the left, noise on the right."""
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    pixels[:, :2000] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


# Shrinking and progress


@pytest.mark.parametrize("viewport", SIZES)
def test_a_photo_over_the_limit_is_shrunk_in_the_browser_the_right_way_up(viewport: Any, new_page: NewPage) -> None:
    content = large_photo(orientation=6)  # turned to the right: what is left in the file is on top
    assert len(content) > 5_000_000
    page = new_page(viewport=viewport)
    sent: list[int] = []
    page.on("request", lambda request: sent.append(int(request.headers.get("content-length", 0))))
    page.set_input_files("#file", {"name": "huge.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect_answer(page)
    expect(page.locator("#caption")).to_contain_text("shrunk to")
    assert max(sent) < 1_500_000
    top, bottom = page.locator("#pixels").evaluate(
        """image => {
          const context = new OffscreenCanvas(32, 32).getContext("2d");
          context.drawImage(image, 0, 0);
          return [[16, 4], [16, 28]].map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]);
        }"""
    )
    assert top[0] > 240
    assert top[1] < 30
    assert bottom[1] > 90


def test_a_file_over_the_limit_that_the_browser_cannot_read_is_refused_by_the_service(page: Page) -> None:
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": bytes(11_000_000)})
    expect_failure(page, "This cannot be classified", "larger than 10000000 bytes", "body_too_large")


def test_nothing_of_the_old_answer_stays_while_the_new_one_is_on_its_way(page: Page) -> None:
    click_sample(page, "cat")
    expect_answer(page)
    waiting: list[Any] = []
    hold = lambda route: waiting.append(route)  # noqa: E731
    page.route("**/preview", hold)
    click_sample(page, "dog")
    expect(page.locator("#caption")).to_have_text("dog, a sample")
    expect(page.locator("#main")).to_have_attribute("data-state", "busy")
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#pixels")).to_be_hidden()
    expect(page.locator("#label")).to_have_text("…")
    expect(page.locator("#score")).to_be_empty()
    assert "%" not in " ".join(page.locator("#bars").all_inner_texts())
    waiting[0].continue_()
    expect_answer(page)
    expect(page.locator("#progress")).to_be_hidden()


# Commands to copy


@pytest.mark.parametrize("kind", ["curl", "Python"])
@pytest.mark.parametrize("name", ["cat.png", "it's a $(cat).png"])
def test_the_copied_command_gives_the_answer_of_the_page(
    kind: str, name: str, page: Page, service: Server, tmp_path: Path
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    content = (SAMPLES / "cat.png").read_bytes()
    (tmp_path / name).write_bytes(content)
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    expect_answer(page)
    page.get_by_role("button", name=f"Copy as {kind}").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    if kind == "curl":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        command = ["sh", "-c", text]
    else:
        pytest.importorskip("requests")
        text = text.replace("print(answer.json())", "import json; print(json.dumps(answer.json()))")
        command = [sys.executable, "-c", text]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == httpx.post(f"{service.url}/classify", content=content).json()


def test_a_copied_command_names_no_key(new_page: NewPage, start_service: StartService) -> None:
    with start_service(ALEXNET_API_KEYS="very-secret") as server:
        page = new_page(server)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_label("API key").fill("very-secret")
        page.get_by_role("button", name="Use the key").click()
        click_sample(page, "cat")
        expect_answer(page)
        for kind in ("curl", "Python"):
            page.get_by_role("button", name=f"Copy as {kind}").click()
            expect(page.get_by_role("button", name="Copied").first).to_be_visible()
            text = page.evaluate("navigator.clipboard.readText()")
            assert "ALEXNET_API_KEY" in text
            assert "very-secret" not in text
            expect(page.get_by_role("button", name="Copied")).to_have_count(0)


# Why?


@pytest.mark.parametrize("viewport", SIZES)
def test_why_lays_a_heat_map_over_the_image(viewport: Any, new_page: NewPage, service: Server) -> None:
    page = new_page(viewport=viewport)
    click_sample(page, "cat")
    expect_answer(page)
    heat = page.locator("#heat")
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="Why?").click()
    expect(heat).to_be_visible()
    found = httpx.post(f"{service.url}/explain", content=(SAMPLES / "cat.png").read_bytes()).json()
    assert found["label"] in CLASSES
    alphas = heat.evaluate(
        """canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
          .filter((_, place) => place % 4 === 3)"""
    )
    grid = np.array(found["grid"]).ravel()
    assert int(np.argmax(alphas)) == int(np.argmax(grid))
    assert max(alphas) == pytest.approx(0.75 * 255, abs=2)
    assert (heat.bounding_box() or {}) == page.locator("#pixels").bounding_box()
    page.get_by_role("button", name="Why?").click()
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="Why?").click()
    expect(heat).to_be_visible()
    click_sample(page, "dog")  # nothing of it stays
    expect(heat).to_be_hidden()


# The camera


def test_a_photo_of_the_camera_is_classified(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Camera").click()
    # Polled from here: the page's Content-Security-Policy forbids what `wait_for_function` would evaluate in it.
    for _ in range(100):
        if page.evaluate("document.querySelector('#video').videoWidth"):
            break
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Take photo").click()
    expect_answer(page)
    expect(page.locator("#caption")).to_contain_text("camera.jpg")
    expect(page.locator("#camera-dialog")).to_be_hidden()
    assert page.evaluate("document.querySelector('#video').srcObject") is None
    assert len(read_bars(page)) == 10


def test_a_camera_that_is_refused_is_said(page: Page) -> None:
    page.get_by_role("button", name="Camera").click()
    expect_failure(page, "There is no camera", "The browser does not give it", "no_camera")


# Accessibility


@pytest.mark.parametrize("viewport", SIZES)
def test_axe_finds_nothing(viewport: Any, new_page: NewPage) -> None:
    npm = shutil.which("npm")
    folder = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True).stdout if npm else ""
    axe = Path(folder.strip()) / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed: npm install -g axe-core")
    page = new_page(viewport=viewport)

    def check() -> None:
        page.evaluate(axe.read_text())
        found = page.evaluate("axe.run()")
        assert [(violation["id"], violation["help"]) for violation in found["violations"]] == []

    expect(page.locator("#card")).to_contain_text("tiny")
    check()
    click_sample(page, "cat")
    expect_answer(page)
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#heat")).to_be_visible()
    check()
    page.set_input_files("#file", [SAMPLES / "cat.png", SAMPLES / "dog.png"])
    expect(page.locator("#gallery-status")).to_have_text("2 images.")
    check()
