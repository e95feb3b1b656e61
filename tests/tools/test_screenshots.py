"""The images of the web page: what the tool writes is what the pages show, of the model that ships."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from alexnet import files
from alexnet.paths import MODEL, ROOT
from benchmarks.harness import serving

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
from tools import browser, screenshots

WRITTEN = {screenshots.TOUR, *(f"{name}.png" for name in screenshots.VIEWS)}


def test_every_image_is_written_by_the_tool_and_shown_in_a_page() -> None:
    assert {path.name for path in screenshots.FOLDER.iterdir()} == WRITTEN
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert {name for name in WRITTEN if f"screenshots/{name})" not in text} == set()


def test_the_tour_is_of_the_shipped_model() -> None:
    tour = Image.open(screenshots.FOLDER / screenshots.TOUR)
    assert tour.info["comment"].decode() == files.sha256(MODEL), "run: python -m tools.screenshots"
    assert tour.size == screenshots.TOUR_SIZE
    times = [frame.info["duration"] for frame in ImageSequence.Iterator(tour)]
    assert times == list(screenshots.TOUR_TIMES)


@pytest.mark.skipif(browser.find() is None, reason="Chromium is not installed: apt-get install chromium")
def test_the_tour_can_be_filmed(tmp_path: Path) -> None:
    with serving(ALEXNET_MODEL=str(MODEL), ALEXNET_THREADS="1") as server, browser.launch() as chromium:
        scenes = screenshots.film(chromium, server.url)
    screenshots.save(scenes, tmp_path / "tour.gif", "a comment")
    with Image.open(tmp_path / "tour.gif") as tour:
        frames = [np.asarray(frame.convert("RGB"), np.int16) for frame in ImageSequence.Iterator(tour)]
    assert len(frames) == len(scenes) == len(screenshots.TOUR_TIMES)
    for frame, scene in zip(frames, scenes, strict=True):
        assert np.abs(frame - np.asarray(scene, np.int16)).mean() < 2  # of 255: the palette keeps the colours
    assert all(np.abs(one - other).mean() > 0.5 for one, other in itertools.pairwise(frames))
