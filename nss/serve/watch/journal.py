"""What is known of a watched folder's photos, in a file beside the folder of their cut-outs.

Lines of JSON, one for each thing that happened, the last one of a photo being what holds. People may read it, to see
what failed and why. To have a photo done again, save it again or touch it; or remove its line while no server runs.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, get_args

from nss.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".nss-watch.jsonl"

Event = Literal["begun", "writing", "crashed", "failed", "done", "withdrawn"]
"""Of a photo: its work has begun; a whole file is about to get a name; it was in work when the server ended by itself;
it cannot be done; its cut-out is written; nothing is known of it any more."""

SPARE = 1000
"""So many lines that hold no longer are left before the file is written anew."""

_LONGEST = 1 << 16
"""Bytes of a line: a path and a sentence have less, and garbage may have no end."""

_ALWAYS = ("size", "mtime_ns")

_NO_TEXT = sys.getfilesystemencodeerrors()
"""How a name that is no text is kept, byte for byte."""

_TRIES = 100

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@dataclass(frozen=True, slots=True)
class Entry:
    """What holds of a photo.

    Attributes:
        photo: its path in the watched folder, with ``/``.
        size: in bytes, when it was begun.
        mtime_ns: its time of modification then, in nanoseconds.
        event: what happened.
        kind: how names of outputs end, for instance ``.cutout.png``: with other settings it is to be done once more.
        output: the path of the cut-out in its folder, with ``/``; also of the one that is about to get this name.
        why: the sentence on a failure.
        crashes: how often it was in work when the server ended by itself.
        file: device and inode of what is about to get its name.
    """

    photo: str
    size: int
    mtime_ns: int
    event: Event
    kind: str = ""
    output: str = ""
    why: str = ""
    crashes: int = 0
    file: tuple[int, int] | None = None

    @property
    def state(self) -> tuple[int, int]:
        """Size and time of modification, by which it is known whether the photo has changed."""
        return self.size, self.mtime_ns

    def line(self) -> bytes:
        """The entry as it stands in the file."""
        values = {key: value for key, value in asdict(self).items() if value or key in _ALWAYS}
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        return json.dumps({"time": time, **values}, ensure_ascii=False).encode("utf-8", _NO_TEXT) + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Entry | None:
        """The entry in a line of the file; None where there is none."""
        try:
            record = json.loads(line.decode("utf-8", _NO_TEXT))
            values = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
            if (file := values.get("file")) is not None:
                device, inode = file
                values["file"] = (_number(device), _number(inode))
            entry = cls(**values)
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (entry.photo, entry.kind, entry.output, entry.why)
        numbers = (entry.size, entry.mtime_ns, entry.crashes)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            return None
        return entry if entry.event in get_args(Event) else None


def journal_path(outbox: Path) -> Path:
    """Where the journal of a folder of cut-outs lies: beside it, or within where nothing may be written beside it."""
    folder = Path(os.path.realpath(outbox))
    beside = folder.parent / (folder.name + SUFFIX)
    return beside if os.access(folder.parent, os.W_OK | os.X_OK) else folder / SUFFIX


def check_free(path: Path, outbox: Path) -> None:
    """Raise UsageError where another server holds the journal."""
    if path.exists():
        _locked(path, outbox).close()


class Journal:
    """The file and what holds by it, for any thread. It is this process's alone as long as it is open.

    Attributes:
        path: of the file.
        entries: what holds, by photo.
        unreadable: how many whole lines said nothing.
    """

    def __init__(self, path: Path, outbox: Path) -> None:
        """Open it, or begin one. ``outbox``: to name it in an error.

        Raises:
            UsageError: another server has it open, or it cannot be read and written.
        """
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.unreadable = 0
        self._lock = threading.Lock()
        self._lines = 0
        self._is_behind = False
        self._file: IO[bytes] | None = _locked(path, outbox)
        self._read(self._file)

    def write(self, entry: Entry, *, lasting: bool = False) -> None:
        """What holds from now on; ``lasting``: also where the machine ends.

        What the file does not take, for a full disk or a share that is gone, `mend` writes later.
        """
        with self._lock:
            if entry.event == "withdrawn":
                self.entries.pop(entry.photo, None)
            else:
                self.entries[entry.photo] = entry
            if self._file is None or self._is_behind:
                return
            try:
                self._file.write(entry.line())
                self._file.flush()
                if lasting:
                    os.fsync(self._file.fileno())
                self._lines += 1
            except OSError:
                self._is_behind = True

    def all(self) -> list[Entry]:
        """What holds of each photo."""
        with self._lock:
            return list(self.entries.values())

    def forget(self, photos: Iterable[str]) -> None:
        """Nothing holds of these any longer, from the next time on that the file is written anew."""
        with self._lock:
            for photo in photos:
                self.entries.pop(photo, None)

    def mend(self) -> str | None:
        """Write the file anew where it lacks something, is gone, or is mostly of the past; why that fails, or None."""
        with self._lock:
            if self._file is None:
                return None
            if not (self._is_behind or self._lines > 2 * len(self.entries) + SPARE or self._is_gone()):
                return None
            return self._write_anew()

    def compact(self) -> str | None:
        """Write the file anew, with what holds and nothing else; why that fails, or None."""
        with self._lock:
            return None if self._file is None else self._write_anew()

    def close(self) -> None:
        """Give the file back; nothing is written from now on."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
                self._file = None

    def _read(self, file: IO[bytes]) -> None:
        file.seek(0)
        while line := file.readline(_LONGEST):
            self._lines += 1
            entry = Entry.read(line)
            if entry is None:
                # the last one may be half a line of a process that was killed
                self.unreadable += bool(line.strip(b"\0 \r\n")) and line.endswith(b"\n")
            elif entry.event == "withdrawn":
                self.entries.pop(entry.photo, None)
            else:
                self.entries[entry.photo] = entry

    def _is_gone(self) -> bool:
        assert self._file is not None
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _write_anew(self) -> str | None:
        """Beside it, and then in its place: there is no moment without a whole file, nor without its lock."""
        assert self._file is not None
        temporary = self.path.with_name(self.path.name + ".tmp")  # of one name: what a kill leaves is written over
        try:
            file = temporary.open("w+b")
            try:
                _lock(file)
                file.writelines(entry.line() for entry in self.entries.values())
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:  # Windows renames over no open file, and none that is open
                    file.close()
                    self._file.close()
                temporary.replace(self.path)
            except BaseException:
                file.close()
                with suppress(OSError):
                    temporary.unlink()
                raise
            with suppress(OSError):
                self._file.close()
            self._file = file if fcntl is not None else self.path.open("ab")
        except OSError as error:
            self._is_behind = True
            return f"{self.path}: cannot be written: {error.strerror or error}"
        self._lines, self._is_behind = len(self.entries), False
        return None


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _locked(path: Path, outbox: Path) -> IO[bytes]:
    """The file, open for reading and appending, and locked."""
    for _ in range(_TRIES):
        try:
            file = path.open("a+b")
        except OSError as error:
            raise UsageError(
                f"{path}: what is known of {outbox} goes there, and it cannot be written: {error.strerror or error}"
            ) from error
        try:
            is_free = _lock(file)
            is_current = os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except OSError:  # its owner has just written it anew
            file.close()
            continue
        if not is_free:
            file.close()
            raise UsageError(
                f"{outbox}: another server puts cut-outs there, and holds {path}; stop that one, or name another folder"
            )
        if is_current:
            return file
        file.close()
    raise UsageError(f"{path}: goes away whenever it is opened; what is known of {outbox} is to stay there")


def _lock(file: IO[bytes]) -> bool:
    """Whether no other process has it; true where the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN
    return True
