"""What decoders written in C say on standard error, with the name of the file that they say it of.

libtiff and others write to file descriptor 2, past Python, and name no file. The descriptor belongs to the whole
process, so a library must not touch it: nothing here does before a command has called `capture`. From then on it leads
to a temporary file for as long as any thread is within `reading`, and otherwise where it always did; Python's own
standard error goes by another descriptor (`nss.terminal.standard_streams`). Where several files are being read, no one
can know which of them is meant, and all of them are named; so these are no notes of a photo, which are the same
whatever else is at work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nss.errors import one_line

Tell = Callable[[str, str], object]
"""Receives the name of a file, and a note on it, at once and from any thread."""

_SHOWN = 3
"""How many of the other files are named."""


@contextmanager
def capture(tell: Tell) -> Iterator[None]:
    """Within the block each file's messages go to ``tell`` when it has been read, and so do notes told before.

    For a command, whose Python does not write to descriptor 2. Blocks may lie within each other.
    """
    global _capture, _tell
    before = _capture, _tell
    _capture, _tell = _capture or _Capture(), tell
    try:
        yield
    finally:
        if before[0] is None:
            _capture.close()
        _capture, _tell = before


def tell(name: str, note: str) -> None:
    """Pass a note to the command at once, where there is one."""
    if _tell is not None:
        _tell(name, note)


@contextmanager
def reading(name: str) -> Iterator[Callable[[], list[str]]]:
    """For the block in which a file is decoded: what gives the messages that have come since it was last asked."""
    current = _capture
    if current is None:
        yield list
        return
    with current.reading(name) as messages:
        yield messages


class _Capture:
    """File descriptor 2 to a temporary file, for as long as any file is being read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._standard_error = -1
        self._file: tuple[int, int, Path] | None = None
        """Descriptors to write to its end and to read by, and its path."""
        # who looks for a fault wants all that is said, also by a process that aborts
        self._failed = bool(os.environ.get("NSS_DEBUG"))
        self._told = 0
        self._reading: list[str] = []
        self._suspects: dict[str, None] = {}

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.dup2(self._standard_error, 2)
                for descriptor in (self._standard_error, *self._file[:2]):
                    os.close(descriptor)
                with suppress(OSError):  # it went when it was made, where the system lets open files go
                    self._file[2].unlink()
            self._file, self._failed = None, True

    @contextmanager
    def reading(self, name: str) -> Iterator[Callable[[], list[str]]]:
        with self._lock:
            self._begin(name)
        try:
            yield lambda: self._messages(name)
        finally:
            with self._lock:
                self._reading.remove(name)
                if not self._reading and self._file is not None:
                    os.dup2(self._standard_error, 2)

    def _begin(self, name: str) -> None:
        if self._file is None and not self._failed:
            self._open()
        if not self._reading and self._file is not None:
            os.ftruncate(self._file[0], 0)
            self._told = 0
            self._suspects.clear()
            os.dup2(self._file[0], 2)
        self._reading.append(name)
        self._suspects[name] = None

    def _open(self) -> None:
        import tempfile  # which would be a tenth of what `--help` takes

        try:
            self._standard_error = os.dup(2)
            reader, name = tempfile.mkstemp(prefix="nss-wgpu-")
            self._file = os.open(name, os.O_WRONLY | os.O_APPEND), reader, Path(name)
            with suppress(OSError):
                self._file[2].unlink()
        except OSError:  # no standard error, or no place for a file: messages go where they would
            self._failed = True

    def _messages(self, name: str) -> list[str]:
        with self._lock:
            if self._file is None:
                return []
            os.lseek(self._file[1], self._told, os.SEEK_SET)
            text = os.read(self._file[1], 1 << 20).decode(errors="replace")
            self._told = os.lseek(self._file[1], 0, os.SEEK_END)
            others = [other for other in self._suspects if other != name]
            self._suspects = dict.fromkeys(self._reading)
        lines = list(dict.fromkeys(filter(None, map(one_line, text.splitlines()))))
        if not lines:
            return []
        more = f" (and {len(lines) - 1} more line{'s' if len(lines) > 2 else ''})" if len(lines) > 1 else ""
        shown = others[:_SHOWN] + ([f"{len(others) - _SHOWN} more"] if len(others) > _SHOWN else [])
        whose = f"the decoder of this file or of {', '.join(shown)}" if others else "the decoder"
        return [f"{whose} says: {lines[0]}{more}"]


_capture: _Capture | None = None
_tell: Tell | None = None
