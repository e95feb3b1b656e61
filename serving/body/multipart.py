"""Multipart forms (RFC 7578) to fields.

In: the whole body and its content type. Out: for each field name its values in order, files as bytes and texts as str.
A part is a file when it has a file name (`filename` or `filename*`) or the content type of one. The whole body is in
memory, bounded, before it is parsed: so each part is found with one search, and what it costs does not depend on how
many packets brought it.
"""

import re
from collections.abc import Iterator
from typing import Final

from serving.errors import RequestError

Fields = dict[str, list[bytes | str]]

_MAX_BOUNDARY: Final = 200  # characters; RFC 2046 allows 70
_MAX_HEAD: Final = 8_192  # bytes of the headers of a part
# `; name=value` or `; name="value"` of RFC 9110, section 5.6.6; in quotes `\` may escape a character, or be one.
_PARAMETER: Final = re.compile(r""";[ \t]*([^\s;="]+)=(?:"((?:[^"\\]|\\.)*)"|"([^"]*)"|([^\s;"]*))""")
# What curl, browsers and Python's clients write, recognised at once: the boundary; of a part its name, whether there
# is a file name, and content type.
_PLAIN_TYPE: Final = re.compile(r"multipart/form-data; boundary=([A-Za-z0-9'()+_./:?-]{1,70})", re.IGNORECASE)
_PLAIN_HEAD: Final = re.compile(
    rb'Content-Disposition: form-data; name="([A-Za-z_]{1,32})"(; filename="[^"\\\r\n]{0,200}")?'
    rb"(?:\r\nContent-Type: ([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+))?",
    re.IGNORECASE,
)


def parse(body: bytes, content_type: str, max_files: int, max_texts: int) -> Fields:
    """The fields of a form. Raises `RequestError`: `malformed_body`, or `too_many_images` for more files than that."""
    delimiter = b"--" + _boundary(content_type)
    fields: Fields = {}
    files = texts = 0
    for start, end in _parts(body, delimiter):
        gap = body.find(b"\r\n\r\n", start - 2, min(end, start + _MAX_HEAD))
        if gap < start:
            raise _malformed("a part has no headers, or too many")
        name, is_file = _parse_head(body[start:gap])
        content = body[gap + 4 : end]
        files, texts = files + is_file, texts + (not is_file)
        if files > max_files:
            raise RequestError("too_many_images", f"At most {max_files} images in a request.")
        if texts > max_texts:
            raise _malformed(f"it has more than {max_texts} text fields")
        fields.setdefault(name, []).append(content if is_file else content.decode(errors="replace"))
    return fields


def _boundary(content_type: str) -> bytes:
    plain = _PLAIN_TYPE.fullmatch(content_type)
    if plain:
        return plain[1].encode()
    boundary = _parameters(content_type).get("boundary", "")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise _malformed("its content type has no valid boundary")
    return boundary.encode("latin-1")


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each part, without the delimiter lines (RFC 2046, section 5.1.1)."""
    place = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2  # a preamble may come first
    if place == 1:
        raise _malformed("its boundary does not occur in it")
    while True:
        place += len(delimiter)
        if body.startswith(b"--", place):
            return
        line_end = body.find(b"\r\n", place, place + 80)
        if line_end < 0 or body[place:line_end].strip(b" \t"):
            raise _malformed("a line that begins with the boundary continues")
        end = body.find(b"\r\n" + delimiter, line_end)
        if end < 0:
            raise _malformed("it ends before its last boundary")
        yield line_end + 2, end
        place = end + 2


def _parse_head(head: bytes) -> tuple[str, bool]:
    """The field's name, and whether the part is a file."""
    plain = _PLAIN_HEAD.fullmatch(head)
    if plain:
        return plain[1].decode(), plain[2] is not None or _is_file_type((plain[3] or b"").decode())
    headers: dict[str, str] = {}
    for line in head.decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise _malformed("a header of a part has no colon")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    parameters = _parameters(disposition)
    if not disposition.lower().startswith("form-data") or "name" not in parameters:
        raise _malformed("a part has no name; each needs Content-Disposition: form-data; name=...")
    is_file = "filename" in parameters or "filename*" in parameters
    return parameters["name"], is_file or _is_file_type(headers.get("content-type", ""))


def _is_file_type(content_type: str) -> bool:
    return content_type.lower().startswith(("image/", "application/octet-stream"))


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header's value; of one that is given twice the first."""
    found: dict[str, str] = {}
    for name, quoted, raw, token in _PARAMETER.findall(header):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or raw or token)
    return found


def _malformed(reason: str) -> RequestError:
    return RequestError("malformed_body", f"The multipart body cannot be read: {reason}.")
