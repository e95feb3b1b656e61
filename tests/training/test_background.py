"""Work beside the caller's: in order, one at a time, and nothing that fails is lost."""

import threading

import pytest

from training.background import Background


def test_work_is_done_in_order_beside_the_caller_and_is_done_at_the_end() -> None:
    go, done = threading.Event(), []

    def first() -> None:
        assert go.wait(10)
        done.append((1, threading.current_thread() is threading.main_thread()))

    with Background() as background:
        background.do(first)
        assert done == [], "the caller goes on"
        go.set()
        background.do(lambda: done.append((2, threading.current_thread() is threading.main_thread())))
    assert done == [(1, False), (2, False)]


def test_a_failure_is_raised_where_the_next_work_is_given_and_only_once() -> None:
    def fail() -> None:
        raise ValueError("full")

    done = []
    with Background() as background:
        background.do(fail)
        with pytest.raises(ValueError, match="full"):
            background.do(lambda: done.append(1))
        background.do(lambda: done.append(2))
    assert done == [2]


def test_the_failure_of_the_last_work_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"), Background() as background:
        background.do(fail)
