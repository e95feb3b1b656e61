"""Many images: a tile for each, errors in their places, and all of them as CSV."""

import csv
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from benchmarks.harness import Server
from tests.images import encode, photo
from tests.serving.conftest import SAMPLES
from tests.serving.page.conftest import NewPage, expect_answer, read_bars

SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]
NAMES = ("cat", "dog", "frog")


def images(count: int) -> list[Any]:
    return [
        {"name": f"{number:02}.png", "mimeType": "image/png", "buffer": encode(photo(seed=number))}
        for number in range(count)
    ]


def broken(name: str) -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": b"no image"}


def sample(name: str) -> Any:
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": (SAMPLES / f"{name}.png").read_bytes()}


def tiles(page: Page) -> list[str]:
    return [text.replace("\n", " ") for text in page.locator(".tile").all_inner_texts()]


@pytest.mark.parametrize("viewport", SIZES)
def test_several_files_are_a_grid_with_verdicts_and_errors_in_their_places(
    viewport: Any, new_page: NewPage, service: Server
) -> None:
    page = new_page(viewport=viewport)
    page.set_input_files("#file", [sample("cat"), broken("notes.txt"), sample("dog")])
    expect(page.locator("#gallery-status")).to_have_text("3 images, 1 of them not classified.")
    shown = tiles(page)
    for place, name in ((0, "cat"), (2, "dog")):
        content = (SAMPLES / f"{name}.png").read_bytes()
        best = httpx.post(f"{service.url}/classify?top_k=1", content=content).json()["predictions"][0]
        assert shown[place] == f"{name}.png {best['label']} {100 * best['score']:.1f}%"
    assert shown[1].startswith("notes.txt ")
    assert "known image format" in shown[1] or "send JPEG" in shown[1]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.locator(".tile button").nth(2).click()  # one of them, as the model sees it
    expect_answer(page)
    expect(page.locator("#caption")).to_contain_text("dog.png")
    assert len(read_bars(page)) == 10
    expect(page.locator(".tile")).to_have_count(3)


def test_more_than_one_request_holds_are_all_there_in_order(page: Page) -> None:
    page.set_input_files("#file", images(21))
    expect(page.locator("#gallery-status")).to_have_text("21 images.")
    assert [text.split()[0] for text in tiles(page)] == [f"{number:02}.png" for number in range(21)]
    assert all("%" in text for text in tiles(page))


def test_the_csv_holds_every_row_and_no_formula(page: Page, service: Server, tmp_path: Path) -> None:
    names = ['=HYPERLINK("x"),a.png', "plain.png"]
    files = [{**image, "name": name} for image, name in zip(images(2), names, strict=True)]
    page.set_input_files("#file", [*files, broken("x.png")])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    path = tmp_path / "found.csv"
    download.value.save_as(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"'{names[0]}", names[1], "x.png"]
    assert [row["error"] for row in rows] == ["", "", "unsupported_format"]
    expected = httpx.post(f"{service.url}/classify?top_k=1", content=files[1]["buffer"]).json()["predictions"][0]
    assert (rows[1]["label"], float(rows[1]["score"])) == (expected["label"], expected["score"])
    assert (rows[2]["label"], rows[2]["score"]) == ("", "")


def test_several_files_can_be_dropped(page: Page) -> None:
    transfer = page.evaluate_handle(
        """async (names) => {
          const transfer = new DataTransfer();
          for (const name of names) {
            const blob = await (await fetch(`ui/samples/${name}`)).blob();
            transfer.items.add(new File([blob], `${name}.png`));
          }
          return transfer;
        }""",
        list(NAMES),
    )
    page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    expect(page.locator("#gallery-status")).to_have_text("3 images.")
    assert [text.split()[0] for text in tiles(page)] == [f"{name}.png" for name in NAMES]


def test_too_many_are_refused_with_the_number(page: Page) -> None:
    page.set_input_files("#file", [broken(f"{number}.png") for number in range(501)])
    expect(page.get_by_role("alert").filter(has_text="At most 500 images")).to_be_visible()
