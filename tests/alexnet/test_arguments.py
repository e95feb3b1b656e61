"""The help of the `alexnet` command teaches what is true, and its completion works in real shells."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from alexnet import arguments
from alexnet.cli import _COMMANDS, main

RUNS = ("runs/first", "runs/second")


def commands() -> dict[str, arguments.Parser]:
    (found,) = (a.choices for a in arguments.parser()._actions if a.dest == "command")
    return dict(found)


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
    with pytest.raises(SystemExit) as caught:
        main(["--print-completion", shell])
    assert caught.value.code == 0
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


def test_every_command_can_be_run_and_is_named_in_the_help() -> None:
    assert commands().keys() == _COMMANDS.keys()


def test_each_help_has_an_example_that_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    for name in commands():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        (example,) = re.findall(r"^example:\n  alexnet (.+)$", capsys.readouterr().out, re.MULTILINE)
        assert arguments.parser().parse_args(shlex.split(example)).command == name


def test_the_journey_goes_from_data_to_answers_in_lines_that_are_understood() -> None:
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in str(arguments.parser().epilog).splitlines()[1:]]
    parsed = [arguments.parser().parse_args(shlex.split(line)[1:]) for line in lines if line.startswith("alexnet ")]
    names = [options.command for options in parsed]
    assert [name for name in names if name in ("train", "export", "evaluate")] == ["train", "export", "evaluate"]
    assert parsed[names.index("train")].output == parsed[names.index("export")].checkpoint
    assert parsed[names.index("export")].output == parsed[names.index("evaluate")].model
    assert f"ALEXNET_MODEL={parsed[names.index('evaluate')].model} bentoml serve" in lines


def test_the_help_is_the_same_in_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert str(arguments.parser().epilog).strip() in capsys.readouterr().out


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_flags_and_paths(script: Path, folder: Path) -> None:
    assert complete_in_bash(script, "alexnet", "ev") == {"evaluate"}
    assert set(_COMMANDS) <= complete_in_bash(script, "alexnet", "")
    assert complete_in_bash(script, "alexnet", "train", "--learning-r") == {"--learning-rate"}
    assert complete_in_bash(script, "alexnet", "evaluate", "--split", "") == {"test", "validation"}
    assert complete_in_bash(script, "alexnet", "train", "--resume", "runs/") == set(RUNS)
    assert "model.onnx" in complete_in_bash(script, "alexnet", "evaluate", "mod")
    assert "model.onnx" in complete_in_bash(script, "alexnet", "predict", "mod")
    assert "model.onnx" not in complete_in_bash(script, "alexnet", "train", "--resume", "mod")


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


def test_another_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--print-completion", "cmd"])
    errors = capsys.readouterr().err
    assert "choose from 'bash', 'zsh', 'fish'" in errors
    assert errors.count("\n") == 1
