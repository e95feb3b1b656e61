"""The numbers that workers show each other, also when one of them ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.paths import ROOT
from serving import scoreboard
from serving.scoreboard import Scoreboard

# Another worker: it takes a slot, says so, and holds it until it is killed.
WORKER = """
import sys
from pathlib import Path
from serving.scoreboard import Scoreboard
board = Scoreboard(Path(sys.argv[1]), 2)
board.set_runs(3)
print("ready", flush=True)
sys.stdin.read()
"""


def start(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(path)]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    return worker


def test_a_worker_sees_what_the_others_do_and_not_itself(tmp_path: Path) -> None:
    board = Scoreboard(tmp_path / "board", 2)
    board.set_runs(7)
    assert board.runs_elsewhere() == 0
    worker = start(tmp_path / "board")
    assert board.runs_elsewhere() == 3
    worker.kill()
    worker.wait()


def test_the_slot_of_a_worker_that_was_killed_is_cleared_by_its_successor(tmp_path: Path) -> None:
    board = Scoreboard(tmp_path / "board", 2)
    for _ in range(3):
        worker = start(tmp_path / "board")
        assert subprocess.run([sys.executable, "-c", WORKER, str(tmp_path / "board")], cwd=ROOT, check=False).returncode
        worker.kill()
        worker.wait()
    assert board.runs_elsewhere() == 3  # until there is a successor
    worker = start(tmp_path / "board")
    assert board.runs_elsewhere() == 3
    worker.kill()
    worker.wait()


def test_a_worker_whose_run_has_just_ended_is_busy_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = [Scoreboard.__new__(Scoreboard) for _ in range(2)]
    slots = iter((0, 1))  # a process gets every lock that it has already
    monkeypatch.setattr(Scoreboard, "_lock", lambda *_: next(slots))
    for board in boards:
        board.__init__(tmp_path / "board", 2)  # type: ignore[misc]
    now = 100.0
    monkeypatch.setattr(scoreboard.time, "monotonic", lambda: now)
    boards[0].set_runs(1)
    boards[0].set_runs(0)
    assert boards[1].runs_elsewhere() == 1
    now += 2 * scoreboard._BUSY_SECONDS
    assert boards[1].runs_elsewhere() == 0
