"""The shape of the three packages, as far as import-linter (pyproject.toml) does not check it."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

from alexnet.paths import ROOT

PACKAGES = ("alexnet", "training", "serving")
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
MOST_MODULES = 14
MOST_LINES = 300
STILL_TO_SPLIT: set[str] = set()


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_folder_has_more_modules_than_one_can_keep_in_mind() -> None:
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {name(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_module_is_too_long() -> None:
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {module for module, count in lines.items() if count > MOST_LINES} <= STILL_TO_SPLIT


def test_training_and_serving_are_imported_only_when_a_command_runs() -> None:
    """import-linter lets some modules import them; outside alexnet/commands/ none does so at its top."""
    for path in (path for path in (ROOT / "alexnet").rglob("*.py") if path.parent.name != "commands"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in ("training", "serving"), f"{name(path)}:{node.lineno}"


def test_the_library_imports_neither_torch_nor_a_server() -> None:
    code = "import sys, alexnet, alexnet.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in done.stdout.split()}
    assert loaded & {"bentoml", "serving", "starlette", "torch", "training", "uvicorn"} == set()
