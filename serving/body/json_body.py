"""JSON bodies to fields.

In: the bytes of a JSON object `{"image": <base64>}` or `{"images": [<base64>, ...]}`, with or without `top_k`, or of a
list of base64 texts. Out: for each field name its values, images as bytes or as the `RequestError` that each gets.

What parsing costs is bounded before it starts: base64 and the few names need no commas, brackets or letters that are
not ASCII, so a body with many of them is refused unparsed. 10 MB of `[[],[],...]` would take 3 s.
"""

import binascii
import json
from typing import Any, Final

from serving.errors import RequestError

Fields = dict[str, list[Any]]

MAX_NESTING: Final = 64  # brackets of any kind
# A text of ASCII takes a byte a character in Python; one emoji makes it four.
MAX_NON_ASCII_BYTES: Final = 65_536
_WHITESPACE: Final = b" \t\r\n\v\f"


def parse(body: bytes, max_images: int, *, batch: bool, one: str, many: str) -> Fields:
    """The fields of a body. `one` and `many` are the names of the fields for one image and, in a `batch`, for many.

    Raises `RequestError` `malformed_body`.
    """
    check_size(body, max_commas=4 * max_images + MAX_NESTING)  # a data URL holds a comma of its own
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("malformed_body", "The body is not valid JSON.") from error
    if batch and isinstance(value, list):
        value = {many: value}
    if not isinstance(value, dict):
        raise RequestError("malformed_body", f'The JSON must be an object, such as {{"{one}": "<base64>"}}.')
    images = value.pop(many, None)
    if images is not None and not isinstance(images, list):
        raise RequestError("malformed_body", f"{many!r} must be a list of base64 texts.")
    fields = {name: [given] for name, given in value.items() if given is not None}
    if images is not None:
        fields[many] = images
    for name in {one, many} & fields.keys():
        fields[name] = [to_bytes(image) for image in fields[name]]
    return fields


def check_size(body: bytes, max_commas: int) -> None:
    """Raise `RequestError` for a body that no client needs and that would take long to parse.

    Nested lists of numbers have a bracket for each few commas.
    """
    max_brackets = max(MAX_NESTING, max_commas // 2)
    if body.count(b"[") + body.count(b"{") > max_brackets or body.count(b",") > max_commas:
        raise RequestError("malformed_body", f"The JSON has more than {max_commas} elements or {max_brackets} levels.")
    if len(body) > MAX_NON_ASCII_BYTES and not body.isascii():
        raise RequestError("malformed_body", f"JSON of more than {MAX_NON_ASCII_BYTES} bytes must be ASCII.")


def to_bytes(image: Any) -> bytes | RequestError:
    """The bytes of a base64 text, with or without a `data:` prefix; white space in it is skipped."""
    if not isinstance(image, str):
        return RequestError("invalid_base64", "An image in JSON is a base64 text.")
    text = image.partition(",")[2] if image.startswith("data:") else image
    try:
        return binascii.a2b_base64(text.encode("ascii").translate(None, _WHITESPACE), strict_mode=True)
    except ValueError:
        return RequestError("invalid_base64", "The image is not valid base64; send its bytes, never a URL.")
