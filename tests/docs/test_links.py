"""Links between the pages lead to files and headings that exist, and docs/README.md lists every page."""

import re
import subprocess
from pathlib import Path

import pytest

from alexnet.paths import ROOT

DOCS = ROOT / "docs"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"```.*?```", re.DOTALL)


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split()]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in pages():
        for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_index_lists_every_page() -> None:
    listed = {(DOCS / link).resolve() for link in _LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert set(DOCS.glob("guide/*.md")) | set(DOCS.glob("development/*.md")) <= listed


@pytest.mark.parametrize("heading", ["Many images", "What `none` means: OOD (2 %)"])
def test_an_anchor_is_that_of_github(heading: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# {heading}\n\n```sh\n# not a heading\n```\n")
    assert anchors(page) == {"many-images" if heading.startswith("Many") else "what-none-means-ood-2-"}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*/*.md")), ids=lambda page: page.stem)
def test_a_page_begins_with_who_it_is_for(page: Path) -> None:
    title, empty, first = page.read_text(encoding="utf-8").split("\n")[:3]
    assert title.startswith("# ")
    assert not empty
    assert first.startswith("For ")
