"""docs/guide/reliability.md says what was measured, and what was measured is that nothing broke."""

import json

import pytest

from benchmarks.records import RESULTS
from benchmarks.reliability import page

FOUND = [name for name in page.NAMES if (RESULTS / f"reliability-{name}.json").exists()]


def test_the_page_is_made_from_the_result_files() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "run: python -m benchmarks.reliability report"


def test_every_section_names_its_machine_and_model() -> None:
    sections = page.render().split("\n## ")[1:]
    assert len(sections) == len(FOUND)
    assert all(section.count("\nMeasured on ") == 1 and ", model " in section for section in sections)


@pytest.mark.parametrize("name", FOUND)
def test_nothing_broke(name: str) -> None:
    found = json.loads((RESULTS / f"reliability-{name}.json").read_text())
    assert found["result"]["failures"] == []
