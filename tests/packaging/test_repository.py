"""What strangers expect in a repository is there, and true."""

import re
import shlex
import subprocess

import pytest
import yaml

from alexnet import __version__
from alexnet.cli import app, main
from alexnet.paths import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RENAMED = re.findall(r"^\| (\w+) \| `(--[\w-]+)`.*? \| `(--[\w-]+)`", CHANGELOG, re.MULTILINE)


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert re.findall(r"^## (\S+)$", CHANGELOG, re.MULTILINE)[0] == __version__


def test_the_workflow_runs_the_same_checks_as_any_machine() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert any(".ci/run" in step.get("run", "") for job in jobs.values() for step in job["steps"])
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in hooks:
        assert f"$(BIN)/{hook['entry'].split()[0].removeprefix('.venv/bin/')}" in makefile


@pytest.mark.parametrize("target", ["serve", "train", "reproduce", "model", "evaluate"])
def test_make_gives_commands_the_flags_that_they_have(target: str) -> None:
    pytest.importorskip("torch", reason="the flags of training are in a module that needs torch")
    values = ("EXTRA=extra", "OUTLIERS=outliers", "PHOTOS=photos", "OOD=one two", "SOURCES=a, b", "SEED=1")
    printed = subprocess.run(["make", "-n", target, *values], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in printed.stdout.replace("\\\n", " ").splitlines()]
    commands = [words[1:] for words in lines if words and words[0].endswith("/alexnet")]
    assert commands
    for words in commands:
        app.parse_args(words, exit_on_error=False, print_error=False)  # raises on what it does not know


@pytest.mark.parametrize(("command", "old", "new"), RENAMED)
def test_a_renamed_flag_is_renamed(command: str, old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    flags = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    assert new in flags
    assert old not in flags


def test_no_page_names_a_file_that_is_not_there() -> None:
    for page in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^):#]+)\)|`((?:docs|models|\.ci)/[\w./-]*)`", text):
            assert (ROOT / (link[0] or link[1])).exists(), f"{page}: {link}"
