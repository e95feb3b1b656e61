"""docs/guide/python.md is true: its lines classify an image."""

import re
import shutil
from pathlib import Path

import pytest

from alexnet.paths import ROOT


def test_the_lines_classify_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8"), re.DOTALL
    )
    shutil.copy(ROOT / "tests" / "data" / "cifar10" / "cat" / "00000.png", tmp_path / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.startswith("cat ")
