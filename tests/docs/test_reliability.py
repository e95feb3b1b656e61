"""docs/reliability.md says what was measured, and what was measured is that nothing broke."""

import json

import pytest

from benchmarks import reliability


def test_the_page_is_made_from_the_result_files() -> None:
    page = (reliability.ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page == reliability.report(), "run: python -m benchmarks.reliability report"


@pytest.mark.parametrize("name", ["fuzz", "soak", "drain"])
def test_nothing_broke(name: str) -> None:
    found = json.loads((reliability.RESULTS / f"reliability-{name}.json").read_text())
    assert found["result"]["failures"] == []
