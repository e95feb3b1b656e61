"""Log lines for people and for programs."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from serving import logs


@pytest.fixture(autouse=True)
def _leave_no_traces() -> Iterator[None]:
    names = ("", "bentoml", "uvicorn.error", "circus", logs.LOGGER.name)
    before = [(logging.getLogger(name), list(logging.getLogger(name).handlers)) for name in names]
    formatters = {handler: handler.formatter for _, handlers in before for handler in handlers}
    propagate = logs.LOGGER.propagate
    with warnings.catch_warnings():
        yield
    for logger, handlers in before:
        logger.handlers[:] = handlers
    for handler, formatter in formatters.items():
        handler.setFormatter(formatter)
    logs.LOGGER.propagate = propagate


def written(log_format: str, capsys: pytest.CaptureFixture[str]) -> str:
    logs.configure(log_format)  # type: ignore[arg-type]
    fields = {"request_id": "abc", "route": "/classify", "status": 200, "code": None, "milliseconds": 1.5}
    logs.LOGGER.info("request", extra=fields)
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


def test_an_exception_is_one_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        logs.LOGGER.exception("internal error")
    (line,) = capsys.readouterr().out.splitlines()
    assert "of two\nlines" in json.loads(line)["exc_info"]


def test_the_lines_of_bentoml_and_uvicorn_are_json_as_well() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("uvicorn.error").handlers.append(handler)
    logs.configure("json")
    logging.getLogger("uvicorn.error").error("a line of uvicorn's")
    assert json.loads(stream.getvalue())["message"] == "a line of uvicorn's"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_client_sends_wrongly_is_not_logged_by_uvicorn_and_pillow_besides(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("uvicorn.error").handlers.append(logging.StreamHandler())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logs.configure(log_format)  # type: ignore[arg-type]
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        code = "import warnings; warnings.warn('Corrupt EXIF data. Expecting to read 1234 bytes')"
        exec(compile(code, "TiffImagePlugin.py", "exec"), {"__name__": "PIL.TiffImagePlugin"})
    assert capsys.readouterr() == ("", "")
    assert caught == []


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text")
    assert len(written("text", capsys).splitlines()) == 1
