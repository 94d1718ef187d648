"""Folders that appear whole or not at all, and what processes that were killed have left of them."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")

_OLD = 24 * 3600.0
"""Seconds after which nobody is writing any more, where the system cannot say so."""


def remove_folder(folder: Path) -> None:
    """Delete a folder and what is in it, as far as the system lets it."""
    import shutil  # with its compressors it takes longer to import than a small model to map

    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_folder(parent: Path, mode: int) -> Iterator[Path]:
    """A new folder in ``parent``, which goes at the end unless it has been renamed. Raises OSError."""
    folder, descriptor = _create(parent, mode)
    try:
        yield folder
    finally:
        remove_folder(folder)
        if descriptor is not None:
            os.close(descriptor)


def _create(parent: Path, mode: int) -> tuple[Path, int | None]:
    """The folder, and what keeps it locked, where the system locks folders."""
    while True:
        folder = parent / f".{os.urandom(8).hex()}.tmp"
        folder.mkdir(mode)
        try:
            descriptor = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for a leftover
        except BaseException:
            remove_folder(folder)
            raise
        if descriptor is None or folder.exists():
            return folder, descriptor
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock, None where there are no such locks.

    Raises BlockingIOError where another one holds it, and OSError.
    """
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders in ``parent`` of processes that have ended, or that are a day old."""
    with suppress(OSError), os.scandir(parent) as entries:
        folders = [parent / entry.name for entry in entries if _TEMPORARY.fullmatch(entry.name)]
        for folder in folders:
            with suppress(OSError):
                descriptor = _lock(folder)
                try:
                    if descriptor is not None or time.time() - folder.stat().st_mtime > _OLD:
                        remove_folder(folder)
                finally:
                    if descriptor is not None:
                        os.close(descriptor)


def rename_folder(folder: Path, target: Path) -> None:
    """Give a folder its name. Raises FileExistsError where it is taken, and OSError."""
    if os.path.lexists(target):  # a rename would replace an empty folder
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise
