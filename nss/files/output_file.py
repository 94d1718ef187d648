"""Where a file goes: beside its name until it is whole, and straight into what is no regular file.

One rule for everything that a command writes. A regular file appears under its name at once and whole, or not at all. A
symbolic link is kept, and the file that it leads to is replaced. A device, a fifo or an open descriptor is written to,
and never replaced. No file that the command reads is ever written, by whatever path it is reached.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

from nss.errors import ImageError, UsageError, one_line

Fill: TypeAlias = Callable[[IO[bytes]], None]
Announce: TypeAlias = Callable[[Path, tuple[int, int]], object]
"""Takes a name, and device and inode of the file that is about to get it if it is free."""

_LINKS = 40
"""So many links one behind the other Linux follows, too."""

_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
"""Where the open descriptors of a process have names."""


_mark = ""
_unfinished: dict[str, _Directory] = {}
"""The temporary files of this process that have not got their names, and where each is."""
_is_abandoned = False
_announce: Announce | None = None


class ExistsError(ImageError):
    """The name of an output has a file already, and that must stay."""


class InputFiles:
    """The files that a command reads, known again by whatever path: another spelling, a link, a hard link."""

    def __init__(self, files: Iterable[str | os.PathLike[str] | int] = ()) -> None:
        """``files``: paths, or open descriptors. What is missing or no regular file is passed over."""
        self._identities: set[tuple[int, int | str]] = set()
        self.add(*files)

    def add(self, *files: str | os.PathLike[str] | int) -> None:
        """Further files, as the constructor takes them."""
        self._identities |= {identity for file in files if (identity := _identity(file)) is not None}

    def __contains__(self, file: Path | int) -> bool:
        """Whether a path, or an open descriptor, leads to one of the files."""
        return bool(self._identities) and _identity(file) in self._identities


def check(target: Path, *, inputs: InputFiles | None = None, may_exist: bool = False) -> None:
    """Refuse a target that ``place`` would refuse, before any work is done for it.

    Args:
        target: the output.
        inputs: the files that the command reads.
        may_exist: the name may be taken by a regular file, or a link to one.

    Raises:
        UsageError: the target is one of the inputs.
        ExistsError: the name is taken.
        ImageError: it is that of a directory or a socket; the directory is missing or not writable.
    """
    if inputs is not None and target in inputs:
        raise UsageError(f"{target}: is the input itself, which is never overwritten; give the output another name")
    try:
        if is_special(target):
            if stat.S_ISSOCK(_mode(target)):
                raise ImageError(f"{target}: is a socket, which takes no file; give the output another name")
            return
        is_directory = stat.S_ISDIR(_mode(target))
        file = _link_target(target)
        has_parent = file.parent.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL byte; links in a circle
        raise _unwritable(target, error) from error
    if is_directory:
        raise ImageError(f"{target}: is a directory; give the output another name")
    if not has_parent:
        raise ImageError(f"{target}: the directory {file.parent} does not exist; create it first")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ImageError(f"{target}: the directory {file.parent} is not writable")
    if not may_exist and os.path.lexists(target):
        raise _exists(target)


def place(
    fill: Fill,
    target: Path,
    *,
    inputs: InputFiles | None = None,
    overwrite: bool = False,
    alternatives: Iterable[Path] | None = None,
) -> Path:
    """Write a file under a name, or through what is no regular file; returns the path that it has taken.

    A temporary file in the target's directory takes its permissions from the umask, is filled, and then gets its name:
    with ``overwrite`` in the place of what had it, otherwise only if no one has it at that moment, so that of two
    processes one gets it. Nothing is left behind by an error or an interruption, even if the directory has got another
    name meanwhile, which is an error. What is written through is filled in memory first.

    Args:
        fill: writes and verifies; called once.
        target: the output.
        inputs: the files that the command reads, none of which is overwritten.
        overwrite: replace a regular file that exists. A link is kept, and what it leads to is replaced.
        alternatives: names in the same directory to take one after the other where the target's is taken.

    Raises:
        UsageError, ExistsError, ImageError: as ``check``; ImageError also where the file cannot be written.
    """
    check(target, inputs=inputs, may_exist=overwrite or alternatives is not None)
    if is_special(target):
        content = io.BytesIO()
        fill(content)
        write_through(content.getvalue(), target)
        return target
    file = _link_target(target) if overwrite else target
    # independent of the target's name, which may be as long as the file system allows
    temporary = f".nss-{_mark}{secrets.token_hex(8)}.tmp"
    try:
        with _Directory(file.parent) as directory:
            try:
                with _create(directory, temporary) as sink:
                    fill(sink)
                    status = os.fstat(sink.fileno())
                if directory.is_gone():
                    raise ImageError(f"{target}: the directory {file.parent} was moved or removed meanwhile")
                if not overwrite:
                    return _take_first_free(directory, temporary, chain([target], alternatives or ()), status)
                if is_special(file):  # since it was looked at
                    raise ImageError(f"{target}: is no regular file any more; it was not replaced")
                directory.replace(temporary, file.name)
                return target
            finally:
                directory.remove(temporary)
                _unfinished.pop(temporary, None)
    except OSError as error:
        raise _unwritable(target, error) from error


def mark_temporaries(mark: str, announce: Announce) -> None:
    """Let another process clear up after this one, if it is killed, by `clear_up`.

    The names of temporary files begin with ``mark``, and ``announce`` is called before a file gets a name that is free.
    """
    global _mark, _announce
    _mark, _announce = mark, announce


def clear_up(target: Path, mark: str, announced: Iterable[tuple[Path, tuple[int, int]]]) -> None:
    """Remove what a process that was killed while it wrote ``target`` has left: half a file, or a whole one of which
    nobody has heard, and which would be taken for somebody else's when it is made again.
    """
    for path, identity in announced:  # first, as long as no other file can have got the number
        with suppress(OSError, ValueError):
            status = path.lstat()
            if (status.st_dev, status.st_ino) == identity:
                path.unlink()
    with suppress(OSError, ValueError):
        for folder in {target.parent, _link_target(target).parent}:
            with os.scandir(folder) as entries:
                names = [entry.path for entry in entries if entry.name.startswith(f".nss-{mark}")]
            for name in names:
                with suppress(OSError):
                    os.unlink(name)  # noqa: PTH108


def abandon() -> None:
    """Remove the temporary files that other threads are in the middle of: for a process that is about to end at once.

    No further one is made.
    """
    global _is_abandoned
    _is_abandoned = True
    for pause_s in (0.01, 0):  # for one that was just being made; a lock could be held for as long as a disk hangs
        for name, directory in list(_unfinished.items()):
            directory.remove(name)
        if not _unfinished:
            return
        time.sleep(pause_s)


def is_special(target: Path) -> bool:
    """Whether a path leads to what is neither a regular file nor a directory: it is written through, never replaced."""
    try:
        mode = _mode(target)
        return descriptor_of(target) is not None or not (mode == 0 or stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    except (OSError, ValueError):
        return False


def descriptor_of(path: Path) -> int | None:
    """The open descriptor of this process that a path names, as /dev/stdout, /dev/fd/3 and links to them do."""
    for _ in range(_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in map(os.path.realpath, _DESCRIPTORS):
            return int(path.name)
        if not os.path.islink(path):  # noqa: PTH114 - unlike Path.is_symlink false, not an error, for impossible names
            return None
        path = path.parent / path.readlink()
    return None


def write_through(data: bytes, target: Path, *, opening: AbstractContextManager[object] | None = None) -> None:
    """Write all of ``data`` into a device, a fifo or an open descriptor.

    To open a fifo waits for its reader, as in any program.

    Args:
        data: what to write.
        target: of which ``is_special`` holds.
        opening: entered for as long as it is being opened.

    Raises:
        ImageError: it cannot be written, or has become a regular file meanwhile.
    """
    try:
        with opening or nullcontext():
            descriptor = _open(target)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if stat.S_ISBLK(os.fstat(descriptor).st_mode):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unwritable(target, error) from error


def sync(file: IO[bytes]) -> None:
    """Flush what was written to the disk, where the file is on one."""
    file.flush()
    if not isinstance(file, io.BytesIO):
        os.fsync(file.fileno())


class _Directory:
    """A directory that stays the one that was opened, where the system has descriptors of directories."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> _Directory:
        if {os.open, os.link, os.rename, os.unlink} <= os.supports_dir_fd:
            # O_PATH takes no permission to list it
            flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags)
        self._status = self._path.stat() if self._descriptor is None else os.fstat(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def create(self, name: str) -> IO[bytes]:
        """A new file, open for writing and reading; FileExistsError where there is one."""

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o666, dir_fd=self._descriptor)

        return open(self._at(name), "x+b", opener=opener)

    def take(self, name: str, free: str) -> None:
        """Give a file the name ``free``, if no one has it; FileExistsError otherwise."""
        try:
            os.link(self._at(name), self._at(free), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileExistsError:
            raise
        except OSError:  # FAT and some network file systems have no hard links: take the name first, then replace it
            self.create(free).close()
            try:
                self.replace(name, free)
            except BaseException:
                self.remove(free)
                raise

    def replace(self, name: str, other: str) -> None:
        """Give a file the name of another one, which goes."""
        os.replace(self._at(name), self._at(other), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(OSError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def is_gone(self) -> bool:
        """Whether its path leads to another directory by now, or to none."""
        try:
            return not os.path.samestat(self._path.stat(), self._status)
        except OSError:
            return True

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else os.path.join(self._path, name)  # noqa: PTH118


def _create(directory: _Directory, temporary: str) -> IO[bytes]:
    _unfinished[temporary] = directory
    file = directory.create(temporary)
    if _is_abandoned:
        file.close()
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    return file


def _take_first_free(directory: _Directory, temporary: str, names: Iterable[Path], status: os.stat_result) -> Path:
    first = None
    for path in names:
        first = first or path
        if _announce is not None:
            _announce(path, (status.st_dev, status.st_ino))
        try:
            directory.take(temporary, path.name)
        except FileExistsError:
            continue
        return path
    assert first is not None
    raise _exists(first)


def _open(target: Path) -> int:
    """A descriptor to write to what is no regular file."""
    if (number := descriptor_of(target)) is not None:
        return os.dup(number)  # to open it anew would begin at the front of a file, and fails for a socket
    # neither O_CREAT nor O_TRUNC: by now it may be a file
    flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(target, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _exists(target)
    return descriptor


def _mode(path: Path) -> int:
    """The mode of what a path leads to, 0 where there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _link_target(path: Path) -> Path:
    """What a link leads to, there or not; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _identity(file: str | os.PathLike[str] | int) -> tuple[int, int | str] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - a path or a descriptor
    except (OSError, ValueError):  # it does not exist, or cannot
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    # some file systems number no files
    return status.st_dev, status.st_ino or (str(file) if isinstance(file, int) else os.path.realpath(file))


def _exists(target: Path) -> ExistsError:
    return ExistsError(f"{target}: exists already; pass 'overwrite' to replace it")


def _unwritable(target: Path, error: OSError | ValueError) -> ImageError:
    if isinstance(error, OSError):  # libtiff and libjpeg keep the system's reason to themselves
        reason = error.strerror or f"{one_line(error)}; is the disk full?"
    else:
        reason = one_line(error)
    return ImageError(f"{target}: cannot be written: {reason}")
