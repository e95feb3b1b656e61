"""The codes of images that cannot be read."""

import re

from alexnet.errors import IMAGE_CODES, ImageError
from alexnet.paths import ROOT


def test_an_error_tells_its_code_and_message() -> None:
    error = ImageError("truncated_image", "It ends early.")
    assert str(error) == "It ends early."
    assert error.describe() == {"code": "truncated_image", "message": "It ends early."}


def test_every_code_of_the_decoder_is_in_the_table_and_every_code_of_the_table_is_used() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "alexnet" / "inference").rglob("*.py"))
    assert set(re.findall(r'ImageError\(\s*"([a-z_0-9]+)"', source)) == set(IMAGE_CODES)
    assert all(meaning.endswith(".") for meaning in IMAGE_CODES.values())
