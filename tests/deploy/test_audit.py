"""The verdict on known vulnerabilities, for what pip-audit can say; nothing is asked of anyone."""

import json
from pathlib import Path

import pytest

from deploy import audit


def report(*packages: tuple[str, list[dict[str, object]] | None]) -> str:
    """pip-audit's JSON; None for a package that the feed does not know."""
    rows = [
        {"name": name, "version": "1.0", "vulns": found} if found is not None else {"name": name, "skip_reason": "none"}
        for name, found in packages
    ]
    return json.dumps({"dependencies": rows, "fixes": []})


WEAK = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}


def test_a_known_vulnerability_fails_the_check_and_says_what_to_do() -> None:
    code, text = audit.judge(report(("good", []), ("weak", [WEAK]), ("own", None)), "")
    assert code == 1
    assert "weak 1.0: PYSEC-2026-1, fixed in 1.1: set that in requirements/" in text.splitlines()
    assert "good" not in text


def test_one_without_a_fix_must_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    unfixed = report(("weak", [{**WEAK, "fix_versions": []}]))
    assert audit.judge(unfixed, "")[0] == 1
    monkeypatch.setattr(audit, "ACCEPTED", {"PYSEC-2026-1": "we never call it"})
    assert audit.judge(unfixed, "")[0] == 0


def test_nothing_known_passes_and_names_what_was_not_looked_up() -> None:
    code, text = audit.judge(report(("good", []), ("own", None)), "")
    assert (code, text) == (0, "audit: no known vulnerability in 1 packages; not in the feed: own")


def test_a_mirror_without_the_feed_is_no_clean_bill() -> None:
    code, text = audit.judge(report(("good", None), ("own", None)), "No known vulnerabilities found")
    assert code == 0
    assert text.startswith("audit skipped: ")


@pytest.mark.parametrize(
    "errors",
    [
        "",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n",
        "Traceback\nProxyError: " + "x" * 999,
    ],
)
def test_no_network_is_one_short_line_and_no_failure(errors: str) -> None:
    code, text = audit.judge("", errors)
    assert code == 0
    assert text.startswith("audit skipped: ")
    assert "\n" not in text
    assert len(text) < 140


def test_where_the_feed_is_missing_one_question_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def ask(*files: Path) -> tuple[str, str]:
        asked.append([file.read_text() for file in files])
        return report(("bentoml", None)), ""

    monkeypatch.setattr(audit, "_ask", ask)
    assert audit.main() == 0
    ((pins,),) = asked
    assert pins.startswith("bentoml==")
    assert capsys.readouterr().out.startswith("audit skipped")


def test_where_it_is_there_all_pins_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def ask(*files: Path) -> tuple[str, str]:
        asked.extend(files)
        return report(("weak", [WEAK]) if len(files) > 1 else ("bentoml", [])), ""

    monkeypatch.setattr(audit, "_ask", ask)
    assert audit.main() == 1
    assert asked[1:] == [audit.ROOT / name for name in audit.PINS]
    assert "PYSEC-2026-1" in capsys.readouterr().err


@pytest.mark.usefixtures("offline")
def test_pip_audit_itself_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("audit skipped: ")
