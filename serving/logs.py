"""Log lines, for people or as JSON. They hold request ids, routes and times, never the content of an image."""

import logging
import sys
import warnings
from datetime import datetime
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

LOGGER: Final = logging.getLogger("alexnet")

_TEXT: Final = "%(asctime)s [%(levelname)s] %(message)s"
_JSON_FIELDS: Final = ["asctime", "levelname", "name", "message", "exc_info"]
_OTHERS: Final = ("bentoml", "circus", "uvicorn.error")  # their warnings and errors alone


def configure(log_format: Literal["text", "json"]) -> None:
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


class _WithZone(logging.Formatter):
    """Times as in RFC 3339, with milliseconds and the zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class _AsJson(_WithZone, JsonFormatter):
    pass


class _WithFields(_WithZone):
    """Appends the fields of a request as `name=value`."""

    _FIELDS = ("request_id", "trace_id", "client", "method", "route", "status", "code", "milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        fields = [f"{name}={getattr(record, name)}" for name in self._FIELDS if getattr(record, name, None) is not None]
        return " ".join([super().format(record), *fields])
