"""The help of the `alexnet` command teaches what is true, and its completion works in real shells."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from alexnet import cli
from alexnet.cli import _COMMANDS, main

RUNS = ("runs/first", "runs/second")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with something to complete."""
    monkeypatch.chdir(tmp_path)
    for name in RUNS:
        Path(name).mkdir(parents=True)
    Path("model.onnx").touch()
    return tmp_path


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """What `--print-completion` prints for the shell of the test, which must be installed."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["--print-completion", shell]) == 0
    path = tmp_path / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def complete_in_bash(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    line = " ".join(shlex.quote(word) for word in words)
    code = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_TYPE=9\n"
    code += f"COMP_LINE={shlex.quote(' '.join(words))}; COMP_POINT=${{#COMP_LINE}}\n"
    code += "$(complete -p alexnet | sed -E 's/.*-F ([^ ]+).*/\\1/') alexnet; printf '%s\\n' \"${COMPREPLY[@]}\""
    return set(run("bash", "--norc", "-c", code))


def test_each_help_has_an_example_that_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    for name in _COMMANDS:
        assert main([name, "--help"]) == 0
        (example,) = re.findall(r"^Example:\n  alexnet (.+)$", capsys.readouterr().out, re.MULTILINE)
        assert example.startswith(f"{name} ")
        cli.check(shlex.split(example))


def test_the_journey_goes_from_data_to_answers_in_lines_that_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = [shlex.split(line)[1:] for line in re.findall(r"^  (alexnet .+)$", capsys.readouterr().out, re.MULTILINE)]
    commands = ["fit", "serve", "doctor", "train", "export", "evaluate", "predict", "serve"]
    assert [line[0] for line in lines] == commands
    parsed = {line[0]: cli.check(line) for line in lines}
    assert parsed["train"]["output"] == parsed["export"]["checkpoint"]
    assert parsed["export"]["output"] == parsed["evaluate"]["model"] == parsed["serve"]["model"]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_flags_and_paths(script: Path, folder: Path) -> None:
    assert complete_in_bash(script, "alexnet", "ev") == {"evaluate"}
    assert set(_COMMANDS) <= complete_in_bash(script, "alexnet", "")
    assert complete_in_bash(script, "alexnet", "train", "--learning-r") == {"--learning-rate"}
    assert complete_in_bash(script, "alexnet", "evaluate", "--split", "") == {"test", "validation"}
    assert complete_in_bash(script, "alexnet", "train", "--resume", "runs/") == set(RUNS)
    assert "model.onnx" in complete_in_bash(script, "alexnet", "evaluate", "mod")
    assert "model.onnx" in complete_in_bash(script, "alexnet", "predict", "mod")


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_flags_and_paths(script: Path, folder: Path) -> None:
    def complete(line: str) -> set[str]:
        lines = run("fish", "--no-config", "-c", f"source {script}; complete --do-complete {shlex.quote(line)}")
        return {found.partition("\t")[0] for found in lines}

    assert complete("alexnet ev") == {"evaluate"}
    assert set(_COMMANDS) <= complete("alexnet ")
    assert complete("alexnet train --learning-r") == {"--learning-rate"}
    assert complete("alexnet evaluate --split ") == {"test", "validation"}
    assert complete("alexnet train --resume runs/") == {f"{name}/" for name in RUNS}


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_takes_the_completion(script: Path) -> None:
    assert run("zsh", "-f", "-n", str(script)) == []
    code = f'autoload -U compinit; compinit -D; eval "$(<{script})"; print $_comps[alexnet]; whence $_comps[alexnet]'
    function, defined = run("zsh", "-f", "-c", code)
    assert function == defined
