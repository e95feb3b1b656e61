"""Clients that are generated from /docs.json compile and classify a file."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.harness import Server
from tests.images import encode, photo

IMAGE_FILE = encode(photo())

# Written against the generated types: it compiles only if files, answers and errors are described as they are.
TYPESCRIPT = """
import type { paths, components } from "./schema";
type Answer = paths["/classify"]["post"]["responses"][200]["content"]["application/json"];
type Form = paths["/classify"]["post"]["requestBody"]["content"]["multipart/form-data"];
export async function classify(base: string, form: Form): Promise<Answer> {
  const body = new FormData();
  body.append("image", new Blob([form.image]));
  body.append("top_k", String(form.top_k ?? 5));
  const response = await fetch(`${base}/classify`, { method: "POST", body });
  if (!response.ok) {
    const failed: components["schemas"]["ErrorResponse"] = await response.json();
    throw new Error(failed.error.code);
  }
  return response.json();
}
export const best = (answer: Answer): string => answer.predictions[0].label;
export const unknown = (answer: Answer): boolean => answer.unknown ?? false;
"""


@pytest.fixture
def description(client: httpx.Client, tmp_path: Path) -> Path:
    path = tmp_path / "docs.json"
    path.write_bytes(client.get("/docs.json").content)
    return path


def test_openapi_python_client(
    description: Path, tmp_path: Path, service: Server, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client", reason="openapi-python-client is not installed")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(description), "--meta", "none"]
    result = subprocess.run(
        [*command, "--output-path", str(tmp_path / "generated_client")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for path in ("/classify ", "/classify_batch ", "/model "):
        assert f"WARNING parsing POST {path}" not in result.stdout
    monkeypatch.syspath_prepend(str(tmp_path))
    generated = importlib.import_module("generated_client")
    types, models = (importlib.import_module(f"generated_client.{name}") for name in ("types", "models"))
    api = importlib.import_module("generated_client.api.default.classify")
    batch = importlib.import_module("generated_client.api.default.classify_batch")
    model = importlib.import_module("generated_client.api.default.model")
    server = generated.Client(base_url=service.url)

    def file() -> Any:
        return types.File(payload=IMAGE_FILE, file_name="a.png", mime_type="image/png")

    expected = client.post("/classify", content=IMAGE_FILE).json()
    assert api.sync(client=server, body=models.ImageForm(image=file(), top_k=5)).to_dict() == expected
    answer = batch.sync(client=server, body=models.ImagesForm(images=[file(), file()], top_k=5))
    assert [result.predictions[0].label for result in answer.results] == [expected["predictions"][0]["label"]] * 2
    refused = api.sync(client=server, body=models.ImageForm(image=types.File(payload=b"x", file_name="x")))
    assert refused.error.code == "unsupported_format"
    assert model.sync(client=server).to_dict() == client.get("/model").json()


def test_openapi_typescript(description: Path, tmp_path: Path, service: Server, client: httpx.Client) -> None:
    for tool in ("openapi-typescript", "tsc", "node"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: npm install -g openapi-typescript typescript")
    subprocess.run(["openapi-typescript", str(description), "-o", str(tmp_path / "schema.ts")], check=True)
    (tmp_path / "client.ts").write_text(TYPESCRIPT)
    flags = ["--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
    compiled = subprocess.run(
        ["tsc", *flags, "--outDir", str(tmp_path / "js"), str(tmp_path / "client.ts")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stdout
    (tmp_path / "js" / "package.json").write_text('{"type": "module"}')
    (tmp_path / "photo.png").write_bytes(IMAGE_FILE)
    (tmp_path / "js" / "main.js").write_text(
        'import { readFileSync } from "node:fs"; import { classify } from "./client.js";'
        "const [base, file] = process.argv.slice(2);"
        "console.log(JSON.stringify(await classify(base, { image: readFileSync(file) })));"
    )
    command = ["node", str(tmp_path / "js" / "main.js"), service.url, str(tmp_path / "photo.png")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == client.post("/classify", content=IMAGE_FILE).json()
