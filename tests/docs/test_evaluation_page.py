"""docs/evaluation.md is true: its commands are the command's, its numbers the code's."""

import re

import pytest

from alexnet import arguments
from alexnet.evaluation import corruptions, robustness
from alexnet.paths import ROOT

TEXT = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    program, *words = command.split()
    assert program == "alexnet"
    arguments.parser().parse_args(words)


def test_as_many_pictures_are_corrupted_as_it_says() -> None:
    given = arguments.parser().parse_args(["evaluate"])
    assert f"{given.corruption_images:,} unless told otherwise" in TEXT
    pictures = given.corruption_images * len(corruptions.NAMES) * len(robustness.SEVERITIES)
    assert f"{pictures:,} pictures to answer" in TEXT
