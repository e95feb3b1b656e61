"""Log lines, for people or as JSON. They hold request ids, routes and times, never the content of an image."""

import logging
import sys
import warnings
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

LOGGER: Final = logging.getLogger("alexnet")

_TEXT: Final = "%(asctime)s [%(levelname)s] %(message)s"
_JSON_FIELDS: Final = ["asctime", "levelname", "name", "message", "exc_info"]


def configure(log_format: Literal["text", "json"]) -> None:
    """Send our lines to standard output; with `json`, turn BentoML's and uvicorn's lines into JSON as well."""
    formatter: logging.Formatter
    if log_format == "json":
        formatter = JsonFormatter(_JSON_FIELDS, rename_fields={"asctime": "time", "levelname": "level"})
        for name in ("", "bentoml", "uvicorn.error", "circus"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(formatter)
    else:
        formatter = _WithFields(_TEXT)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    # What clients send wrongly is told to them, counted and logged once by the gate; Pillow warns about images besides.
    logging.getLogger("uvicorn.error").addFilter(_no_invalid_request)
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _no_invalid_request(record: logging.LogRecord) -> bool:
    return record.msg != "Invalid HTTP request received."


class _WithFields(logging.Formatter):
    """Appends the fields of a request as `name=value`."""

    _FIELDS = ("request_id", "method", "route", "status", "code", "milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        fields = [f"{name}={getattr(record, name)}" for name in self._FIELDS if getattr(record, name, None) is not None]
        return " ".join([super().format(record), *fields])
