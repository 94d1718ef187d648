"""The images that a command's arguments stand for: files, directories, patterns and standard input."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nss.errors import ImageError

STANDARD = "-"
"""Standard input or output; a file of that name is ``./-``."""

EVERYWHERE = "**"
_MAGIC = re.compile(r"[*?[]")
_EARLIER = re.compile(r"(.+)\.(?:cutout|mask|preview)(?:-\d+)?", re.IGNORECASE | re.DOTALL)

Identity = tuple[object, ...]


@dataclass(frozen=True)
class Found:
    """An image, or what stands in its place because there is none.

    Attributes:
        path: the file, None for standard input; with an ``error`` what was looked for.
        below: the file's directory relative to the one that was named, ``.`` for all but what ``recursive`` finds.
        error: why it cannot be done.
    """

    path: Path | None
    below: Path = Path()
    error: ImageError | None = None


def earlier_stem(name: str) -> str | None:
    """The stem of the photo that a file is an output of, by its name; None where it is no output.

    Outputs are called ``<stem>.cutout.<extension>``, likewise ``mask`` and ``preview``, and numbered with ``-2`` and so
    on, in any format.
    """
    match = _EARLIER.fullmatch(os.path.splitext(name)[0])  # noqa: PTH122 - of a name, not of a path
    return match[1] if match else None


def expand_patterns(names: Sequence[str]) -> list[Found]:
    """Each name as it is, but for patterns (``*``, ``?``, ``[...]``, ``**``), which become what they match, sorted.

    Shells on Windows expand none, and quotes keep other shells from it. A name that exists is no pattern, whatever is
    in it. ``*`` matches no leading dot; ``**`` stands for a directory and all that are below it, as far as a search
    goes (see ``find``). A pattern takes no outputs of earlier runs, and other files than images only where it names
    their extension; a directory that it matches counts as named.
    """
    found = []
    for name in names:
        if name == STANDARD:
            found.append(Found(None))
        elif _MAGIC.search(name) and not os.path.lexists(name):
            found += _matches(name)
        else:
            found.append(Found(Path(name)))
    return found


def find(named: Sequence[Found], *, recursive: bool, leave_out: Path | None = None) -> Iterator[Found]:
    """The images in what was named, directories searched: those with a known extension, sorted by name.

    Hidden files and directories, and outputs of earlier runs, are passed over unless they are named, and so is the
    directory ``leave_out`` below a named one. With ``recursive`` sub-directories follow the files. Links to directories
    are not followed, as ``find`` and ``grep -r`` do not: what lies outside of the named directory is not meant, and
    outputs would be written there. No directory is searched twice, however it is reached.
    """
    seen: set[Identity] = set()
    passed_over = _identity(leave_out) if leave_out and os.path.isdir(leave_out) else None  # noqa: PTH112
    for item in named:
        try:
            searched = item.error is None and item.path is not None and item.path.is_dir()
        except OSError as error:
            yield _unreadable(item.path, error)
            continue
        if not searched:
            yield item
            continue
        assert item.path is not None
        yield from _search(item.path, seen, recursive, passed_over)


def _search(root: Path, seen: set[Identity], recursive: bool, passed_over: Identity | None) -> Iterator[Found]:
    silent = True
    left = [root]
    while left:
        directory = left.pop()
        try:
            identity = _identity(directory)
            if identity in seen:
                silent = False  # what there is has been found
                continue
            if identity == passed_over and directory is not root:
                continue
            seen.add(identity)
            entries = _entries(directory)
        except OSError as error:
            silent = False
            yield _unreadable(directory, error)
            continue
        below = directory.relative_to(root)
        for entry in entries:
            if is_image(entry.name) and os.path.isfile(entry):  # noqa: PTH113 - false for a link that leads nowhere
                silent = False
                yield Found(directory / entry.name, below)
        if recursive:
            left += _sub_directories(directory, entries)
    if silent:
        where = "or below it" if recursive else "(sub-directories are searched with --recursive)"
        yield Found(root, error=ImageError(f"{root}: no images in this directory {where}"))


def is_image(name: str) -> bool:
    """Whether a search takes a file of this name."""
    from nss.image_io import EXTENSIONS

    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of a name, not of a path
    return extension in EXTENSIONS and earlier_stem(name) is None


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory and not hidden, sorted by name."""
    with os.scandir(directory) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def _sub_directories(directory: Path, entries: Sequence[os.DirEntry[str]]) -> list[Path]:
    """The last one first, for a stack."""
    return [directory / e.name for e in reversed(entries) if e.is_dir(follow_symlinks=False)]


def _identity(directory: Path) -> Identity:
    status = directory.stat()
    # some file systems number no files
    return (status.st_dev, status.st_ino) if status.st_ino else (os.path.realpath(directory),)


def _unreadable(path: Path | None, error: OSError) -> Found:
    return Found(path, error=ImageError(f"{path}: cannot be read: {error.strerror}"))


def _matches(pattern: str) -> list[Found]:
    path = Path(pattern)
    any_kind = path.suffix != "" and not _MAGIC.search(path.suffix)
    matched = list(dict.fromkeys(_glob(Path(), path.parts)))
    taken = [p for p in matched if p.is_dir() or (earlier_stem(p.name) is None if any_kind else is_image(p.name))]
    if taken:
        return [Found(p) for p in taken]
    what = "no image, only earlier outputs or other files" if matched else "no file"
    return [Found(path, error=ImageError(f"{pattern}: matches {what}"))]


def _glob(base: Path, parts: Sequence[str]) -> Iterator[Path]:
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == EVERYWHERE:
        # a last ** takes the files alone, since it goes to the directories itself
        yield from _glob_below(base, rest or ["*"], files_only=not rest)
    elif not _MAGIC.search(part) or os.path.lexists(base / part):
        if os.path.lexists(base / part):
            yield from _glob(base / part, rest)
    else:
        for name in _names(base):
            # as everywhere, a leading dot must be asked for
            if fnmatch.fnmatch(name, part) and (part.startswith(".") or not name.startswith(".")):
                yield from _glob(base / name, rest)


def _glob_below(base: Path, rest: Sequence[str], *, files_only: bool) -> Iterator[Path]:
    seen: set[Identity] = set()
    left = [base]
    while left:
        directory = left.pop()
        try:
            if (identity := _identity(directory)) in seen:
                continue
            entries = _entries(directory)
        except OSError:
            continue
        seen.add(identity)
        yield from (p for p in _glob(directory, rest) if not files_only or not p.is_dir())
        left += _sub_directories(directory, entries)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError:
        return []
