"""Files that are sent ahead of a photo, masks and backgrounds, until they are used no more."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nss.errors import quoted
from nss.pipeline.budget import Lease
from nss.pipes import OneTimeFile
from nss.serve.limits import Limits
from nss.serve.problem import Problem, busy

_SHARE = 2
"""What of the memory for what waits may be files sent ahead, as its divisor: photos must come in beside them."""


@dataclass(eq=False)
class _Upload:
    file: OneTimeFile
    lease: Lease
    last_use: float
    borrowers: int = 0
    is_removed: bool = False

    @property
    def nbytes(self) -> int:
        return len(self.file.content)

    def release(self) -> None:
        if self.is_removed and not self.borrowers:
            self.lease.release()


@dataclass(eq=False)
class Loan:
    """Files that a photo in work needs: their memory counts to the end of the loan, whatever becomes of their ids."""

    _uploads: list[_Upload] = field(default_factory=list)

    def end(self) -> None:
        """They are needed no more; again does nothing."""
        while self._uploads:
            upload = self._uploads.pop()
            upload.borrowers -= 1
            upload.release()


class Uploads:
    """Files by their ids, so many, so large and for so long as `Limits` has it. Of one thread."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._uploads: dict[str, _Upload] = {}  # the one used last is the last
        self._most_bytes = limits.waiting_bytes // _SHARE

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, content: bytes, name: str, lease: Lease) -> str:
        """Keep a file, whose memory is ``lease``; its id. Those not used for longest make room.

        Raises:
            Problem: 503: those that photos in work need take all the room. The lease stays the caller's.
        """
        self.expire()
        if not self._make_room(len(content)):
            raise busy("the files that were sent ahead are all in use; try again when photos are done")
        key = f"file-{secrets.token_hex(12)}"
        file = OneTimeFile(Path(name or key), content)
        self._uploads[key] = _Upload(file, lease, self._clock())
        return key

    def file(self, key: str) -> OneTimeFile:
        """The file of an id, which is kept from now on as long as a new one. Raises Problem 400."""
        self.expire()
        if (upload := self._uploads.pop(key, None)) is None:
            raise Problem(400, f"there is no file {quoted(key[:80])}: send it by POST /api/v1/files, and give the id")
        upload.last_use = self._clock()
        self._uploads[key] = upload
        return upload.file

    def lend(self, files: Iterable[object]) -> Loan:
        """Those of ``files`` that are kept here, for as long as a photo needs them."""
        wanted = {id(file) for file in files}
        uploads = [upload for upload in self._uploads.values() if id(upload.file) in wanted]
        for upload in uploads:
            upload.borrowers += 1
        return Loan(uploads)

    def remove(self, key: str) -> None:
        """Forget a file. Raises Problem 404 where there is none."""
        if key not in self._uploads:
            raise Problem(404, f"there is no file {quoted(key[:80])}")
        self._forget(key)

    def expire(self) -> None:
        """Forget what was not used for too long."""
        end = self._clock() - self._limits.file_seconds
        for key in [key for key, upload in self._uploads.items() if upload.last_use <= end]:
            self._forget(key)

    def clear(self) -> None:
        """Forget all."""
        for key in list(self._uploads):
            self._forget(key)

    def _forget(self, key: str) -> None:
        upload = self._uploads.pop(key)
        upload.is_removed = True
        upload.release()

    def _make_room(self, nbytes: int) -> bool:
        """Whether there is, once those that nobody needs are forgotten as far as that helps."""

        def is_room() -> bool:
            others = sum(upload.nbytes for upload in self._uploads.values())
            return len(self._uploads) < self._limits.file_count and (not others or others + nbytes <= self._most_bytes)

        idle = [key for key, upload in self._uploads.items() if not upload.borrowers]
        while not is_room() and idle:
            self._forget(idle.pop(0))
        return is_room()
