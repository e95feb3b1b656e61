"""docs/guide/deployment.md says what was measured, and of what is in the repository."""

import json
import re
from pathlib import Path

from benchmarks.container.measure import PAGE, RESULT, ROOT, report


def test_the_tables_are_those_of_the_result_file(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text())
    report(copy, json.loads(RESULT.read_text()))
    assert copy.read_text() == PAGE.read_text()


def test_files_that_it_names_are_there() -> None:
    named = re.findall(r"(?:deploy|tests|docs)/[\w./-]*\w", PAGE.read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
