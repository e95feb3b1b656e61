"""docs/guide/scaling.md is true: its commands work, its codes are the code's, its tables are of the measurement."""

import importlib.util
import re
from pathlib import Path

import pytest

from alexnet.batch.table import CODES, parts_folder
from alexnet.cli import main
from benchmarks import predict

TEXT = predict.PAGE.read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_the_commands_work_by_copying_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests").symlink_to(predict.ROOT / "tests")
    (tmp_path / "models").symlink_to(predict.ROOT / "models")
    monkeypatch.chdir(tmp_path)
    kinds = {".csv": 0, ".parquet": 0}
    for command in COMMANDS:
        words = [word.strip("'") for word in command.split()]
        assert words[:2] == ["alexnet", "predict"]
        if "--ray" in words:  # tests/alexnet/batch/test_ray_backend.py
            continue
        output = Path(words[words.index("--output") + 1]) if "--output" in words else None
        if output and output.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
            continue
        assert main(words[1:]) == 0, command
        if output:
            assert output.exists()
            assert not parts_folder(output).exists()
            kinds[output.suffix] += 1
    out = capsys.readouterr().out
    assert re.search(r"^ cat +\S+ +\d+\.\d %$", out, re.MULTILINE)
    assert out.count('{"path": ') == 20
    assert kinds[".csv"] == 2
    # "A broken image is a row, as predictions.csv is in the third command above."
    second = Path("again.csv").read_text().splitlines()
    assert len(second) == 22
    assert second[1].startswith("predictions.csv,,,")
    assert "unsupported_format" in second[1]


def test_the_codes_are_those_of_the_code() -> None:
    (codes,) = re.findall(r"<!-- codes -->\n(.*?)<!-- /codes -->", TEXT, re.DOTALL)
    rows = [f"| `{code}` | {meaning} |" for code, meaning in CODES.items()]
    assert codes.splitlines() == ["| code | meaning |", "|---|---|", *rows]


def test_the_tables_are_those_of_the_result_file(tmp_path: Path) -> None:
    if not predict.RESULT.exists():
        pytest.skip("not measured yet: python -m benchmarks.predict")
    page = tmp_path / "page.md"
    page.write_text(TEXT, encoding="utf-8")
    predict.report(page, predict.read_result())
    assert page.read_text(encoding="utf-8") == TEXT, "run: python -m benchmarks.predict report"


def test_the_tables_say_what_the_rows_say() -> None:
    same = {"model": "abc", "cpu": "Some", "cpus": "2", "onnxruntime": "1", "others_share": "0.02", "kind": "PNG"}
    rounds = [("onnxruntime", 2.0), ("predict", 2.5), ("onnxruntime", 4.0), ("decoding", 0.1), ("predict", 4.0)]
    rows = [{**same, "measured": name, "images": "100", "seconds": str(seconds)} for name, seconds in rounds]
    for images, seconds in ((1, 3.0), (1001, 23.0)):
        sizes = {"output_bytes": str(images * 100), "input_bytes": str(images * 2000), "peak_mb": "200"}
        row = {"measured": "command", "images": str(images), "seconds": str(seconds), "cpu_seconds": str(2 * seconds)}
        rows.append({**same, **row, **sizes})
    assert predict.shares(rows)["PNG"] == pytest.approx((37.5, 1000.0, 32.5, 0.9))
    made = predict.tables(rows)
    assert "| PNG | 37.5 | 1,000.0 | 32.5 | 90.0 % |" in made["share"]
    assert "SKIP not measured: ONNX Runtime alone" in made["machine"]
    small = predict.tables([{**row, "kind": "PNG, 32 x 32"} for row in rows])
    assert "PASS 0.90x ONNX Runtime alone (target 0.85x): PNG, 32 x 32, images/s" in small["machine"]
    assert made["each"] == "Start-up apart, an image takes 20.0 ms here, and 40.0 ms of CPU time."
    assert "| CPU time | 463 days of one CPU |" in made["whole"]
    assert "| on 2 such CPUs | 231 days |" in made["whole"]
    assert "| images read, as here | 2.0 TB |" in made["whole"]
    assert "| table written, CSV with 5 classes | 100 GB |" in made["whole"]
