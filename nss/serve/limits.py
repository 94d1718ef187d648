"""How much a server takes on, and for how long it keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from nss.photos.image_size import MAX_PIXELS


@dataclass(frozen=True)
class Limits:
    """What bounds a server.

    Attributes:
        body_bytes: of one upload; no more than half of what may wait, whatever was asked for: files that were sent
            ahead may have the other half for an hour, and a larger upload would get 503 all the while.
        pixels: of one photo, mask or background.
        queue: jobs that wait or are in work.
        keep_seconds: how long a finished job is kept.
        keep_count: how many finished jobs are kept.
        file_seconds: how long a file that was sent ahead is kept, from its last use.
        file_count: how many of these are kept.
        memory: bytes in all: half of them for photos in work, a quarter for what waits (uploads, and files sent ahead),
            and a quarter for what is kept of finished jobs.
        stall_seconds: how long an upload may bring nothing, and a connection say nothing of its request.
        slowest: bytes a second that an upload must bring on average, after ``stall_seconds``.
    """

    memory: int
    body_bytes: int = 256 << 20
    pixels: int = MAX_PIXELS
    queue: int = 64
    keep_seconds: float = 3600.0
    keep_count: int = 256
    file_seconds: float = 3600.0
    file_count: int = 64
    stall_seconds: float = 20.0
    slowest: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "body_bytes", min(self.body_bytes, max(1, self.waiting_bytes // 2)))

    @property
    def work_bytes(self) -> int:
        """For photos in work."""
        return max(1, self.memory // 2)

    @property
    def waiting_bytes(self) -> int:
        """For uploads whose photos are not in work yet, and for files sent ahead."""
        return max(1, self.memory // 4)

    @property
    def kept_bytes(self) -> int:
        """For what is kept of finished jobs."""
        return max(1, self.memory // 4)
