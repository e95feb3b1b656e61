"""Log lines for people and for programs."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from serving import logs


@pytest.fixture(autouse=True)
def _leave_no_traces() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "bentoml", "uvicorn.error", "circus", logs.LOGGER.name)]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    with warnings.catch_warnings():
        yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def written(log_format: str, capsys: pytest.CaptureFixture[str]) -> str:
    logs.configure(log_format)  # type: ignore[arg-type]
    fields = {"request_id": "abc", "route": "/classify", "status": 200, "code": None, "milliseconds": 1.5}

    async def request() -> None:
        logs.AccessLog(log_format).write(fields)  # type: ignore[arg-type]
        await asyncio.sleep(0)

    asyncio.run(request())
    return capsys.readouterr().out


def test_a_line_for_people_names_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    line = written("text", capsys)
    assert line.endswith("[INFO] request request_id=abc route=/classify status=200 milliseconds=1.5\n")


def test_a_line_for_programs_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = written("json", capsys).splitlines()
    found = json.loads(line)
    assert found["message"] == "request"
    assert found["level"] == "INFO"
    assert (found["request_id"], found["status"], found["milliseconds"]) == ("abc", 200, 1.5)
    assert "time" in found


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_request_and_an_event_have_lines_of_one_form(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    request = written(log_format, capsys)
    logs.LOGGER.info("request", extra={"request_id": "abc"})
    event = capsys.readouterr().out
    if log_format == "json":
        assert list(json.loads(request))[:4] == list(json.loads(event))[:4] == ["time", "level", "name", "message"]
    starts = [re.sub(r"\d", "0", line[: len("2026-01-31T12:00:00.000")]) for line in (request, event)]
    assert starts[0] == starts[1]


def test_an_exception_is_one_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        logs.LOGGER.exception("internal error")
    (line,) = capsys.readouterr().out.splitlines()
    assert "of two\nlines" in json.loads(line)["exc_info"]


@pytest.mark.parametrize("name", ["uvicorn.error", "circus", "bentoml.serve"])
def test_warnings_of_the_libraries_are_json_as_well_and_what_they_only_tell_is_left_out(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger(name).handlers.append(logging.StreamHandler())
    logs.configure("json")
    logging.getLogger(name.partition(".")[0] if name == "bentoml.serve" else name).info("Started")
    logging.getLogger(name).handlers.clear()
    logging.getLogger(name).error("a line")
    output = capsys.readouterr()
    assert [json.loads(line)["message"] for line in output.out.splitlines()] == ["a line"]
    assert output.err == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_pillow_warns_about_an_image_is_not_logged(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logs.configure(log_format)  # type: ignore[arg-type]
        code = "import warnings; warnings.warn('Corrupt EXIF data. Expecting to read 1234 bytes')"
        exec(compile(code, "TiffImagePlugin.py", "exec"), {"__name__": "PIL.TiffImagePlugin"})
    assert capsys.readouterr() == ("", "")
    assert caught == []


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text")
    assert len(written("text", capsys).splitlines()) == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_times_have_their_zone(log_format: str) -> None:
    code = f"from serving import logs; logs.configure({log_format!r}); logs.LOGGER.info('hello')"
    environment = {**os.environ, "TZ": "Asia/Kolkata"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    (when,) = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S*?(?=[\" ])", found.stdout)
    assert when.endswith("+05:30")
