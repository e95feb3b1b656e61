"""What a client is told of a request that cannot be answered: a code, its HTTP status, and a message."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Self

from alexnet.errors import IMAGE_CODES, ImageError


class Code(NamedTuple):
    """What an error code stands for: its HTTP status, and its meaning in a sentence for the documentation."""

    status: int
    meaning: str


# Of `ImageError`: 400 for no image, 415 for one of another format, 422 for one that cannot be decoded.
_IMAGE_STATUS: Final = {
    "empty_image": 400,
    "unsupported_format": 415,
    "too_many_pixels": 422,
    "too_complex": 422,
    "unsupported_mode": 422,
    "truncated_image": 422,
    "damaged_image": 422,
}

# Every code that an answer of the service can carry. docs/guide/api.md shows this table.
CODES: Final[dict[str, Code]] = {
    "malformed_request": Code(400, "The request line, a header or the framing of the body is invalid HTTP."),
    "malformed_body": Code(400, "The body is not the JSON or the multipart form that its content type promises."),
    "missing_image": Code(400, "The body holds no image where one is expected."),
    "not_a_file": Code(400, "The form field holds text, for example a URL, where a file is expected."),
    "invalid_base64": Code(400, "The text of an image in a JSON body is not base64; URLs are never fetched."),
    "invalid_top_k": Code(400, "`top_k` is not an integer from 1 to the number of classes, 10 at the most."),
    "unauthorized": Code(401, "The API key is missing or unknown."),
    "not_found": Code(404, "There is no such route."),
    "method_not_allowed": Code(405, "The route does not take this method; the `Allow` header lists those it takes."),
    "upload_too_slow": Code(408, "Head or body of the request did not arrive within the upload timeout."),
    "body_too_large": Code(413, "The body is larger than the limit."),
    "too_many_images": Code(413, "The request has more images than allowed."),
    "unsupported_media_type": Code(415, "The content type or content encoding of the body is not supported."),
    "too_many_requests": Code(429, "This client has too many requests in flight."),
    "headers_too_large": Code(431, "The request line and the headers are larger than the limit."),
    "client_gone": Code(499, "Only in metrics and logs: the client closed the connection before the response."),
    "client_error": Code(400, "Any other invalid request."),
    "internal_error": Code(500, "An internal error; the log has it under the request id."),
    "overloaded": Code(503, "The queue is full or memory is short; try again after `Retry-After` seconds."),
    "unavailable": Code(503, "The service is not ready."),
    "timed_out": Code(504, "No answer within the timeout."),
} | {code: Code(_IMAGE_STATUS[code], meaning) for code, meaning in IMAGE_CODES.items()}


class RequestError(Exception):
    """A request that cannot be answered: `code` (of `CODES`) is for programs, the text for people.

    `retry_seconds` tells in how long another try may succeed, for statuses 429 and 503; `headers` are those of the
    response, beside what every error of its code has.
    """

    def __init__(
        self, code: str, message: str, retry_seconds: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_seconds = retry_seconds
        self.headers = headers or {}

    @classmethod
    def of(cls, error: ImageError) -> Self:
        """What a client is told of an image that cannot be read."""
        return cls(error.code, str(error))

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return CODES[self.code].status

    def describe(self) -> dict[str, str]:
        """What a client is told: `code` and `message`."""
        return {"code": self.code, "message": str(self)}


def without_frames(error: RequestError) -> RequestError:
    """`error` without its tracebacks.

    They hold the frames that it has passed, and these the request's body. Where one of them holds the error as well,
    only the garbage collector would free that body, many requests later.
    """
    held: BaseException | None = error
    while held is not None:
        held.__traceback__ = None
        held = held.__cause__ or held.__context__
    return error
