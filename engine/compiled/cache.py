"""Compiled models of a user's own, kept in a folder for the next process, the least recently used given up for room.

An entry is a folder ``<key>-<random>``, which a rename makes whole and nothing changes from then on: processes share it
without locks. What says when it was used last is the time of its header. An entry without a header is being deleted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from engine import arguments
from engine.compiled.fields import Fields, HeaderError
from engine.compiled.folders import remove_folder, remove_leftovers
from engine.compiled.header import FORMAT, NAME, encode, origin, whole
from engine.compiled.model import ALIGNMENT, CompiledModel, ModelOrigin
from engine.compiled.reader import header_bytes, read
from engine.compiled.segments import StoredWeights, starts
from engine.compiled.sources import source_state
from engine.compiled.writer import write
from engine.errors import EngineError
from engine.version import __version__

_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(r"([0-9a-f]{64})-[0-9a-f]{16}")

SHARD = 8 << 20
"""Bytes of a shard of an entry, at least: small, so that all cores share in hashing a model as it is opened."""

MOST_SHARDS = 32
"""Shards of an entry: each holds a descriptor for as long as it is mapped, and a process may have but 256 on macOS."""

_SHARD_TEXT = 128
"""Bytes of a header for each shard, at most."""


def cache_key(**parts: Any) -> str:
    """A key of a ModelCache: 64 hexadecimal digits that follow from all that decides what is compiled.

    This engine's version and that of the format are part of it, and in a source tree the state of its files: a commit
    changes no version.

    Args:
        parts: strings, numbers, booleans, None, and sequences, mappings and dataclasses of these.

    Raises:
        TypeError: a part is something else.
    """
    document = {"engine": __version__, "format": FORMAT, "source": source_state(), "parts": parts}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{value!r} cannot be part of a key")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What the cache holds under a key.

    ``bytes`` are those of its files, ``last_used`` is in seconds since 1970. ``origin`` is the model that was compiled,
    for inputs of ``input_shapes``, ``engine`` the version that did it, and ``metadata`` what the caller put beside it;
    None, (), "" and {} where the entry is damaged.
    """

    key: str
    bytes: int
    last_used: float
    origin: ModelOrigin | None
    engine: str
    backend: str
    precision: str
    input_shapes: tuple[tuple[int, ...], ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


class ModelCache:
    """Compiled models in a folder, of at most ``max_bytes`` in all.

    Any thread and any process may use it at any time. What cannot be read is absent, and what cannot be written is not
    kept: neither is an error.

    An entry's shaders run without the implementation's checks (``CompiledModel.trusted``) if the folder is this user's
    and nobody else may enter it (mode 0700; on Windows, which has no modes: if it lies in the user's profile).
    """

    def __init__(self, folder: str | PathLike[str], max_bytes: int) -> None:
        """``folder`` is made, with mode 0700, by the first ``put``. Raises InputError where one is of another type."""
        arguments.check("max_bytes", max_bytes, Real, "a number of bytes")
        self.folder = arguments.path("folder", folder)
        self.max_bytes = max_bytes

    def get(self, key: str) -> CompiledModel | None:
        """The model that was put under the key, and mark it as used; None where there is none.

        Everything is checked but the content of the weights: ``weights.verify()`` does that, and where it raises,
        ``discard`` is for the caller to call. A damaged entry, and one of another version, is deleted.
        Raises EngineError where ``key`` is none of ``cache_key``.
        """
        return next((model for _, model in self._models(key)), None)

    def put(self, key: str, model: CompiledModel) -> bool:
        """Keep a model under the key, unless there is one; whether there is one now.

        Entries that were not used for long are deleted before, until the model has room. One that is larger than
        ``max_bytes`` alone is not kept, and nothing is left of one that could not be written.
        Raises EngineError where ``key`` is none of ``cache_key``, and what ``model.weights`` raises.
        """
        arguments.check("model", model, CompiledModel, "an engine.CompiledModel")
        paths = self._paths(key)  # before it looks into them: another process may add one meanwhile
        if self.get(key) is not None:
            return True
        if any(os.path.lexists(path / NAME) and _is_own(path) for path in paths):
            return False  # it cannot be read now, which is not its fault
        try:
            needed = _bytes_needed(model)
            if needed > self.max_bytes:
                return False
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            self._make_room(self.max_bytes - needed)
            path = self.folder / f"{key}-{os.urandom(8).hex()}"
            write(model, path, shard=_shard(model), mode=0o700)
        except OSError:
            return False
        # Of two processes that wrote the same, both see the second one, and both keep the one whose name is less.
        for other in sorted(entry for entry, _ in self._models(key))[1:]:
            _remove(other)
        self._make_room(self.max_bytes, keep=path)
        return True

    def discard(self, key: str) -> None:
        """Delete what is under the key. Raises EngineError where ``key`` is none of ``cache_key``."""
        for path in self._paths(key):
            _remove(path)

    def entries(self) -> list[CacheEntry]:
        """What there is, the most recently used first."""
        entries = [entry for path in self._all_paths() if (entry := _entry(path)) is not None]
        return sorted(entries, key=lambda entry: entry.last_used, reverse=True)

    def clear(self) -> int:
        """Delete everything; the bytes that were freed.

        What another process is writing stays, and on Windows what one has mapped, until the next ``put`` or ``clear``.
        """
        remove_leftovers(self.folder)
        return sum(_remove(path) for path in self._all_paths())

    def drop(self, is_meant: Callable[[ModelOrigin], bool]) -> int:
        """Delete all that was compiled from the models that are meant; the bytes that were freed.

        What does not say which model it is from goes, too: it is damaged, or what a killed process had begun, and could
        be of one of them.
        """
        remove_leftovers(self.folder)
        freed = 0
        for path in self._all_paths():
            entry = _entry(path)
            if entry is None or entry.origin is None or is_meant(entry.origin):
                freed += _remove(path)
        return freed

    def _models(self, key: str) -> Iterator[tuple[Path, CompiledModel]]:
        """The entries of a key that can be used, and their models; what is damaged or old is deleted."""
        seen: set[Path] = set()
        # another process deletes an entry only when there is one that it prefers, so whoever meets that looks again
        while paths := [path for path in self._paths(key) if path not in seen]:
            seen.update(paths)
            for path in paths:
                model = self._model(path)
                if model is not None:
                    yield path, model

    def _model(self, path: Path) -> CompiledModel | None:
        """What an entry holds, marked as used; None where that is nothing that can be used."""
        try:
            header, weights = read(path)
            if header.engine != __version__:
                raise HeaderError("another engine wrote it")
        except (HeaderError, FileNotFoundError):
            _remove(path)
            return None
        except OSError:  # not the entry's fault
            return None
        with suppress(OSError):
            os.utime(path / NAME)
        return header.model(weights, trusted=_is_private(self.folder) and _is_own(path))

    def _paths(self, key: str) -> list[Path]:
        if not (isinstance(key, str) and _KEY.fullmatch(key)):
            raise EngineError(f"'{key}' is no key of a cache; make one with cache_key")
        return [path for path in self._all_paths() if path.name.startswith(f"{key}-")]

    def _all_paths(self) -> list[Path]:
        """The folders of entries, by their names."""
        try:
            with os.scandir(self.folder) as found:
                names = [
                    item.name for item in found if _ENTRY.fullmatch(item.name) and item.is_dir(follow_symlinks=False)
                ]
        except OSError:
            return []
        return [self.folder / name for name in sorted(names)]

    def _make_room(self, max_bytes: int, keep: Path | None = None) -> None:
        """Delete entries but ``keep``, the least recently used first, until all of them have at most ``max_bytes``."""
        # what is being deleted has no header, and comes first
        paths = sorted(self._all_paths(), key=_last_used)
        total = sum(map(_size, paths))
        for path in paths:
            if path != keep and (total > max_bytes or not os.path.lexists(path / NAME)):
                total -= _remove(path)


def _shard(model: CompiledModel) -> int:
    """The bytes of each shard of an entry but the last one."""
    each = -(-starts(model.plan.constant_sizes)[-1] // MOST_SHARDS)
    return max(SHARD, -(-each // ALIGNMENT) * ALIGNMENT)


def _bytes_needed(model: CompiledModel) -> int:
    """The bytes of an entry, at most."""
    try:
        header = len(encode(model, StoredWeights()))
    except HeaderError:
        header = 0  # for the writer to say
    weights = starts(model.plan.constant_sizes)[-1]
    return weights + header + _SHARD_TEXT * -(-weights // SHARD)


def _entry(path: Path) -> CacheEntry | None:
    """What a folder holds, of whatever version; None where it is being deleted."""
    key = path.name.partition("-")[0]
    model, engine, backend, precision = None, "", "", ""
    shapes: tuple[tuple[int, ...], ...] = ()
    metadata: Mapping[str, Any] = {}
    try:
        last_used = (path / NAME).lstat().st_mtime
        fields: Fields = whole(header_bytes(path))
        model = origin(fields)
        engine, backend, precision = (fields.text(name) for name in ("engine", "backend", "precision"))
        shapes = tuple(place.integers("shape") for place in fields.objects("inputs"))
        metadata = fields.mapping("metadata")
    except HeaderError:
        pass
    except OSError:
        return None
    return CacheEntry(
        key=key,
        bytes=_size(path),
        last_used=last_used,
        origin=model,
        engine=engine,
        backend=backend,
        precision=precision,
        input_shapes=shapes,
        metadata=metadata,
    )


def _last_used(path: Path) -> float:
    try:
        return (path / NAME).lstat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """The bytes of the files in a folder."""
    total = 0
    with suppress(OSError), os.scandir(path) as found:
        for item in found:
            with suppress(OSError):
                total += item.stat(follow_symlinks=False).st_size
    return total


def _remove(path: Path) -> int:
    """Delete an entry, its header first, so that what the system still refuses to delete is no entry any more.

    Returns the bytes that were freed.
    """
    size = _size(path)
    with suppress(OSError):
        (path / NAME).unlink()
    remove_folder(path)
    return size - _size(path)


def _is_private(folder: Path) -> bool:
    """Whether nobody but this user can have put anything into a folder."""
    try:
        if not hasattr(os, "geteuid"):  # Windows: a profile lets in its user and administrators
            return folder.resolve().is_relative_to(Path.home().resolve())
        status = folder.stat()
        return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return False


def _is_own(path: Path) -> bool:
    """Whether an entry, and its header, are this user's."""
    try:
        return not hasattr(os, "geteuid") or {path.lstat().st_uid, (path / NAME).lstat().st_uid} == {os.geteuid()}
    except OSError:
        return False
