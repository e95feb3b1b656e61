"""docs/guide/api.md: its tables are those of the code, and its commands work as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import Server
from serving.errors import CODES
from serving.settings import PREFIX, Settings
from tests.images import encode, photo
from tests.models import CLASSES
from tests.serving.api.test_openapi import NOT_DESCRIBED, MakeApp
from tests.serving.conftest import App
from tools import api_page

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:pathspec", "ignore::DeprecationWarning:_bentoml_sdk"
)

PAGE = api_page.PAGE.read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_tables_are_up_to_date() -> None:
    assert api_page.render(PAGE) == PAGE, "run `python -m tools.api_page`"


def test_every_setting_and_every_code_has_a_row() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    for name, field in Settings.model_fields.items():
        (row,) = [row for row in rows if f"| `{PREFIX}{name.upper()}` |" in row]
        assert field.description
        assert field.description in row
    for name, code in CODES.items():
        (row,) = [row for row in rows if f"| `{name}` |" in row]
        assert f"| {code.status} |" in row


def test_a_change_of_the_code_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODES, "new_code", CODES["not_found"])
    assert api_page.render(PAGE) != PAGE


def test_every_route_is_in_the_page(make_app: MakeApp) -> None:
    app: App = make_app()
    for path, methods in app.routes.items():
        if path not in NOT_DESCRIBED and not path.startswith(("/ui/", "/v2")):
            assert all(f"`{method} {path}`" in PAGE for method in methods)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("base64")), reason="curl or base64 is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_works(command: str, service: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(encode(photo(), "JPEG"))
    (tmp_path / "dog.png").write_bytes(encode(photo(seed=1), "PNG"))
    assert "http://127.0.0.1:3000" in command
    command = command.replace("http://127.0.0.1:3000", service.url).replace("curl ", "curl -sS ")
    found = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    answer = json.loads(found.stdout)
    assert "error" not in answer
    assert {"predictions", "results", "classes"} & set(answer)


def test_the_python_of_the_page_works(service: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat.jpg").write_bytes(encode(photo(), "JPEG"))
    monkeypatch.chdir(tmp_path)
    with_httpx, with_bentoml, with_triton = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown: list[Any] = []
    exec(with_httpx.replace("http://127.0.0.1:3000", service.url), {"print": shown.append})
    exec(with_bentoml.replace("http://127.0.0.1:3000", service.url), {"print": shown.append})
    assert shown[0]["predictions"] == shown[1]["predictions"]
    assert len(shown[0]["predictions"]) == 3
    pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    code = with_triton.replace("127.0.0.1:3000", service.url.removeprefix("http://"))
    exec(code.replace("alexnet-cifar10", "tiny"), {"print": shown.append})
    assert shown[2].shape == (1, 10)
    assert shown[2].max() == pytest.approx(shown[0]["predictions"][0]["score"], abs=1e-6)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_javascript_of_the_page_works(service: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(encode(photo(), "JPEG"))
    (code,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    command = ["node", "--no-warnings", "--input-type=module", "-e", code.replace("http://127.0.0.1:3000", service.url)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() in {"none of the classes", *CLASSES}
