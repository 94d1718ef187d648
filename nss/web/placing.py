"""A folder put in its place: beside its name until it is whole, and over an older site without what is not that site's.

What a site does not name in its ``site.json`` is somebody else's, and stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from nss.errors import NssError, UsageError, check_kind, one_line
from nss.files.output_file import ExistsError
from nss.web import site
from nss.web.site import NoSiteError, SiteFile


def target_folder(folder: str | os.PathLike[str]) -> Path:
    """Where a site goes: the folder that links lead to. Raises UsageError where that cannot be one."""
    check_kind("folder", folder, (str, os.PathLike), "a path")
    text = os.fspath(folder)
    if not text:
        raise UsageError("the output has no name; give a folder, such as site/")
    try:
        target = Path(os.path.realpath(Path(text).expanduser()))
        parent_is_there = target.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such user, a NUL
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{text}: cannot be a folder: {reason or one_line(error)}") from error
    if not target.name:
        raise UsageError(f"{text}: is the root of the file system; give a folder in it")
    if not parent_is_there:
        raise UsageError(f"{text}: the directory {target.parent} does not exist; create it first")
    return target


def check(target: Path, *, overwrite: bool) -> dict[str, SiteFile] | None:
    """What stands at the target: the files of the site there, or None where it is free or an empty folder.

    Raises:
        ExistsError: it is no site, one that must stay, or one of whose files has changed since.
        NssError: it cannot be looked at, or nothing can be made beside it.
    """
    with _told(target):
        try:
            is_folder = stat.S_ISDIR(target.lstat().st_mode)
        except FileNotFoundError:
            if not os.access(target.parent, os.W_OK | os.X_OK):
                raise NssError(f"{target}: the directory {target.parent} is not writable") from None
            return None
        if not is_folder:
            raise ExistsError(f"{target}: is a file; give the site another name")
        if not any(target.iterdir()):
            return None
        record = target / site.NAME
        if record.is_symlink() or not record.is_file():
            raise ExistsError(f"{target}: exists, and is not a site of nss-wgpu; give the site another name")
        try:
            files = site.recorded_files(record.read_bytes())
        except NoSiteError as error:
            raise ExistsError(f"{target}: exists, and {error}; give the site another name") from error
        if not overwrite:
            raise ExistsError(f"{target}: exists already; pass 'overwrite' to replace the site")
        for path, file in files.items():
            place = target / path
            if place.is_file() and not _is_unchanged(target, file):
                raise ExistsError(
                    f"{place}: was changed since it was exported, and would be lost; put it elsewhere first"
                )
        return files


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A new folder beside the target, which goes at the end unless it has been renamed. Raises NssError."""
    folder = target.parent / f".nss-{secrets.token_hex(8)}.tmp"
    with _told(target):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def place(folder: Path, target: Path, before: dict[str, SiteFile] | None) -> None:
    """Give a whole folder its name; ``before`` are the files of the site that has it, as `check` gave them.

    The older site goes at once, and its files are then deleted; whatever else is there moves into the new one. Raises
    ExistsError where that has a file of the same name, or somebody else has taken the name, and NssError.
    """
    if before is None:
        with _told(target):
            with suppress(FileNotFoundError):
                target.rmdir()
            if os.path.lexists(target):  # a rename would replace an empty folder
                raise ExistsError(f"{target}: exists already; it was made meanwhile")
            folder.rename(target)
        return
    _refuse_collisions(folder, target, before)
    older = target.parent / f".nss-{secrets.token_hex(8)}.old"
    with _told(target):
        target.rename(older)
        try:
            folder.rename(target)
        except OSError:
            older.rename(target)
            raise
        _move_others(older, target, before)


def _refuse_collisions(folder: Path, target: Path, before: dict[str, SiteFile]) -> None:
    for path in _others(target, before, folder):
        parents = [parent.as_posix() for parent in PurePosixPath(path).parents][:-1]
        if os.path.lexists(folder / path) or any((folder / parent).is_file() for parent in parents):
            raise ExistsError(f"{target / path}: is not the site's, and the new one has a file there; put it elsewhere")


def _others(older: Path, before: dict[str, SiteFile], newer: Path) -> Iterator[str]:
    """The paths in the older folder that are not its site's; of a folder that no site has, its own alone."""
    ours = _folders(before)
    pending = [""]
    while pending:
        inside = pending.pop()
        for entry in sorted(os.scandir(older / inside), key=lambda entry: entry.name):
            path = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False) and (path in ours or (newer / path).is_dir()):
                pending.append(f"{path}/")
            elif path != site.NAME and path not in before:
                yield path


def _move_others(older: Path, newer: Path, before: dict[str, SiteFile]) -> None:
    """Move what is not the older site's into the newer one, and delete the older one, which is empty then."""
    for path in list(_others(older, before, newer)):
        (newer / path).parent.mkdir(parents=True, exist_ok=True)
        (older / path).rename(newer / path)
    for path in (*before, site.NAME):
        with suppress(FileNotFoundError):
            (older / path).unlink()
    for folder, _, _ in os.walk(older, topdown=False):
        Path(folder).rmdir()


def _folders(files: dict[str, SiteFile]) -> set[str]:
    parents = {parent.as_posix() for path in files for parent in PurePosixPath(path).parents}
    return parents - {"."}


def _is_unchanged(target: Path, file: SiteFile) -> bool:
    place = target / file.path
    if os.path.realpath(place) != str(target / PurePosixPath(file.path)):
        return False  # a link leads elsewhere
    return place.stat().st_size == file.bytes and SiteFile.of(file.path, place) == file


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """What the system refuses, as one line."""
    try:
        yield
    except OSError as error:
        raise NssError(f"{target}: cannot be written: {error.strerror or one_line(error)}") from error
