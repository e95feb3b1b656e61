"""docs/guide/quickstart.ipynb is true: its cells run one after the other, without torch, and give what it says."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.paths import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "guide" / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_has_no_outputs() -> None:
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in NOTEBOOK["cells"])


def test_the_cells_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    script = [
        "import ast, sys; from alexnet.cli import main",
        "def run(cell):",
        "    *body, last = ast.parse(cell).body",
        "    shown = isinstance(last, ast.Expr)",
        "    exec(compile(ast.Module(body if shown else [*body, last], []), 'cell', 'exec'), globals())",
        "    shown and print('shown:', eval(compile(ast.Expression(last.value), 'cell', 'eval'), globals()))",
    ]
    for cell in CODE:
        if cell.startswith("!alexnet "):
            script.append(f"assert main({shlex.split(cell)[1:]!r}) == 0")
        else:
            script.append(f"run({cell!r})")
    script.append("assert 'torch' not in sys.modules")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stderr)
    shown = [line.removeprefix("shown: ") for line in done.stdout.splitlines() if line.startswith("shown: ")]
    assert shown[0].startswith("('airplane', ")
    assert shown[1].startswith("('cat', ")
    assert shown[2].count("ship") >= 4
    assert shown[3] == "['cat', 'ship']"
