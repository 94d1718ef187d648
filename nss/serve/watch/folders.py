"""Folders that may go away for a while, as those of network shares do."""

from __future__ import annotations

import os
from pathlib import Path


class WatchedFolder:
    """A folder that is there at the start, and may be gone later.

    Where a share is not mounted, its folder is often still there, and empty: so what has become another folder, and
    lies on another file system than before, is gone too.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where it is not there."""
        self.path = path
        status = path.stat()
        self._identity = status.st_dev, status.st_ino
        self._mount = _mount_point(path)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self._identity

    def why_gone(self) -> str | None:
        """Why it cannot be used now, in a few words; None where it is there."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return "is not there"
        except OSError as error:
            return f"cannot be reached: {error.strerror or error}"
        if not os.path.isdir(self.path):  # noqa: PTH112
            return "is no folder any more"
        identity = status.st_dev, status.st_ino
        if identity != self._identity:
            mount = _mount_point(self.path)
            if mount != self._mount and Path(self._mount).is_relative_to(mount):
                return f"is not mounted any more (at {self._mount})"
            self._identity, self._mount = identity, mount  # mounted, also once more, or made anew
        return None


def _mount_point(path: Path) -> str:
    folder = os.path.realpath(path)
    while not os.path.ismount(folder) and (parent := os.path.dirname(folder)) != folder:  # noqa: PTH120
        folder = parent
    return folder
