"""Tunings that are kept: which implementation is the fastest for a layer on an adapter, by tuning key.

All lie in one file of JSON in the folder of ``engine.remember_adapters``. An entry is of one adapter, by its name,
vendor, model and driver as one implementation of WebGPU shows them, and of one version of the engine: of any other it
says nothing. The file is written beside its place and renamed, and read only where its digest is that of its content.
What cannot be read is passed over, with a line that says why. Of processes that write at once each keeps what the
others have written, where the system locks folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.gpu.device import memory
from engine.version import __version__

if TYPE_CHECKING:
    from engine.gpu.device.adapters import Adapter

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = "tuning.json"
FORMAT = 1
MAX_BYTES = 16 << 20
"""A larger file is none of the engine's: a network has a hundred keys of a hundred bytes."""

Rows = Mapping[str, str]
"""The name of an implementation by tuning key (engine/gpu/lowering/table.py)."""

_KEY = re.compile(r"[\x20-\x7e]{1,400}")
_ROW = re.compile(r"[\x21-\x7e]{1,100}")


class DamagedError(Exception):
    """A file that holds no tunings; the text says what is wrong with it."""


def identity(adapter: Adapter) -> dict[str, Any]:
    """What an adapter's tunings belong to."""
    return {
        "implementation": adapter.implementation,
        "name": adapter.name,
        "api": adapter.backend,
        "make": list(adapter.make),
        "driver": adapter.driver,
    }


def stored(adapter: Adapter, precision: str) -> tuple[Rows, str]:
    """The rows that were chosen on an adapter in a precision, and why the file was passed over, or ""."""
    folder = memory.folder()
    if folder is None:
        return {}, ""
    try:
        entries = read(folder)
    except DamagedError as error:
        return {}, f"{folder / FILE} is passed over: {error}"
    for entry in entries:
        if _is_of(entry, adapter) and entry["engine"] == __version__:
            return entry["choices"].get(precision, {}), ""
    return {}, ""


def keep(adapter: Adapter, precision: str, rows: Rows) -> bool:
    """Add to what is stored of an adapter; whether that could be written. A damaged file is replaced."""
    folder = memory.folder()
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            others, own = _divided(folder, adapter)
            choices = {**own, precision: {**own.get(precision, {}), **rows}}
            write(folder, [*others, {"adapter": identity(adapter), "engine": __version__, "choices": choices}])
    except OSError:
        return False
    return True


def forget(adapter: Adapter) -> int:
    """Remove what is stored of an adapter, by whatever version; of how many layers it was. Raises OSError."""
    folder = memory.folder()
    if folder is None or not os.path.lexists(folder / FILE):
        return 0
    with _locked(folder):
        others, own = _divided(folder, adapter)
        write(folder, others)
    return sum(map(len, own.values()))


def read(folder: Path) -> list[dict[str, Any]]:
    """The entries of the folder's file; none where there is no file. Raises DamagedError."""
    path = folder / FILE
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise DamagedError(f"it has more than {MAX_BYTES >> 20} MiB")
        return _read(path, (status.st_size, status.st_mtime_ns, status.st_ino))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamagedError(f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is no JSON") from error


def write(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Replace the folder's file, as a whole. Raises OSError."""
    document = {"format": FORMAT, "sha256": _digest(entries), "entries": entries}
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f"{FILE}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, sort_keys=True)
        Path(temporary).replace(folder / FILE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_rows(value: object) -> bool:
    """Whether a value of JSON maps tuning keys to names of implementations."""
    return isinstance(value, dict) and all(
        isinstance(row, str) and _KEY.fullmatch(key) and _ROW.fullmatch(row) for key, row in value.items()
    )


@lru_cache(1)
def _read(path: Path, _stamp: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The entries of the file that has that size, time and inode; a session and its key ask several times."""
    return _entries(json.loads(path.read_text(encoding="utf-8")))


def _entries(document: object) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or document.keys() != {"format", "sha256", "entries"}:
        raise DamagedError("it holds no tunings")
    if document["format"] != FORMAT:
        raise DamagedError("another version of the engine wrote it")
    entries = document["entries"]
    if document["sha256"] != _digest(entries):
        raise DamagedError("its content is not what its digest says")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise DamagedError("it holds no tunings")
    return entries


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"adapter", "engine", "choices"}
        and isinstance(entry["adapter"], dict)
        and isinstance(entry["engine"], str)
        and isinstance(entry["choices"], dict)
        and all(map(is_rows, entry["choices"].values()))
    )


def _digest(entries: object) -> str:
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _divided(folder: Path, adapter: Adapter) -> tuple[list[dict[str, Any]], dict[str, Rows]]:
    """The entries of other adapters, and the choices that this version made on this one."""
    try:
        entries = read(folder)
    except DamagedError:
        return [], {}
    own = [entry for entry in entries if _is_of(entry, adapter)]
    current: dict[str, Rows] = next((entry["choices"] for entry in own if entry["engine"] == __version__), {})
    return [entry for entry in entries if entry not in own], current


def _is_of(entry: Mapping[str, Any], adapter: Adapter) -> bool:
    return entry["adapter"] == identity(adapter)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing meanwhile, where the system locks folders. Raises OSError."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
