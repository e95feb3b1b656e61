"""A real Chromium without a window, for the tests of the page and its screenshots."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A browser that asks nobody but the page's own host, also when it runs as root in a container.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]


def find() -> str | None:
    """The path of an installed Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launch(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """Start the installed Chromium, with these arguments as well, and stop it after."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=[*ARGUMENTS, *arguments])
        yield browser
        browser.close()
