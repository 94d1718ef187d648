"""What is remembered of adapters between processes, in a small file of the caller's cache folder.

A search that finds no hardware adapter takes a second, and is as good as its drivers: on Linux it is remembered by
their files and devices, and by what else decides what they show. Elsewhere drivers lie in more places, and each process
searches. Whether matrix units compute is remembered by the adapter, its driver and the implementation. Nothing here
raises: what cannot be read or written is not remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from engine import arguments
from engine.gpu.device.implementations import IMPLEMENTATIONS
from engine.version import __version__

FILE = "adapters.json"

ABSENCE_S = 7 * 24 * 3600
"""Seconds after which a search is made again: a driver may fail once for reasons that no file shows."""

ICD_FOLDERS = ("vulkan/icd.d", "vulkan/implicit_layer.d")
"""Where the loader looks for drivers and for what goes before them, below each folder of data or configuration."""

VARIABLES = ("VK_", "MESA_", "WGPU", "DAWN_", "NVIDIA_", "__GL", "__VK", "LIBGL_", "DRI_PRIME", "LD_LIBRARY_PATH")
"""Beginnings of the variables that decide what drivers show."""

DEVICES = ("/dev/dri", "/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/mali*")

OTHERS = ("/etc/ld.so.cache", "/usr/lib/wsl/lib")
"""Files that are written anew when a library is installed, as the loader and each driver are."""

VERSIONS = ("/proc/driver/nvidia/version",)
"""Files that say which version of a driver the kernel has."""

_folder: Path | None = None


def remember_adapters(folder: str | PathLike[str] | None) -> None:
    """Keep what is found out about adapters in that folder, for this process and others; None keeps nothing.

    The folder need not exist. A session on "auto" then does not look for a GPU where there was none, as long as
    drivers and devices are the same, and for a week; ``devices`` and any other session look. Raises InputError where
    ``folder`` is no path.
    """
    global _folder
    _folder = None if folder is None else arguments.path("folder", folder)


def folder() -> Path | None:
    """Where what is found out about adapters is kept, or None."""
    return _folder


def absence() -> str | None:
    """Why there is no hardware adapter, where an earlier search found none on the machine as it is now."""
    entry = _read(_folder).get("absence")
    if not isinstance(entry, dict):
        return None
    reason, age = entry.get("reason"), time.time() - _number(entry.get("time"))
    is_current = 0 <= age < ABSENCE_S and isinstance(reason, str)
    return reason if is_current and entry.get("machine") == machine() else None


def note_absence(reason: str) -> None:
    """Remember that a search of all implementations found no hardware adapter, and why."""
    folder = _folder  # which another thread may change
    here = machine() if folder else None
    if folder and here:
        _write(folder, "absence", {"reason": reason, "time": time.time(), "machine": here})


def matrix_units(key: str) -> dict[str, Any] | None:
    """What was noted of the adapter with that key, or None."""
    entry = _read(_folder).get("matrix_units")
    found = entry.get(key) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else None


def note_matrix_units(key: str, result: dict[str, Any]) -> None:
    """Remember the result of a probe."""
    if folder := _folder:
        entry = _read(folder).get("matrix_units")
        _write(folder, "matrix_units", {**(entry if isinstance(entry, dict) else {}), key: result})


def implementation_stamp(name: str) -> str:
    """What changes with the version of an implementation; it is not imported."""
    spec = importlib.util.find_spec(IMPLEMENTATIONS[name].package)
    return f"{name} {_stamp(Path(spec.origin))}" if spec and spec.origin else f"{name} -"


def machine() -> str | None:
    """A digest of all that decides which adapters there are; None where that is not known."""
    if not sys.platform.startswith("linux"):
        return None
    facts = [__version__, sys.executable, *(implementation_stamp(name) for name in IMPLEMENTATIONS)]
    facts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)]
    facts += [f"{path} {_stamp(path)}" for path in sorted(_driver_files())]
    for version in VERSIONS:
        with contextlib.suppress(OSError):
            facts.append(Path(version).read_text(errors="replace"))
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _driver_files() -> Iterator[Path]:
    yield from map(Path, OTHERS)
    for pattern in DEVICES:
        for path in Path("/").glob(pattern[1:]):
            yield path
            if path.is_dir():
                yield from path.iterdir()
    for root in _roots():
        for name in ICD_FOLDERS:
            folder = root / name
            with contextlib.suppress(OSError):
                yield from (folder, *folder.iterdir())
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"):
        for part in os.environ.get(variable, "").split(os.pathsep):
            path = Path(part)
            if part:
                yield path
                with contextlib.suppress(OSError):  # a folder may be named, too
                    yield from path.iterdir()


def _roots() -> Iterator[Path]:
    """The folders of data and configuration that the Vulkan loader looks into."""
    environ, home = os.environ, os.environ.get("HOME", "")
    yield from map(Path, ("/etc", "/usr/share", "/usr/local/share", "/usr/local/etc"))
    for variable, default in (("XDG_CONFIG_HOME", ".config"), ("XDG_DATA_HOME", ".local/share")):
        yield Path(environ.get(variable) or Path(home, default))
    for variable in ("XDG_DATA_DIRS", "XDG_CONFIG_DIRS"):
        yield from (Path(part) for part in environ.get(variable, "").split(os.pathsep) if part)


def _stamp(path: Path) -> str:
    """What changes when a file is replaced; of a device its number, and whether it may be opened."""
    try:
        status = path.stat()
    except OSError:
        return "-"
    if stat.S_ISCHR(status.st_mode):
        return f"{status.st_rdev} {os.access(path, os.R_OK | os.W_OK)}"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return f"{status.st_mtime_ns} {status.st_size} {os.access(path, os.R_OK)}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _read(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(folder: Path, name: str, value: object) -> None:
    """Replace one entry of the file, as a whole; of two processes that write at a time one may be forgotten."""
    content = json.dumps({**_read(folder), name: value}, indent=1)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f"{FILE}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            Path(temporary).replace(folder / FILE)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
