"""docs/guide/evaluation.md is true: its commands are the command's, its numbers the code's."""

import re

import pytest

from alexnet import cli
from alexnet.datasets import corruptions as kinds
from alexnet.evaluation import corruptions
from alexnet.paths import ROOT

TEXT = (ROOT / "docs" / "guide" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    program, *words = command.split()
    assert program == "alexnet"
    cli.check(words)


def test_it_says_how_many_images_are_corrupted() -> None:
    count = len(kinds.NAMES) * len(corruptions.QUICK_SEVERITIES)
    assert f"{corruptions.QUICK_IMAGES:,} test images in severities 1, 3 and 5" in TEXT
    assert f"{corruptions.QUICK_IMAGES * count:,} images" in TEXT
    assert f"{10_000 * len(kinds.NAMES) * 5:,} images" in TEXT
