"""The table of error codes."""

import re

import pytest

from alexnet.errors import IMAGE_CODES, ImageError
from alexnet.paths import ROOT
from serving.errors import CODES, RequestError

SOURCE = {path: path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py")}


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_a_plain_word_with_an_error_status_and_a_sentence(code: str) -> None:
    assert re.fullmatch("[a-z_0-9]+", code)
    assert 400 <= CODES[code].status <= 599
    assert CODES[code].meaning.endswith(".")


def test_an_error_tells_its_code_status_and_message() -> None:
    error = RequestError("body_too_large", "It is too large.")
    assert error.status == 413
    assert error.describe() == {"code": "body_too_large", "message": "It is too large."}


@pytest.mark.parametrize(
    ("code", "status"), [("empty_image", 400), ("unsupported_format", 415), ("damaged_image", 422)]
)
def test_an_image_error_is_told_with_its_code_and_message(code: str, status: int) -> None:
    error = RequestError.of(ImageError(code, "A reason."))
    assert (error.status, error.describe()) == (status, {"code": code, "message": "A reason."})


def test_every_code_in_the_source_is_in_the_table_and_every_code_of_the_table_is_used() -> None:
    source = "".join(text for path, text in SOURCE.items() if path.name not in ("openapi.py", "errors.py"))
    raised = set(re.findall(r'RequestError\(\s*"([a-z_0-9]+)"', source))
    assert raised <= set(CODES)
    assert {code for code in CODES if f'"{code}"' not in source} <= set(IMAGE_CODES)
