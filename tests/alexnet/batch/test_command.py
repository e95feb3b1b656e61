"""A table that a kill interrupts is the same in the end, and no input is too long for the memory."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from alexnet.batch import command as batch
from alexnet.batch.command import Options
from alexnet.batch.pipeline import Predictor
from alexnet.batch.sources import Part
from alexnet.batch.table import parts_folder
from alexnet.errors import UserError
from alexnet.paths import ROOT
from tests import images
from tests.conftest import FIXTURE
from tests.models import write_model

PART = 20
PARTS = 10


@pytest.fixture(scope="module")
def tiny(session_path: Path) -> Path:
    """A model of milliseconds."""
    return write_model(session_path / "batch" / "tiny.onnx")


@pytest.fixture(scope="module")
def slow(session_path: Path) -> Path:
    """A model that takes a moment for each batch, and answers as the quick one does."""
    return write_model(session_path / "batch" / "slow.onnx", rounds=400)


def command(model: Path, output: Path, *arguments: str) -> list[str]:
    flags = ["--model", str(model), "--output", str(output), "--part", str(PART), *arguments]
    return [sys.executable, "-m", "alexnet", "predict", str(FIXTURE), *flags]


def kill_in_the_middle(running: subprocess.Popen[bytes], output: Path, how: signal.Signals) -> int:
    """Wait for the second part, then send the signal; returns how many parts there are then."""
    for _ in range(3000):
        done = [path for path in parts_folder(output).glob("0*") if path.suffix == output.suffix]
        if len(done) >= 2 or running.poll() is not None:
            break
        time.sleep(0.01)
    running.send_signal(how)
    running.wait(30)
    return len(list(parts_folder(output).glob("0*")))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_killed_run_resumes_and_ends_the_same(
    slow: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    whole, output = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
    assert batch.predict([str(FIXTURE)], slow, Options(output=whole, part=PART)) == 0
    with subprocess.Popen(command(slow, output), cwd=ROOT, stderr=subprocess.DEVNULL) as running:
        kept = kill_in_the_middle(running, output, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    assert 2 <= kept < PARTS
    assert not output.exists()

    computed: list[int] = []
    tables = Predictor.tables

    def counting(self: Predictor, parts: Iterable[Part], *more: object) -> Iterator[object]:
        for done in tables(self, parts, *more):
            computed.append(done[0].number)
            yield done

    monkeypatch.setattr(Predictor, "tables", counting)
    with pytest.raises(UserError, match="resume it with --resume, or --overwrite it"):
        batch.predict([str(FIXTURE)], slow, Options(output=output, part=PART))
    assert batch.predict([str(FIXTURE)], slow, Options(output=output, part=PART, resume=True)) == 0
    assert computed == sorted(computed)
    assert len(computed) == PARTS - kept
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, output.name])


def test_an_interrupted_run_says_how_to_resume(slow: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    with subprocess.Popen(command(slow, output), cwd=ROOT, stderr=subprocess.PIPE) as running:
        assert kill_in_the_middle(running, output, signal.SIGINT) < PARTS
        assert running.stderr is not None
        errors = running.stderr.read().decode()
    assert running.returncode == 130
    assert "resume with the same command and --resume" in errors
    assert "Traceback" not in errors


def test_resuming_what_is_finished_or_has_not_begun(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    given = [str(FIXTURE / "cat")], tiny, Options(output=output, resume=True)
    assert batch.predict(*given) == 0
    content = output.read_bytes()
    assert content.count(b"\n") == 21
    assert batch.predict(*given) == 0
    assert "is finished; --overwrite predicts again" in capsys.readouterr().err
    assert output.read_bytes() == content


def test_a_run_is_not_resumed_with_another_model_or_other_images(tiny: Path, slow: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    with subprocess.Popen(command(slow, output), cwd=ROOT, stderr=subprocess.DEVNULL) as running:
        kill_in_the_middle(running, output, signal.SIGKILL)
    for inputs, model, complaint in (
        (FIXTURE, tiny, "the run began with model"),
        (FIXTURE / "dog", slow, "the images are not those that the run began with"),
    ):
        with pytest.raises(UserError, match=complaint):
            batch.predict([str(inputs)], model, Options(output=output, part=PART, resume=True))


def test_the_output_is_no_input(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(images.encode(images.photo()))
    output = tmp_path / "out.csv"
    for _ in range(2):
        assert batch.predict([str(tmp_path)], tiny, Options(output=output, overwrite=True)) == 0
        assert output.read_text().count("\n") == 2


def peak_mb(*arguments: str) -> float:
    """The most memory that the command ever had."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")  # and getrusage counts what the parent had when it forked
    code = "import sys; from pathlib import Path; from alexnet.cli import main; assert main(sys.argv[1:]) == 0; "
    code += "print(Path('/proc/self/status').read_text())"
    command = [sys.executable, "-c", code, "predict", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", done.stdout, re.MULTILINE)
    return int(line) / 1024


def test_ten_thousand_images_take_no_more_memory_than_a_thousand(tiny: Path, tmp_path: Path) -> None:
    flags = ["--model", str(tiny), "--part", "100", "--output"]
    few = peak_mb(*[str(FIXTURE)] * 5, *flags, str(tmp_path / "few.csv"))
    many = peak_mb(*[str(FIXTURE)] * 50, *flags, str(tmp_path / "many.csv"))
    assert (tmp_path / "many.csv").read_bytes().count(b"\n") == 10_001
    assert many < few + 15


def test_a_row_group_larger_than_the_memory_is_read_in_pieces(tiny: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    image = images.encode(images.photo(), "BMP") + bytes(1_000_000)
    for name, count in (("few", 80), ("many", 240)):
        table = pyarrow.table({"image": pyarrow.array([image] * count, pyarrow.binary())})
        # Pages of some images, as a page is what must be read at once; pyarrow's own take up to 1,024.
        options = {"compression": "none", "use_dictionary": False, "write_batch_size": 4}
        parquet.write_table(table, tmp_path / f"{name}.parquet", **options)
    assert (tmp_path / "many.parquet").stat().st_size > 240e6
    few, many = (
        peak_mb(str(tmp_path / f"{name}.parquet"), "--model", str(tiny), "--output", str(tmp_path / f"{name}.csv"))
        for name in ("few", "many")
    )
    assert (tmp_path / "many.csv").read_text().count("unsupported_format") == 0
    assert many < few + 60
