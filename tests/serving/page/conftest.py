"""The page in a real Chromium, against a real service; what tests do on it."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.harness import Server
from tests.serving.conftest import SAMPLES

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
from playwright.sync_api import Browser, BrowserContext, Page, expect  # noqa: E402

from tools import browser as chromium  # noqa: E402

if chromium.find() is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)

NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # a busy machine is no failure of the page
    with chromium.launch(["--use-fake-device-for-media-stream"]) as browser:
        yield browser


@pytest.fixture
def new_page(browser: Browser, service: Server) -> Iterator[NewPage]:
    """Opens /ui. At the end of the test, whatever it did: no error in a script, and no request to another host."""
    pages: list[tuple[str, BrowserContext]] = []
    asked: list[tuple[str, str]] = []
    errors: list[str] = []

    def open_page(server: Server = service, **options: Any) -> Page:
        context = browser.new_context(**options)
        pages.append((server.url, context))
        page = context.new_page()
        page.on("request", lambda request: asked.append((server.url, request.url)))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{server.url}/ui")
        return page

    yield open_page
    for _, context in pages:
        context.close()
    assert asked or not pages
    assert [url for own, url in asked if not url.startswith((f"{own}/", f"blob:{own}/"))] == []
    # Chromium itself notes every answer of 400 and more; what our scripts do wrong reads otherwise.
    assert [error for error in errors if not error.startswith("Failed to load resource")] == []


@pytest.fixture
def page(new_page: NewPage) -> Page:
    return new_page()


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A JPEG with an orientation, much larger than what the model sees."""
    cat = Image.open(SAMPLES / "cat.png").resize((640, 480), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    cat.save(file, "JPEG", exif=exif)
    return file.getvalue()


def click_sample(page: Page, name: str) -> None:
    page.get_by_role("group", name="Samples").get_by_role("button", name=name, exact=True).click()


def expect_answer(page: Page) -> None:
    expect(page.locator("#main")).to_have_attribute("data-state", "done")


def read_bars(page: Page) -> list[str]:
    return [row.replace("\n", " ") for row in page.locator("#bars li").all_inner_texts()]


def expected_bars(server: Server, content: bytes) -> list[str]:
    """What the bars must say when the file itself is classified: no score is rounded to all or nothing."""
    rows = httpx.post(f"{server.url}/classify?top_k=10", files={"image": content}).json()["predictions"]
    shares = [f"{100 * row['score']:.1f}%" for row in rows]
    shown = [{"0.0%": "<0.1%", "100.0%": ">99.9%"}.get(share, share) for share in shares]
    return [f"{row['label']} {share}" for row, share in zip(rows, shown, strict=True)]


def expect_failure(page: Page, title: str, message: str | re.Pattern[str], code: str) -> None:
    failure = page.get_by_role("alert").filter(has=page.get_by_role("heading", name=title))
    expect(failure).to_contain_text(message)
    expect(failure).to_contain_text(code)
