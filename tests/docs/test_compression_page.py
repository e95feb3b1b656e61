"""docs/development/compression.md is true: its commands are the command's, its modules are there."""

import re

from alexnet import cli
from alexnet.paths import ROOT

TEXT = (ROOT / "docs" / "development" / "compression.md").read_text(encoding="utf-8")


def test_every_command_is_understood() -> None:
    commands = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    assert commands
    for command in commands:
        cli.check(command.split()[1:])


def test_every_module_is_there() -> None:
    names = re.findall(r"`(\w+\.py)`", TEXT)
    assert len(names) >= 6
    for name in names:
        assert (ROOT / "training" / "export" / name).is_file(), name
