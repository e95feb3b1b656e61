"""README.md is true: its generated parts, its file tree and its commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli import main
from alexnet.paths import ROOT
from tests.conftest import WIDTH
from tools import readme

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(language: str) -> list[str]:
    """The lines that start with `alexnet` in the blocks of a language, without their comments."""
    blocks = "".join(re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL))
    return [line.partition("#")[0].strip() for line in blocks.splitlines() if line.startswith("alexnet ")]


def test_the_generated_parts_are_up_to_date() -> None:
    # On another kind of CPU the last digits of a score may differ; the numbers of metrics.json may not.
    def rounded(text: str) -> str:
        return re.sub(r'"score": [0-9.e-]+', lambda match: f"{float(match[0].split()[1]):.3f}", text)

    assert rounded(readme.render(TEXT)) == rounded(TEXT), "run: python -m tools.readme"


def test_the_example_is_answered_with_its_own_class() -> None:
    assert re.search(r'"predictions": \[\s*\{"label": "cat"', TEXT)


def test_the_tree_names_every_top_level_folder_and_each_name_exists() -> None:
    (tree,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    named = {line.split()[0].rstrip("/").split("/")[0] for line in tree.splitlines() if line.strip()}
    tracked = subprocess.run(
        ["git", "ls-tree", "-d", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert set(tracked.stdout.split()) - named <= {".ci", ".github"}
    assert all((ROOT / name).exists() for name in named)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"(?:^|`)make ([a-z]+)", TEXT, re.MULTILINE)
    assert {"serve", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_to_files_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^):#]+)\)", TEXT):
        assert (ROOT / link).exists(), link


def test_training_export_and_evaluation_work_by_copying_the_lines(
    data_root: Path, init_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = commands("console")
    assert [line.split()[1] for line in lines] == ["train", "export", "evaluate"]
    # The small data set, and the smallest network, so that it takes seconds.
    small = f"--width {WIDTH} --init {init_file} --input-size 63 --validation-images 40 --device cpu"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(data_root)
    for line in lines:
        command = line + (f" {small}" if " train " in line else "")
        assert main(command.split()[1:]) == 0, command
    assert (tmp_path / "runs" / "first" / "metrics.json").exists()


def test_the_lines_for_own_photos_are_those_of_their_page() -> None:
    page = (ROOT / "docs" / "guide" / "your-own-data.md").read_text(encoding="utf-8")
    assert commands("sh")
    assert [line for line in commands("sh") if line not in page.splitlines()] == []


def test_the_python_classifies_the_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert capsys.readouterr().out == "cat\n"


def test_the_page_is_no_longer_than_two_screens() -> None:
    assert len(TEXT.splitlines()) <= 110


def test_help_is_there_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from alexnet.cli import main; main(['--help'])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout
