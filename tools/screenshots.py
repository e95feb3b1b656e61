"""Write the images of the web page: `python -m tools.screenshots`, or one of them: `python -m tools.screenshots tour`.

In: the service with the committed model, and an installed Chromium. Out, in `docs/guide/screenshots/`: `ui-light.png`,
`ui-dark.png` and `ui-phone.png`, each after a click on a sample, and `tour.gif`, the page in use, with the SHA-256 of
the model as its comment.
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, FilePayload, Page

from alexnet import files
from alexnet.paths import MODEL, ROOT
from benchmarks.harness import serving
from tools.browser import launch

FOLDER: Final = ROOT / "docs" / "guide" / "screenshots"
# Name: width, height, colour scheme, whether it is a phone.
VIEWS: Final[dict[str, tuple[int, int, Literal["light", "dark"], bool]]] = {
    "ui-light": (1200, 900, "light", False),
    "ui-dark": (1200, 900, "dark", False),
    "ui-phone": (360, 800, "light", True),
}
TOUR: Final = "tour.gif"
TOUR_SIZE: Final = (1040, 740)
# Milliseconds of each scene: a cat, why it is one, many images, one that is none of the classes, nothing yet.
TOUR_TIMES: Final = (2000, 2600, 2800, 2800, 1200)
SAMPLE: Final = "cat"
_MANY: Final = ("airplane", "cat", "dog", "ship", "frog", "horse", "truck")


def main(names: Sequence[str]) -> None:
    """Take the views and film the tour, or those named."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with serving(ALEXNET_MODEL=str(MODEL)) as server, launch() as browser:
        for name in names or (*VIEWS, "tour"):
            if name == "tour":
                path = FOLDER / TOUR
                save(film(browser, server.url), path, files.sha256(MODEL))
            else:
                path = FOLDER / f"{name}.png"
                _shoot(browser, server.url, name, path)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


def film(browser: Browser, url: str) -> list[Image.Image]:
    """The scenes of the tour, on the page of the service at `url`."""
    width, height = TOUR_SIZE
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = context.new_page()
    _open(page, url)
    empty = _see(page)
    _click_sample(page)
    scenes = [_see(page)]
    page.get_by_role("button", name="Why?").click()
    page.locator("#heat").wait_for()
    scenes.append(_see(page))
    letter = FilePayload(name="letter.png", mimeType="image/png", buffer=_draw_letter())
    photos = [_read_photo(name) for name in _MANY]
    page.set_input_files("#file", [*photos[:3], letter, *photos[3:]])
    page.locator("#csv").wait_for()
    scenes.append(_see(page))
    page.get_by_role("button", name="letter.png").click()
    page.locator("[data-state=done]").wait_for()
    scenes.append(_see(page))
    context.close()
    return [*scenes, empty]


def save(scenes: Sequence[Image.Image], path: Path, comment: str) -> None:
    """Write the scenes as an animated GIF that repeats, with one palette for all of them."""
    together = Image.new("RGB", (TOUR_SIZE[0], TOUR_SIZE[1] * len(scenes)))
    for place, scene in enumerate(scenes):
        together.paste(scene, (0, TOUR_SIZE[1] * place))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)
    first, *rest = (scene.quantize(palette=palette, dither=Image.Dither.NONE) for scene in scenes)
    options = {"duration": list(TOUR_TIMES), "loop": 0, "comment": comment}
    with files.replacing(path) as partial:
        first.save(partial, "GIF", save_all=True, append_images=rest, optimize=False, **options)


def _shoot(browser: Browser, url: str, name: str, path: Path) -> None:
    width, height, scheme, phone = VIEWS[name]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2,
        reduced_motion="reduce",  # nothing is caught half-way
        is_mobile=phone,
        has_touch=phone,
    )
    page = context.new_page()
    _open(page, url)
    _click_sample(page)
    page.screenshot(path=path)
    context.close()


def _open(page: Page, url: str) -> None:
    page.goto(f"{url}/ui")
    page.locator("#card div").first.wait_for()


def _click_sample(page: Page) -> None:
    for _ in range(2):  # the first answer pays for connections and caches
        page.get_by_role("button", name=SAMPLE, exact=True).click()
        page.locator("[data-state=done]").wait_for()
    page.mouse.move(0, 0)


def _see(page: Page) -> Image.Image:
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _read_photo(name: str) -> FilePayload:
    """The second test image of a class."""
    path = sorted((ROOT / "tests" / "data" / "cifar10" / name).glob("*.png"))[1]
    return FilePayload(name=f"{name}.png", mimeType="image/png", buffer=path.read_bytes())


def _draw_letter() -> bytes:
    """Lines of text on paper, none of the classes, as a PNG file."""
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    for place, width in enumerate((47, 37, 28, 29, 21, 23, 21, 25, 49, 46, 42)):
        draw.line((6, 6 + 5 * place, 6 + width, 6 + 5 * place), fill="black")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
