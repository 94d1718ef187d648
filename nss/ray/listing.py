"""The photos that a run's arguments stand for, and their outputs' names: a batch's rules, in any storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from nss.batch import output_names
from nss.batch.inputs import STANDARD, IgnoredFiles, InputImage, expand_patterns, find, reason_by_name
from nss.batch.path_keys import PathKeys
from nss.batch.planning import SUFFIX
from nss.errors import ImageError, NssError, UsageError
from nss.ray import storage

HERE = PurePosixPath()


@dataclass(frozen=True)
class Pair:
    """A photo and what becomes of it.

    Attributes:
        input: its address.
        output: the output's name below the target, with slashes.
        error: why it is already known to fail.
    """

    input: str
    output: str
    error: NssError | None = None


@dataclass(frozen=True)
class _Found:
    """A photo: its address, file name, and folder below the one that was searched."""

    address: str
    name: str
    below: PurePosixPath = HERE
    error: NssError | None = None


def list_inputs(
    inputs: Sequence[str],
    target: str,
    *,
    recursive: bool = False,
    suffix: str = SUFFIX,
    notify: Callable[[str], object] | None = None,
) -> list[Pair]:
    """Pair every photo with its output below a folder, as `nss.batch.planning.plan` does; in the order of the search.

    Paths are searched as a batch does, patterns among them. An address of a store is a photo where its name ends like
    one, else it stands for the photos below it. One of HTTP is a photo. What is named twice is done once.

    Args:
        inputs: paths, patterns, addresses.
        target: the folder of the outputs, in which a searched tree is kept. What is below it is no input.
        recursive: search sub-folders too.
        suffix: what follows the stem.
        notify: receives a line on the files that a search ignores, and one where photos keep their extension.

    Raises:
        UsageError: there is nothing to be done, or an input is standard input or of no known storage; nothing can be
            written to the target; two photos would get one output.
        ImageError: a store cannot be listed.
    """
    storage.check_target(target)
    if not inputs or "" in inputs or STANDARD in inputs:
        raise UsageError("a cluster reads files: give paths, folders or addresses, and neither - nor an empty name")
    say = notify or (lambda _: None)
    keys = PathKeys()
    photos: dict[str, _Found] = {}
    for name in inputs:
        for photo in (
            _stored(name, target, recursive) if storage.scheme_of(name) else _local(name, target, recursive, say)
        ):
            is_local = not storage.scheme_of(photo.address)
            photos.setdefault(keys.of(storage.local_path(photo.address)) if is_local else photo.address, photo)
    return _paired(photos, target, suffix, keys, say)


def _local(name: str, target: str, recursive: bool, say: Callable[[str], object]) -> Iterator[_Found]:
    leave_out = None if storage.scheme_of(target) else storage.local_path(target)

    def ignored(files: IgnoredFiles) -> None:
        for line in files.lines(verbose=False):
            say(line)

    images = expand_patterns([str(storage.local_path(name))])
    for image in find(images, recursive=recursive, leave_out=leave_out, notify=ignored):
        yield _of_image(image)


def _of_image(image: InputImage) -> _Found:
    assert image.path is not None
    error: NssError | None = image.error
    if error is None and not os.path.lexists(image.path):
        error = ImageError(f"{image.path}: no such file")
    below = PurePosixPath(image.below.as_posix())
    return _Found(storage.absolute(str(image.path)), image.path.name, below, error)


def _stored(address: str, target: str, recursive: bool) -> Iterator[_Found]:
    name = _file_name(address)
    if storage.scheme_of(address) in storage.READ_ONLY or _is_photo(name):
        yield _Found(address, name)
        return
    names = storage.names_below(address, recursive=recursive)
    outputs = _below(target, address)
    found = False
    for path in sorted(map(PurePosixPath, names), key=lambda path: (path.parent.parts, path.name)):
        hidden = any(part.startswith(".") for part in path.parts)
        if hidden or not _is_photo(path.name) or (outputs is not None and path.is_relative_to(outputs)):
            continue
        found = True
        yield _Found(storage.join(address, path.as_posix()), path.name, path.parent)
    if found:
        return
    if not names and storage.is_file(address):  # of another extension, and named
        yield _Found(address, name)
        return
    where = "or below it" if recursive else "(sub-folders are searched with --recursive)"
    yield _Found(address, name, error=ImageError(f"{address}: no images in this folder {where}"))


def _is_photo(name: str) -> bool:
    return reason_by_name(name) is None


def _file_name(address: str) -> str:
    """The last part; of HTTP without the query, and with its escapes read."""
    if storage.scheme_of(address) in storage.READ_ONLY:
        address = unquote(urlsplit(address).path)
    return address.rstrip("/").rpartition("/")[2]


def _below(target: str, folder: str) -> PurePosixPath | None:
    """The target relative to a folder of a store; None where it is not below it, or is the same."""
    inner, outer = target.rstrip("/"), folder.rstrip("/") + "/"
    return PurePosixPath(inner[len(outer) :]) if inner.startswith(outer) else None


def _paired(
    photos: dict[str, _Found], target: str, suffix: str, keys: PathKeys, say: Callable[[str], object]
) -> list[Pair]:
    is_local = not storage.scheme_of(target)
    limit = output_names.name_limit(storage.local_path(target)) if is_local else output_names.LONGEST
    named = {key: photo for key, photo in photos.items() if photo.error is None}

    def output(key: str, whole: bool) -> str:
        photo = photos[key]
        stem = photo.name if whole else PurePosixPath(photo.name).stem
        return (photo.below / output_names.fit(stem, suffix, limit)).as_posix()

    def identity(relative: str) -> str:
        return keys.of(storage.local_path(target) / relative) if is_local else relative

    def output_and_name(key: str, whole: bool) -> tuple[str, str]:
        relative = output(key, whole)
        return identity(relative), relative.rpartition("/")[2]

    names = {key: photo.name for key, photo in named.items()}
    with_extension = dict.fromkeys(output_names.that_keep_extensions(names, output_and_name))
    if with_extension:
        first = output(next(iter(with_extension)), True)
        say(f"{len(with_extension)} photos have the stem of another one, and keep their extension: {first}")
    pairs, taken = [], dict[str, str]()
    for key, photo in photos.items():
        relative = output(key, key in with_extension)
        if photo.error is None:
            other = taken.setdefault(identity(relative), photo.address)
            if other != photo.address:
                raise UsageError(f"{other} and {photo.address} would both be written to {relative}; give them apart")
            if identity(relative) in photos or storage.join(target, relative) in photos:
                raise UsageError(f"{relative}: is an input itself, which is never overwritten; give another target")
        pairs.append(Pair(photo.address, relative, photo.error))
    return pairs
