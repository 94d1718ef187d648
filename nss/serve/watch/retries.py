"""Failures that are not the photo's own, as of memory, a GPU or a full disk: it is tried again, after a pause."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from nss.errors import ImageError, NssError, UsageError
from nss.serve.jobs.tasks import Stage
from nss.serve.problem import Problem

PAUSES_S = (5.0, 15.0, 45.0)
"""Before each further try; what fails once more is noted."""

_READING = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "ENOMEM", "ENFILE", "EMFILE", "EAGAIN", "EINTR", "ESTALE", "ETIMEDOUT", "ENOBUFS", "ENODEV"),
        *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
    )
    if hasattr(errno, name)
)
"""Why a photo cannot be read that may be well."""

_WRITING = frozenset(
    {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EFBIG}
    | {errno.EACCES, errno.EPERM, errno.EEXIST}
)
"""Why a cut-out cannot be written, whenever it is tried."""


def is_transient(error: BaseException, stage: Stage) -> bool:
    """Whether what failed at this stage may go well another time, without any change of the photo."""
    for cause in _causes(error):
        if isinstance(cause, MemoryError):
            return True
        if isinstance(cause, OSError):
            if stage == "finish":
                return cause.errno not in _WRITING
            return cause.errno in _READING
    if isinstance(error, Problem):  # of the pipeline, which has failed beside it
        return error.status >= 500
    return isinstance(error, NssError) and not isinstance(error, (ImageError, UsageError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


class Retries:
    """How often photos were tried in vain, and when work goes on. Until something succeeds, one photo goes at a time.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._until = 0.0
        self._is_wary = False

    def failed(self, photo: str, now: float) -> float | None:
        """Pause, in which nothing is begun: in how many seconds the photo is tried again; None where it is not."""
        tries = self._tries.pop(photo, 0)
        self._is_wary = True
        pause_s = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
        self._until = max(self._until, now + pause_s)
        if tries >= len(PAUSES_S):
            return None
        self._tries[photo] = tries + 1
        return pause_s

    def ended(self, photo: str, *, well: bool) -> None:
        """It is done, or has failed by itself; ``well``: something went through all stages."""
        self._tries.pop(photo, None)
        if well:
            self._until, self._is_wary = 0.0, False

    def room(self, now: float, at_once: int, in_hand: int) -> bool:
        """Whether one more photo may be begun."""
        return now >= self._until and in_hand < (1 if self._is_wary else at_once)
