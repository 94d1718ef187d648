"""The images that a command's arguments stand for: files, directories, patterns and standard input."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nss.errors import ImageError

STANDARD = "-"
"""Standard input or output; a file of that name is ``./-``."""

EVERYWHERE = "**"
_MAGIC = re.compile(r"[*?[]")
_EARLIER = re.compile(r"(.+)\.(?:cutout|mask|preview)(?:-\d+)?", re.IGNORECASE | re.DOTALL)

Identity = tuple[object, ...]


@dataclass(frozen=True)
class InputImage:
    """An image, or what stands in its place because there is none.

    Attributes:
        path: the file, None for standard input; with an ``error`` what was looked for.
        below: the file's directory relative to the one that was named, ``.`` for all but what ``recursive`` finds.
        error: why it cannot be done.
    """

    path: Path | None
    below: Path = Path()
    error: ImageError | None = None


WHY = {
    "unknown": "of no known image extension",
    "bare": "without extension",
    "content": "no image by its first bytes",
    "output": "an output of an earlier run",
    "hidden": "a hidden image",
    "irregular": "no regular file",
}
"""Why a search ignores a file."""

_MANY = {
    "content": "no images by their first bytes",
    "output": "outputs of earlier runs",
    "hidden": "hidden images",
    "irregular": "no regular files",
}


@dataclass
class IgnoredFiles:
    """The files of one directory that a search ignores.

    Attributes:
        root: the directory.
        files: by reason, a key of ``WHY``, in the order of the search.
        in_error: whether the error that nothing was found says how many they are.
    """

    root: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    in_error: bool = False

    def add(self, reason: str, path: Path) -> None:
        """One more."""
        self.files.setdefault(reason, []).append(path)

    def summary(self) -> str:
        """Part of a line: "passed over 3 files: 2 of no known image extension, 1 without extension"."""
        total = sum(map(len, self.files.values()))
        parts = []
        for reason in WHY:
            if count := len(self.files.get(reason, ())):
                what = _MANY.get(reason, WHY[reason]) if count > 1 else WHY[reason].removeprefix("a ")
                parts.append(f"{count} {what.removeprefix('an ')}")
        return f"passed over {total} file{'' if total == 1 else 's'}: {', '.join(parts)}"

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """The line on all, unless the error has it; with ``verbose`` one for each file too."""
        if not self.in_error:
            yield f"{str(self.root).rstrip(os.sep)}{os.sep}: {self.summary()}"
        if not verbose:
            return
        for reason, paths in self.files.items():
            yield from (f"{path}: passed over: {WHY[reason]}" for path in paths)


def earlier_stem(name: str) -> str | None:
    """The stem of the photo that a file is an output of, by its name; None where it is no output.

    Outputs are called ``<stem>.cutout.<extension>``, likewise ``mask`` and ``preview``, and numbered with ``-2`` and so
    on, in any format.
    """
    match = _EARLIER.fullmatch(os.path.splitext(name)[0])  # noqa: PTH122 - of a name, not of a path
    return match[1] if match else None


def expand_patterns(names: Sequence[str], *, all_files: bool = False) -> list[InputImage]:
    """Each name as it is, but for patterns (``*``, ``?``, ``[...]``, ``**``), which become what they match, sorted.

    Shells on Windows expand none, and quotes keep other shells from it. A name that exists is no pattern, whatever is
    in it. ``*`` matches no leading dot; ``**`` stands for a directory and all that are below it, as far as a search
    goes (see ``find``). A pattern takes no outputs of earlier runs, and other files than images (see ``find``) only
    where it names their extension; a directory that it matches counts as named.
    """
    images = []
    for name in names:
        if name == STANDARD:
            images.append(InputImage(None))
        elif _MAGIC.search(name) and not os.path.lexists(name):
            images += _matches(name, all_files)
        else:
            images.append(InputImage(Path(name)))
    return images


def find(
    inputs: Sequence[InputImage],
    *,
    recursive: bool,
    leave_out: Path | None = None,
    all_files: bool = False,
    notify: Callable[[IgnoredFiles], object] | None = None,
) -> Iterator[InputImage]:
    """The images among ``inputs`` and in their directories: those with a known extension, sorted by name.

    With ``all_files`` those of another extension or none are images where their first bytes are an image's. ``notify``
    receives the files that the search of a directory ignores, if there are any.

    Hidden files and directories, and outputs of earlier runs, are ignored unless they are named, and so is the
    directory ``leave_out`` below a named one. With ``recursive`` sub-directories follow the files. Links to directories
    are not followed, as ``find`` and ``grep -r`` do not: what lies outside of the named directory is not meant, and
    outputs would be written there. No directory is searched twice, however it is reached.
    """
    visited: set[Identity] = set()
    excluded = _identity(leave_out) if leave_out and os.path.isdir(leave_out) else None  # noqa: PTH112
    for item in inputs:
        try:
            is_directory = item.error is None and item.path is not None and item.path.is_dir()
        except OSError as error:
            yield _unreadable(item.path, error)
            continue
        if not is_directory:
            yield item
            continue
        assert item.path is not None
        ignored = IgnoredFiles(item.path)
        yield from _search(
            item.path, visited, recursive=recursive, leave_out=excluded, all_files=all_files, ignored=ignored
        )
        if notify and ignored.files:
            notify(ignored)


def _search(
    root: Path,
    visited: set[Identity],
    *,
    recursive: bool,
    leave_out: Identity | None,
    all_files: bool,
    ignored: IgnoredFiles,
) -> Iterator[InputImage]:
    silent = True
    pending = [root]
    while pending:
        directory = pending.pop()
        try:
            identity = _identity(directory)
            if identity in visited:
                silent = False  # its images have been found
                continue
            if identity == leave_out and directory is not root:
                continue
            visited.add(identity)
            entries = _entries(directory)
        except OSError as error:
            silent = False
            yield _unreadable(directory, error)
            continue
        below = directory.relative_to(root)
        for entry in entries:
            if (reason := _reason_to_ignore(entry, all_files)) is None:
                silent = False
                yield InputImage(directory / entry.name, below)
            elif reason:
                ignored.add(reason, directory / entry.name)
        if recursive:
            pending += _sub_directories(directory, entries)
    if silent:
        where = "or below it" if recursive else "(sub-directories are searched with --recursive)"
        ignored.in_error = bool(ignored.files)
        others = f"; {ignored.summary()}" if ignored.in_error else ""
        yield InputImage(root, error=ImageError(f"{root}: no images in this directory {where}{others}"))


def _reason_to_ignore(entry: os.DirEntry[str], all_files: bool) -> str | None:
    """Why a search ignores an entry, a key of ``WHY``, or "" where that needs no word; None where it takes it."""
    reason = reason_by_name(entry.name)
    if os.path.isdir(entry):  # noqa: PTH112
        return ""
    if entry.name.startswith("."):
        return "" if reason else "hidden"  # .DS_Store and its like are nobody's photos
    if reason in _OTHER_NAMES and all_files:
        return None if _begins_as_image(entry) else "content"
    # the last is false for a link that leads nowhere
    return reason or (None if os.path.isfile(entry) else "irregular")  # noqa: PTH113


_OTHER_NAMES = ("unknown", "bare")


def reason_by_name(name: str) -> str | None:
    """Why a file of this name is none to be searched for, a key of ``WHY``; None where it is."""
    from nss.photos.image_file import EXTENSIONS

    # the record beside an output has its name and one more extension
    if earlier_stem(name) is not None or earlier_stem(name.removesuffix(".json")) is not None:
        return "output"
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of a name, not of a path
    return None if extension in EXTENSIONS else "unknown" if extension else "bare"


def _begins_as_image(path: os.PathLike[str]) -> bool:
    """Whether it is a regular file whose first bytes are an image's; not, where it cannot be read."""
    from nss.photos.image_file import SIGNATURE, has_signature

    if not os.path.isfile(path):  # noqa: PTH113 - a pipe would lose them
        return False
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return has_signature(file.read(SIGNATURE))
    except OSError:
        return False


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory, sorted by name."""
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda e: e.name)


def _sub_directories(directory: Path, entries: Sequence[os.DirEntry[str]]) -> list[Path]:
    """The last one first, for a stack."""
    return [
        directory / e.name for e in reversed(entries) if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)
    ]


def _identity(directory: Path) -> Identity:
    status = directory.stat()
    # some file systems number no files
    return (status.st_dev, status.st_ino) if status.st_ino else (os.path.realpath(directory),)


def _unreadable(path: Path | None, error: OSError) -> InputImage:
    return InputImage(path, error=ImageError(f"{path}: cannot be read: {error.strerror}"))


def _matches(pattern: str, all_files: bool) -> list[InputImage]:
    path = Path(pattern)
    any_kind = path.suffix != "" and not _MAGIC.search(path.suffix)
    matches = list(dict.fromkeys(_glob(Path(), path.parts)))
    images = [p for p in matches if p.is_dir() or _pattern_takes(p, any_kind, all_files)]
    if images:
        return [InputImage(p) for p in images]
    what = "no image, only earlier outputs or other files" if matches else "no file"
    return [InputImage(path, error=ImageError(f"{pattern}: matches {what}"))]


def _pattern_takes(path: Path, any_kind: bool, all_files: bool) -> bool:
    """Whether a pattern takes a file that it matches; ``any_kind``: it names the extension."""
    reason = reason_by_name(path.name)
    if reason in _OTHER_NAMES:
        return any_kind or (all_files and _begins_as_image(path))
    return reason is None


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
    visited: set[Identity] = set()
    pending = [base]
    while pending:
        directory = pending.pop()
        try:
            if (identity := _identity(directory)) in visited:
                continue
            entries = _entries(directory)
        except OSError:
            continue
        visited.add(identity)
        yield from (p for p in _glob(directory, rest) if not files_only or not p.is_dir())
        pending += _sub_directories(directory, entries)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError:
        return []
