"""What goes wrong with a request, as RFC 9457 has it: a status, its title, and one sentence that helps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from nss.errors import ImageError, ModelUnavailableError, NssError, UsageError, one_line
from nss.photos.image_size import TooManyPixelsError
from nss.serve.words import in_fields

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is no success.

    Attributes:
        status: of the answer, 400 or more.
        detail: one line: what is wrong, with what, what to do.
        headers: further ones of the answer, such as Retry-After.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = HTTPStatus(status), one_line(detail), dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """The members of the answer's body."""
        return {"title": self.status.phrase, "status": int(self.status), "detail": self.detail}

    def body(self) -> bytes:
        """The answer's body, of type ``CONTENT_TYPE``."""
        return json.dumps(self.as_json(), ensure_ascii=False).encode()


def busy(detail: str, seconds: int = 2) -> Problem:
    """503: there is no room now, and there may be in so many seconds."""
    return Problem(503, detail, {"Retry-After": str(seconds)})


def of_error(error: Exception) -> Problem:
    """What a failure of a photo's work is to whoever asked for it.

    400 for what cannot be asked for, 413 for a photo of too many pixels, 422 for one that cannot be used, 503 for a
    model, GPU or memory that is not to be had now, 500 for what no one foresaw.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, NssError):
        line = in_fields(str(error))
        if isinstance(error, UsageError):
            return Problem(400, line)
        if isinstance(error, ImageError):
            return Problem(413 if isinstance(error, TooManyPixelsError) else 422, line)
        return Problem(503, line) if isinstance(error, ModelUnavailableError) else busy(line, 10)
    if isinstance(error, MemoryError):
        return busy("there is not enough memory for this photo now; try again later, or reduce it first", 10)
    return Problem(500, f"unexpected {type(error).__name__}: {one_line(error)} (please report it)")
