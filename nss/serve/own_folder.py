"""A temporary folder of a process's own, which the next one removes where this one was killed.

Without locks of files (Windows) nobody can tell a folder that was left from one in use, and what was left stays.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = "nss-serve-"
LOCK = "owner"
"""The file that is locked as long as the folder's process lives; its number stands in it."""


class OwnFolder:
    """A new folder under the system's for temporary files.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        """Raises OSError where none can be made."""
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._descriptor = -1
        if fcntl is None:
            return
        # locked before it has its name: whoever sees the lock's file sees that it is locked
        unnamed = self.path / f"{LOCK}.new"
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(self.path / LOCK)

    def remove(self) -> None:
        """Remove it with all that is in it, as far as the system lets it go. Again does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def remove_leftovers() -> int:
    """Remove the folders of processes that have ended without doing so; returns how many there were."""
    if fcntl is None:
        return 0
    count = 0
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in list(entries):
            if entry.name.startswith(PREFIX) and _is_left(entry):
                shutil.rmtree(entry.path, ignore_errors=True)
                count += 1
    return count


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of this user's whose process has ended."""
    try:
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        descriptor = os.open(Path(entry.path, LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
