"""The table of error codes."""

import re

import pytest

from alexnet.errors import CODES, RequestError
from alexnet.paths import ROOT

SERVING = ROOT / "serving"


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_a_plain_word_with_an_error_status_and_a_sentence(code: str) -> None:
    assert re.fullmatch("[a-z_0-9]+", code)
    assert 400 <= CODES[code].status <= 599
    assert CODES[code].meaning.endswith(".")


def test_an_error_tells_its_code_status_and_message() -> None:
    error = RequestError("truncated_image", "It ends early.")
    assert error.status == 422
    assert error.describe() == {"code": "truncated_image", "message": "It ends early."}


def test_every_code_in_the_source_is_in_the_table_and_every_code_of_the_table_is_used() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in SERVING.glob("*.py") if path.name != "openapi.py")
    raised = set(re.findall(r'RequestError\(\s*"([a-z_0-9]+)"', source))
    assert raised <= set(CODES)
    unused = {code for code in CODES if source.count(f'"{code}"') < 2}  # once in the table itself
    assert unused == set()
