"""One look into a watched folder: which photos there are, and whether they have changed. Thousands, every second."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nss.batch.inputs import reason_by_name

State = tuple[int, int]
"""Size in bytes and time of modification in nanoseconds, by which it is known whether a photo has changed."""

Identity = tuple[int, int]
"""Device and inode."""


@dataclass
class Scan:
    """What there was.

    Attributes:
        photos: the state of each, by its path in the folder, with ``/``.
        unreadable: sub-directories and files that could not be looked at, and the line on each.
    """

    photos: dict[str, State] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def gone(self, known: Iterable[str]) -> set[str]:
        """Those of the known photos that are there no longer.

        None, where there is no photo at all: an empty folder may be that of a share which is not mounted. Nor what lies
        where nobody could look.
        """
        if not self.photos:
            return set()
        return {photo for photo in set(known) - self.photos.keys() if not self._is_hidden(photo)}

    def _is_hidden(self, photo: str) -> bool:
        return any(photo == path or photo.startswith(f"{path}/") for path in self.unreadable)


def scan(root: Path, *, recursive: bool, leave_out: Identity | None = None, known: Container[str] = ()) -> Scan:
    """The photos in a folder, as a search of the batch finds them (`nss.batch.inputs.find`).

    That is by their extensions, and without what is hidden, earlier outputs, and directories behind links. A file takes
    one question to the file system, and no look inside.

    Args:
        root: the folder.
        recursive: its sub-directories too.
        leave_out: a sub-directory that is passed over.
        known: photos whose names have been looked at before.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found = Scan()
    pending = [""]
    while pending:
        below = pending.pop()
        folder = os.path.join(root, below)  # noqa: PTH118 - thousands of paths
        try:
            status = os.stat(folder)  # noqa: PTH116
            if below and (status.st_dev, status.st_ino) == leave_out:
                continue
            with os.scandir(folder) as entries:
                pending += _look(entries, f"{below}/" if below else "", found, recursive=recursive, known=known)
        except OSError as error:
            if not below:
                raise
            if not isinstance(error, FileNotFoundError):
                found.unreadable[below] = f"{folder}: cannot be read: {error.strerror or error}"
    return found


def _look(
    entries: Iterable[os.DirEntry[str]], prefix: str, found: Scan, *, recursive: bool, known: Container[str]
) -> list[str]:
    """Add the photos of a directory; returns its sub-directories."""
    folders = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = prefix + entry.name
        try:
            if path not in known and reason_by_name(entry.name) is not None:
                if recursive and entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                continue
            status = entry.stat()
            if stat.S_ISREG(status.st_mode):
                found.photos[path] = status.st_size, status.st_mtime_ns
            elif recursive and entry.is_dir(follow_symlinks=False):
                folders.append(path)
        except FileNotFoundError:  # gone meanwhile, or a link that leads nowhere
            continue
        except OSError as error:
            found.unreadable[path] = f"{entry.path}: cannot be read: {error.strerror or error}"
    return folders


def state_of(path: Path) -> State | None:
    """The state of a photo now, None where there is none. Raises OSError where no one knows."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def opens(path: Path, state: State) -> bool:
    """Whether a photo can be opened and read, and is then what the scan has seen.

    A network share may say what it remembers of a file until that is opened, and Windows lets no one open what is
    still being written.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if (status.st_size, status.st_mtime_ns) != state or not stat.S_ISREG(status.st_mode):
                return False
            os.read(descriptor, 1)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
