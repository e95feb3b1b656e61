"""The two kinds of mistakes that are not ours: of the person at the command line, and of a client over HTTP."""

from typing import Final, NamedTuple


class UserError(Exception):
    """A mistake that its user can mend; the text is one line that says what is wrong and what to do."""


class Code(NamedTuple):
    """What an error code stands for: its HTTP status, and its meaning in a sentence for the documentation."""

    status: int
    meaning: str


# Every code that an answer of the service can carry. docs/api.md shows this table.
CODES: Final[dict[str, Code]] = {
    "malformed_request": Code(400, "The request line, a header or the framing of the body is no valid HTTP."),
    "malformed_body": Code(400, "The body is not the JSON or the multipart form that its content type promises."),
    "missing_image": Code(400, "The body holds no image where one is expected."),
    "not_a_file": Code(400, "The form field holds text, for example a URL, where a file is expected."),
    "invalid_base64": Code(400, "The text of an image in a JSON body is not base64; URLs are never fetched."),
    "invalid_top_k": Code(400, "`top_k` is no whole number from 1 to the number of classes, 10 at the most."),
    "empty_image": Code(400, "The image has no bytes."),
    "unauthorized": Code(401, "An API key is needed and was not given, or is not a known one."),
    "not_found": Code(404, "There is no such route."),
    "method_not_allowed": Code(405, "The route does not take this method; the `Allow` header lists those it takes."),
    "upload_too_slow": Code(408, "The request did not arrive within the time for uploads, its head and its body each."),
    "body_too_large": Code(413, "The body is larger than the limit."),
    "too_many_images": Code(413, "The request holds more images than one request may."),
    "unsupported_media_type": Code(415, "The content type or content encoding of the body is not one that is read."),
    "unsupported_format": Code(415, "The bytes are of no known image format."),
    "too_many_pixels": Code(422, "The image's header claims more pixels than the limit."),
    "unsupported_mode": Code(422, "The image's colour mode has no meaning as a colour picture."),
    "truncated_image": Code(422, "The file of the image ends before its picture does."),
    "damaged_image": Code(422, "The file of the image cannot be decoded."),
    "client_error": Code(400, "Any other mistake of the request."),
    "internal_error": Code(500, "A mistake of ours; the log has it under the request id."),
    "overloaded": Code(503, "More requests wait than may; try again after `Retry-After` seconds."),
    "unavailable": Code(503, "The service is not ready."),
    "timed_out": Code(504, "The answer was not there within the time limit."),
}


class RequestError(Exception):
    """A request that cannot be answered: `code` (of `CODES`) is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return CODES[self.code].status

    def describe(self) -> dict[str, str]:
        """What a client is told of it: `code` and `message`."""
        return {"code": self.code, "message": str(self)}
