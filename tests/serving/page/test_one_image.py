"""The page at /ui, used as people use it: one image, errors, keys, the model's card and looks."""

import base64
import json
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from alexnet import datasets
from alexnet.datasets import Fingerprint, cifar10
from alexnet.inference import decode
from alexnet.paths import ROOT
from benchmarks.harness import Server
from serving.settings import MODEL
from tests.models import CLASSES, VALIDATION, write_model
from tests.serving.conftest import SAMPLES, StartService
from tests.serving.page.conftest import (
    NewPage,
    click_sample,
    expect_answer,
    expect_failure,
    expected_bars,
    read_bars,
)

# Of the test split: what is on the page, chosen because people see at once what it is.
PLACES = {
    "airplane": 235, "automobile": 659, "bird": 67, "cat": 467, "deer": 159,
    "dog": 16, "frog": 392, "horse": 410, "ship": 202, "truck": 504,
}  # fmt: skip
TEXT = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not an image"}
TRIES = re.compile(r"Trying again in \d+ s")


# Ways in


@pytest.mark.skipif(not MODEL.exists(), reason=f"there is no {MODEL.name} yet")
def test_trained_model_names_the_clicked_sample(new_page: NewPage, start_service: StartService) -> None:
    with start_service(ALEXNET_MODEL=str(MODEL), ALEXNET_SAMPLES="") as server:
        page = new_page(server)
        for name in CLASSES:
            click_sample(page, name)
            expect(page.locator("#label")).to_have_text(name)
            assert read_bars(page)[0].startswith(f"{name} ")


def test_click_shows_ten_bars_the_time_and_a_spoken_answer(page: Page, service: Server) -> None:
    click_sample(page, "cat")
    expect_answer(page)
    bars = read_bars(page)
    assert bars == expected_bars(service, (SAMPLES / "cat.png").read_bytes())
    expect(page.locator("#timing")).to_have_text(
        re.compile(r"^[\d.]+ ms to classify, after [\d.]+ ms to upload and decode$")
    )
    spoken = "; then ".join(bar.replace(" ", ", ") for bar in bars[:2]) + "."
    expect(page.get_by_role("status")).to_have_text(spoken)
    widths = page.locator(".fill").evaluate_all("fills => fills.map(fill => fill.style.transform)")
    shares = [float(bar.split()[1].strip("%<>")) / 100 for bar in bars]
    assert [float(width[7:-1]) for width in widths] == pytest.approx(shares, abs=0.001)


def test_photo_is_shown_and_judged_as_the_service_decodes_it(page: Page, service: Server, photo: bytes) -> None:
    page.set_input_files("#file", {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": photo})
    expect_answer(page)
    assert read_bars(page) == expected_bars(service, photo)
    assert read_pixels(page).tolist() == decode.decode(photo, 32, 32).tolist()
    expect(page.locator("#caption")).to_have_text(re.compile(r"^cat\.jpg, \d+ kB$"))
    assert page.locator("#pixels").evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    side = page.locator("#pixels").bounding_box()
    assert side is not None
    assert side["width"] == side["height"]
    assert side["width"] % 32 == 0  # every pixel as large as every other


def read_pixels(page: Page) -> np.ndarray[Any, Any]:
    flat = page.locator("#pixels").evaluate(
        """image => {
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
          canvas.drawImage(image, 0, 0);
          return [image.naturalHeight, image.naturalWidth,
                  [...canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data]];
        }"""
    )
    return np.array(flat[2], np.uint8).reshape(flat[0], flat[1], 4)[..., :3]


def test_drop(page: Page, service: Server, photo: bytes) -> None:
    transfer = page.evaluate_handle(
        """text => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt())], "dropped.jpg"));
          return transfer;
        }""",
        base64.b64encode(photo).decode(),
    )
    page.dispatch_event("h1", "dragover", {"dataTransfer": transfer})  # anywhere
    expect(page.locator("#stage")).to_have_class("stage over")
    page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    expect(page.locator("#stage")).to_have_class("stage")
    expect_answer(page)
    expect(page.locator("#caption")).to_contain_text("dropped.jpg")
    assert read_bars(page) == expected_bars(service, photo)


def test_paste(page: Page, service: Server) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async () => {
          const blob = await (await fetch("ui/samples/frog")).blob();
          await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    page.keyboard.press("Control+V")
    expect_answer(page)
    assert read_bars(page) == expected_bars(service, (SAMPLES / "frog.png").read_bytes())

    page.evaluate("navigator.clipboard.writeText('http://127.0.0.1/cat.png')")
    page.keyboard.press("Control+V")
    expect_failure(page, "There is no image in that", "addresses are not fetched", "no_image")


def test_keyboard_alone(page: Page, photo: bytes) -> None:
    mine = {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": photo}
    page.on("filechooser", lambda chooser: chooser.set_files(mine))
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
              const element = document.activeElement;
              const marked = element.id === "file" ? document.querySelector(".caption .button") : element;
              return [element.ariaLabel || element.textContent.trim(), getComputedStyle(marked).outlineStyle];
            }"""
        )
        assert focused[1] == "solid", f"no visible focus on {focused[0]}"
        names.append(focused[0])
        if names[-1] == "cat":
            break
    assert names == ["API", "Choose images", "Camera", "airplane", "automobile", "bird", "cat"]
    page.keyboard.press("Enter")
    expect_answer(page)
    expect(page.locator("#caption")).to_have_text("cat, a sample")

    for _ in range(5):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_contain_text("mine.jpg")
    expect_answer(page)


def test_newest_image_wins(page: Page, service: Server) -> None:
    for name in ("cat", "dog", "frog", "ship"):
        click_sample(page, name)
    expect_answer(page)
    expect(page.locator("#caption")).to_have_text("ship, a sample")
    assert read_bars(page) == expected_bars(service, (SAMPLES / "ship.png").read_bytes())


# Errors


def test_text_file_gets_the_services_message(page: Page) -> None:
    click_sample(page, "cat")
    expect_answer(page)
    page.set_input_files("#file", TEXT)
    expect_failure(
        page, "This cannot be classified", "send JPEG, PNG, WebP, GIF or BMP", "unsupported_format · request "
    )
    expect(page.locator("#pixels")).to_be_hidden()  # nothing of the image before
    expect(page.locator("#bars")).to_be_hidden()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    click_sample(page, "cat")
    expect_answer(page)
    expect(page.locator("#failure")).to_be_empty()


def test_too_large_file(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(bytes(40_000_000))
    page.set_input_files("#file", path)
    expect_failure(page, "This cannot be classified", "larger than 10000000 bytes", "body_too_large")


def test_busy_service(new_page: NewPage, start_service: StartService, slow_model: Path) -> None:
    limits = {
        "ALEXNET_CONCURRENCY": "1",
        "ALEXNET_QUEUE": "0",
        "ALEXNET_TIME_LIMIT": "60",
        "ALEXNET_MAX_IMAGES": "1000",
    }
    with start_service(ALEXNET_MODEL=str(slow_model), **limits) as server:
        page = new_page(server)
        cat = (SAMPLES / "cat.png").read_bytes()
        many = [("images", cat)] * 640  # 20 runs of the model: longer than the page is patient

        def occupy() -> None:  # a preview that is still being answered takes the only place: then once more
            while httpx.post(f"{server.url}/classify_batch", files=many, timeout=120).status_code == 503:
                pass

        work = threading.Thread(target=occupy)
        work.start()
        while httpx.post(f"{server.url}/preview", files={"image": cat}).status_code != 503:
            assert work.is_alive()
        click_sample(page, "cat")
        expect(page.locator("#timing")).to_have_text(TRIES)
        expect_failure(page, "The service is busy", "Too many requests wait already", "overloaded")
        work.join()
        page.get_by_role("button", name="Try again").click()
        expect_answer(page)


def test_asks_a_busy_service_again_by_itself(page: Page) -> None:
    body = {"error": {"code": "overloaded", "message": "Too many requests.", "request_id": "1"}}
    page.route("**/preview", lambda route: route.fulfill(status=503, json=body, headers={"retry-after": "1"}), times=1)
    click_sample(page, "cat")
    expect(page.locator("#timing")).to_have_text(TRIES)
    expect_answer(page)


def test_no_network(page: Page) -> None:
    page.context.set_offline(True)
    click_sample(page, "cat")
    expect_failure(page, "The service cannot be reached", "no answer", "network")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect_answer(page)


# Keys and the model's card


def test_keys(new_page: NewPage, start_service: StartService) -> None:
    with start_service(ALEXNET_API_KEYS="first-key,second-key") as server:
        cat = (SAMPLES / "cat.png").read_bytes()
        assert httpx.post(f"{server.url}/preview", files={"image": cat}).status_code == 401
        page = new_page(server)
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        expect(page.get_by_text("This service answers only with a key.")).to_be_visible()
        expect(page.get_by_role("group", name="Samples")).to_be_hidden()
        page.set_input_files("#file", SAMPLES / "cat.png")
        expect_failure(page, "A key is needed", "Send a valid key", "unauthorized")
        field.fill("wrong-key")
        page.get_by_role("button", name="Use the key").click()
        expect(page.get_by_text("This key is not accepted.")).to_be_visible()
        field.fill("second-key")
        with page.expect_request("**/preview") as sent:
            field.press("Enter")
        assert sent.value.headers["authorization"] == "Bearer second-key"
        expect_answer(page)  # the image from before is tried again
        expect(field).to_be_hidden()
        page.reload()
        click_sample(page, "dog")
        expect_answer(page)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.get_by_role("button", name="Forget key").click()
        expect(field).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0


def test_card(new_page: NewPage, start_service: StartService, session_path: Path) -> None:
    metadata = {"name": "measured", "classes": json.dumps(CLASSES), "validation": json.dumps(VALIDATION)}
    path = write_model(session_path / "measured.onnx", metadata=metadata)
    with start_service(ALEXNET_MODEL=str(path), ALEXNET_GPU="prefer") as server:
        model = httpx.get(f"{server.url}/model").json()
        page = new_page(server)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        card = page.locator("#card")
        expect(card).to_contain_text("measured")
        expect(card).to_contain_text("90.0%")
        expect(card.get_by_title(model["sha256"])).to_have_text(f"{model['sha256'][:10]}…")
        expect(card.get_by_title(model["runtime"]["provider"])).to_be_visible()
        expect(page.get_by_text("Degraded")).to_be_visible(visible=model["runtime"]["degraded"])
        page.get_by_role("button", name="Copy the SHA-256").click()
        expect(card.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == model["sha256"]


def test_card_without_metrics_or_a_wish_for_a_gpu(page: Page) -> None:
    expect(page.locator("#card")).to_contain_text("CPU, 1 thread")
    expect(page.locator("#card")).not_to_contain_text("Accuracy")
    expect(page.get_by_text("Degraded")).to_be_hidden()


# Looks

# Of every text on the page, and of the bars, which need two thirds of it: the smallest ratio, and where it is
# (WCAG 2.2, 1.4.3 and 1.4.11).
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = parse(color).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if ((parse(color)[3] ?? 1) === 1) return color;
    }
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!texts.length || !element.checkVisibility()) continue;
    found.push([ratio(getComputedStyle(element).color, behind(element)), element.textContent]);
  }
  for (const fill of document.querySelectorAll(".fill")) {
    found.push([ratio(getComputedStyle(fill).backgroundColor, behind(fill.parentElement)) * 1.5, "a bar"]);
  }
  return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark(new_page: NewPage, scheme: str) -> None:
    page = new_page(color_scheme=scheme, reduced_motion="reduce")
    (shade,) = page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/)")
    assert (int(shade) > 128) == (scheme == "light")
    expect(page.locator("#card")).to_contain_text("tiny")
    for act in (lambda: None, lambda: click_sample(page, "cat"), lambda: page.set_input_files("#file", TEXT)):
        act()
        expect(page.locator("#main")).not_to_have_attribute("data-state", "busy")
        ratio, where = page.evaluate(CONTRAST)
        assert ratio >= 4.5, where


@pytest.mark.parametrize("width", [320, 360, 735, 736, 1200])
def test_no_sideways_scroll(new_page: NewPage, width: int) -> None:
    page = new_page(viewport={"width": width, "height": 740})

    def overhang() -> int:
        return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    expect(page.locator("#card")).to_contain_text("tiny")
    page.evaluate("for (const id of ['key', 'forget', 'degraded']) document.getElementById(id).hidden = false")
    assert overhang() == 0
    click_sample(page, "automobile")
    expect_answer(page)
    assert overhang() == 0
    page.set_input_files("#file", {**TEXT, "name": "a_name_that_has_no_place_to_break_" * 5})
    expect_failure(page, "This cannot be classified", "known image format", "unsupported_format")
    assert overhang() == 0


def test_phone_brings_the_answer_into_view(new_page: NewPage) -> None:
    page = new_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, reduced_motion="reduce")
    page.get_by_role("button", name="cat", exact=True).tap()
    expect_answer(page)
    for place in ("#pixels", "#label", "#bars li >> nth=5"):
        expect(page.locator(place)).to_be_in_viewport(ratio=1)


# Where it comes from


def test_headers_keep_the_page_at_home(client: httpx.Client) -> None:
    page = client.get("/ui")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert not link.startswith(("/", "http"))  # relative: a proxy may put the service under a prefix
        if link != "ui/card.md":  # the tiny model has none, and the page does not show the link
            assert client.get(f"/{link}").status_code == 200


def test_samples_are_test_images_of_the_data_set() -> None:
    root = ROOT / "data"
    if not (root / cifar10.FOLDER).is_dir():
        pytest.skip(f"there is no CIFAR-10 in {root}")
    test = datasets.open(root).test(Fingerprint(cifar10.CLASSES), root).images
    for name, place in PLACES.items():
        assert cifar10.CLASSES[test.labels[place]] == name
        assert np.array_equal(np.asarray(Image.open(SAMPLES / f"{name}.png")), test.pixels[place])
