"""The messages of codecs written in C on standard error, each with the name of its file.

libtiff and others write to file descriptor 2, past Python, and name no file. The descriptor belongs to the whole
process, so a library must not touch it: nothing here does before a command has called `capture`. From then on it leads
to a temporary file for as long as any thread is within `messages_of`, and otherwise where it always did; Python's own
standard error goes by another descriptor (`nss.cli.terminal.standard_streams`). Where several such files are at work,
a message may be of any of them, and all are named. So messages are no notes of a photo, which are the same whatever
else is at work.
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

_SILENT = frozenset({"BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "WEBP"})
"""Formats by Pillow's names that it codes itself, or by libraries that it keeps silent."""

_MOST_NAMES = 3
"""How many of the other files are named."""


@contextmanager
def capture(tell: Tell) -> Iterator[None]:
    """Within the block each file's messages go to ``tell`` when it has been read, and so do the notes of `tell`.

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
def report_messages(name: str, format_: str) -> Iterator[None]:
    """For the block in which a file is encoded: pass its messages to `tell`, unless an error says more."""
    with messages_of(name, format_) as messages:
        yield
        for message in messages():
            tell(name, message)


@contextmanager
def messages_of(name: str, format_: str) -> Iterator[Callable[[], list[str]]]:
    """For the block in which a file is decoded or encoded: a function that returns the messages since its last call.

    ``format_`` is Pillow's name of its format.
    """
    current = _capture
    if current is None or format_ in _SILENT:
        yield list
        return
    with current.messages_of(name) as messages:
        yield messages


class _Capture:
    """File descriptor 2 to a temporary file, for as long as any file is being read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._standard_error = -1
        self._file: tuple[int, int, Path] | None = None
        """Descriptors to write to its end and to read by, and its path."""
        # for whoever looks for a fault nothing is held back, in case the process aborts
        self._failed = bool(os.environ.get("NSS_DEBUG"))
        self._offset = 0
        self._at_work: list[str] = []
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
    def messages_of(self, name: str) -> Iterator[Callable[[], list[str]]]:
        with self._lock:
            self._begin(name)
        try:
            yield lambda: self._messages(name)
        finally:
            with self._lock:
                self._at_work.remove(name)
                if not self._at_work and self._file is not None:
                    os.dup2(self._standard_error, 2)

    def _begin(self, name: str) -> None:
        if self._file is None and not self._failed:
            self._open()
        if not self._at_work and self._file is not None:
            os.ftruncate(self._file[0], 0)
            self._offset = 0
            self._suspects.clear()
            os.dup2(self._file[0], 2)
        self._at_work.append(name)
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
            # measured before the read: what another thread's codec writes after it belongs to the next call
            start, self._offset = self._offset, os.fstat(self._file[1]).st_size
            os.lseek(self._file[1], start, os.SEEK_SET)
            text = os.read(self._file[1], min(self._offset - start, 1 << 20)).decode(errors="replace")
            others = [other for other in self._suspects if other != name]
            self._suspects = dict.fromkeys(self._at_work)
        lines = list(dict.fromkeys(filter(None, map(one_line, text.splitlines()))))
        if not lines:
            return []
        more = f" (and {len(lines) - 1} more line{'s' if len(lines) > 2 else ''})" if len(lines) > 1 else ""
        names = others[:_MOST_NAMES] + ([f"{len(others) - _MOST_NAMES} more"] if len(others) > _MOST_NAMES else [])
        whose = f"the codec of this file or of {', '.join(names)}" if others else "the codec"
        return [f"{whose} says: {lines[0]}{more}"]


_capture: _Capture | None = None
_tell: Tell | None = None
