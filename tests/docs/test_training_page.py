"""docs/development/training.md is true: its commands are the command's, its table is the code's."""

import re

import pytest

from alexnet import cli
from alexnet.paths import ROOT
from training.recipes import RECIPES

TEXT = (ROOT / "docs" / "development" / "training.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = command.split()
    ours = words[words.index("alexnet") + 1 :] if words[0] == "torchrun" else words[1:]
    assert ours[0] in ("train", "export", "compress")
    cli.check(ours)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("torchrun")])
def test_torchrun_understands_its_part(command: str) -> None:
    from torch.distributed.run import parse_args

    words = command.split()[1:]
    parsed = parse_args(words)
    assert parsed.module
    assert parsed.training_script == "alexnet"
    assert parsed.training_script_args == words[words.index("alexnet") + 1 :]


def test_the_table_is_that_of_the_recipes() -> None:
    (table,) = re.findall(r"<!-- recipes -->\n(.*?)<!-- /recipes -->", TEXT, re.DOTALL)
    made = {name: recipe.model_dump() for name, recipe in RECIPES.items()}
    rows = {
        row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in table.split("\n")[2:-1]
    }
    changed = {name for recipe in RECIPES.values() for name in recipe.model_fields_set}
    assert rows == {"--" + name.replace("_", "-"): [str(made[recipe][name]) for recipe in RECIPES] for name in changed}
