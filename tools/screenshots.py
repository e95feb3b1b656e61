"""Write the screenshots of the page: `python -m tools.screenshots`.

In: the service with the committed model (or the one that ALEXNET_MODEL names), and an installed Chromium. Out:
`docs/guide/screenshots/ui-light.png`, `ui-dark.png` and `ui-phone.png`, each after a click on a sample.
"""

import os
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser

from alexnet.paths import MODEL, ROOT
from benchmarks.harness import serving
from tools.browser import launch

FOLDER = ROOT / "docs" / "guide" / "screenshots"
# Name: width, height, colour scheme, whether it is a phone.
VIEWS: Final[dict[str, tuple[int, int, Literal["light", "dark"], bool]]] = {
    "ui-light": (1200, 900, "light", False),
    "ui-dark": (1200, 900, "dark", False),
    "ui-phone": (360, 800, "light", True),
}
SAMPLE = "cat"


def main() -> None:
    """Take every view."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with serving(ALEXNET_MODEL=os.environ.get("ALEXNET_MODEL", str(MODEL))) as server, launch() as browser:
        for name in VIEWS:
            path = FOLDER / f"{name}.png"
            _shoot(browser, server.url, name, path)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


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
    page.goto(f"{url}/ui")
    page.locator("#card div").first.wait_for()
    for _ in range(2):  # the first answer pays for connections and caches
        page.get_by_role("button", name=SAMPLE, exact=True).click()
        page.locator("[data-state=done]").wait_for()
    page.mouse.move(0, 0)
    page.screenshot(path=path)
    context.close()


if __name__ == "__main__":
    main()
