"""Log lines, for people or as JSON. They hold request ids, routes and times, never the content of an image."""

import asyncio
import json
import logging
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from pythonjsonlogger.json import JsonFormatter

LOGGER: Final = logging.getLogger("alexnet")

LogFormat = Literal["text", "json"]

_TEXT: Final = "%(asctime)s [%(levelname)s] %(message)s"
_JSON_FIELDS: Final = ["asctime", "levelname", "name", "message", "exc_info"]
_SECOND_LENGTH: Final = len("2026-01-31T12:00:00")
_ENCODER: Final = json.JSONEncoder()  # `json.dumps` looks at its options each time
_OTHERS: Final = ("bentoml", "circus", "uvicorn.error")  # their warnings and errors alone


def configure(log_format: LogFormat) -> None:
    """Send all lines of this process to standard output: ours, and the warnings of the libraries."""
    handler = logging.StreamHandler(sys.stdout)
    if log_format == "json":
        handler.setFormatter(_AsJson(_JSON_FIELDS, rename_fields={"asctime": "time", "levelname": "level"}))
    else:
        handler.setFormatter(_WithFields(_TEXT))
    logging.root.handlers[:] = [handler]
    for name in _OTHERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
    # What clients send wrongly is told to them, counted and logged once; Pillow warns about images besides.
    warnings.filterwarnings("ignore", module=r"PIL\.")


class AccessLog:
    """Writes a line for each request, in the form of all other lines, in the event loop's next iteration.

    Through `logging` a line takes five times as long, which is a twentieth of the Python time of a small request.
    """

    def __init__(self, log_format: LogFormat) -> None:
        self._format = _format_json if log_format == "json" else _format_text
        self._lines: list[str] = []
        self._time = ""  # of these lines

    def write(self, fields: Mapping[str, Any]) -> None:
        """A line with `fields`, what is known of a request. Where nobody reads the log, nothing happens."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
            self._time = _timestamp(time.time())
        self._lines.append(self._format(self._time, fields))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        with suppress(OSError, ValueError):  # a closed pipe or a full disk must not fail requests
            sys.stdout.write("".join(lines))
            sys.stdout.flush()


def _format_text(timestamp: str, fields: Mapping[str, Any]) -> str:
    return f"{timestamp} [INFO] request {_join(fields)}\n"


def _format_json(timestamp: str, fields: Mapping[str, Any]) -> str:
    line = {"time": timestamp, "level": "INFO", "name": LOGGER.name, "message": "request", **fields}
    return _ENCODER.encode(line) + "\n"


def _join(fields: Mapping[str, Any]) -> str:
    """`name=value` of what is known."""
    return " ".join([f"{name}={value}" for name, value in fields.items() if value is not None])


def _timestamp(seconds: float) -> str:
    """A time since the epoch as in RFC 3339, with milliseconds and the zone."""
    whole = int(seconds)
    start, zone = _second(whole)
    return f"{start}.{int(1000 * (seconds - whole)):03}{zone}"


@lru_cache(maxsize=2)
def _second(seconds: int) -> tuple[str, str]:
    """A whole second up to its fraction, and its zone."""
    text = datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    return text[:_SECOND_LENGTH], text[_SECOND_LENGTH:]


class _WithZone(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _timestamp(record.created)


class _AsJson(_WithZone, JsonFormatter):
    pass


class _WithFields(_WithZone):
    """Appends which request an error belongs to."""

    _FIELDS = ("request_id", "route")

    def format(self, record: logging.LogRecord) -> str:
        fields = _join({name: getattr(record, name, None) for name in self._FIELDS})
        return f"{super().format(record)} {fields}".rstrip()
