"""The two kinds of mistakes that are not ours: of the person at the command line, and of an image file."""

from typing import Final

# Why an image file gives no pixels.
IMAGE_CODES: Final = {
    "empty_image": "The image has no bytes.",
    "unsupported_format": "The bytes are not of a supported image format.",
    "too_many_pixels": "The image's header claims more pixels than the limit.",
    "too_complex": "The image file has more scans, chunks or blocks than can be decoded in a bounded time.",
    "unsupported_mode": "The image's colour mode has no meaning as colours.",
    "truncated_image": "The image file ends before its last pixel.",
    "damaged_image": "The image file cannot be decoded.",
}


class UserError(Exception):
    """A mistake that its user can fix; the text is one line: what is wrong (`problem`), and what to do (`remedy`, or in
    `problem` too).
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class ImageError(Exception):
    """An image that cannot be read: `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def describe(self) -> dict[str, str]:
        """For JSON: `code` and `message`."""
        return {"code": self.code, "message": str(self)}


def printable(text: str) -> str:
    """`text`, which may hold names of files, in one line: control characters as `\\n`, `\\r`, `\\x1b`."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def explain_invalid(error: object) -> str | None:
    """The first problem of a pydantic `ValidationError` in one line that names the flag; None for another exception."""
    if not hasattr(error, "errors"):
        return None
    problem = error.errors()[0]
    if not problem["loc"]:
        return str(problem["ctx"]["error"])
    flag = "--" + str(problem["loc"][0]).replace("_", "-")
    return f"{flag} is {problem['input']}: {problem['msg'].replace('Input should', 'it must')}"
