"""What can be done while a model is opened: the first photo is decoded, and the GPU is made ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nss import pipes
from nss.errors import NssError
from nss.models.adapter_memory import remember_adapters

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.photos.image_io import Photo

QUIET = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How files begin whose decoders write nothing to standard error, which drivers are kept off meanwhile: JPEG and PNG.
The messages of others are caught (`nss.photos.codec_messages`), and two cannot move one descriptor."""


class FirstPhoto:
    """The first photo of a work list, decoded in a thread from now on, if it is a file that may be read early.

    Whether it can be decoded is said where it is taken, as though it had been decoded there.
    """

    def __init__(self, jobs: Iterable[Job], max_pixels: int) -> None:
        """``max_pixels``: how many it may have."""
        self._job = next((job for job in jobs if job.error is None and not job.skipped), None)
        self._photo: Photo | None = None
        self._error: Exception | None = None
        self._milliseconds = 0.0
        self._thread: threading.Thread | None = None
        if self._job is not None and self._job.source is not None and _is_quiet(self._job.source):
            arguments = (self._job.source, self._job.name, max_pixels)
            # a daemon: whoever leaves early does not wait for it
            self._thread = threading.Thread(target=self._decode, args=arguments, name="nss-first-photo", daemon=True)
            self._thread.start()

    def take(self, job: Job) -> tuple[Photo, float] | None:
        """The photo of this job, and the milliseconds that it took; None where it is not the first, or is taken.

        Raises what decoding it raised.
        """
        if self._thread is None or job is not self._job:
            return None
        self._thread.join()
        self._thread = None
        photo, error, self._photo, self._error = self._photo, self._error, None, None
        if error is not None:
            raise error
        return None if photo is None else (photo, self._milliseconds)

    def _decode(self, source: Path, name: str, max_pixels: int) -> None:
        from nss.photos import image_io

        start = time.perf_counter()
        try:
            self._photo = image_io.load(source, name, max_pixels=max_pixels)
        except Exception as error:
            self._error = error
        self._milliseconds = (time.perf_counter() - start) * 1e3


def _is_quiet(path: Path) -> bool:
    """Whether it is a regular file that begins like one of `QUIET`."""
    try:
        if pipes.is_pipe(path) or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(8).startswith(QUIET)
    except (OSError, ValueError):
        return False


def make_gpu_ready(*, backend: str, device: str | int | None, precision: str) -> None:
    """Begin to open the devices that sessions of these options get; what is wrong with them the sessions will say."""

    def open_device() -> None:
        import engine
        from nss.removal import adapters

        remember_adapters()
        with suppress(NssError, engine.EngineError):
            for options in adapters.run_options(backend, device, precision):
                engine.open_ahead(backend, precision, options.device)

    # no daemon: a process that ends within a driver's call may crash there
    threading.Thread(target=open_device, name="nss-gpu").start()
