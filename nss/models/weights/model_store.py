"""Where models that were put in place by hand lie, and what is remembered about models on this machine.

The model folder is ``$NSS_MODEL_DIR``, by default ``models`` in the user's data directory. It may hold files put there
by hand (``<name>.onnx``), and is never written to. What is fetched from releases goes to ``$NSS_CACHE_DIR``, by default
``models`` in the user's cache directory; what is fetched from the hub, to the hub's own cache. Compiled models lie in
``$NSS_CACHE_DIR/compiled``, by default ``compiled`` in the user's cache directory. The state lies in
``state`` in the user's data directory (``$NSS_STATE_DIR`` moves it, for tests):

- ``<name>.json``: the commit that a download resolved to, with the size and SHA-256 of the file (the pin);
- ``<name>.repository.json``: what else was learned of a model that no catalogue has (see
  `nss.models.weights.repositories`);
- ``<name>.licence-shown``: the licence notice of the model has been printed once;
- ``digests/``: SHA-256 and MD5 of large files by path, size, modification time and inode;
- ``data-files/``: the names of the files that hold a model's weights, by its SHA-256 (`nss.models.compiled`);
- ``trials/``: what a file's outputs were like on synthetic photos, by its SHA-256 (`nss.removal.trial`);
- ``seconds/``: how long models took for a photo (see `nss.models.run_times`).

Every file is written beside its place and renamed, so that parallel processes see the old or the new one, never half.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nss.errors import ModelUnavailableError

# Hashing 1 MiB takes a millisecond or two, no more than reading the remembered digest is worth.
_DIGEST_CACHE_MIN_BYTES = 1 << 20
_NOTE = ".repository.json"


def model_dir() -> Path:
    """The folder of local model files. It need not exist. Raises ModelUnavailableError as `_folder`."""
    return _folder("NSS_MODEL_DIR", "models")


def state_dir() -> Path:
    """The folder of pins, licence markers and digests. It need not exist. Raises ModelUnavailableError as `_folder`."""
    return _folder("NSS_STATE_DIR", "state")


def release_dir() -> Path:
    """The folder of models that were fetched from releases. It need not exist. Raises as `_folder`."""
    return _folder("NSS_CACHE_DIR", "models", cache=True)


def compiled_dir() -> Path:
    """The folder of compiled models, in that of what can be made again. It need not exist. Raises as `_folder`."""
    return adapter_folder() / "compiled"


def adapter_folder() -> Path:
    """The folder of what is remembered of adapters. It need not exist. Raises ModelUnavailableError as `_folder`."""
    return _folder("NSS_CACHE_DIR", "", cache=True)


def _folder(variable: str, default: str, *, cache: bool = False) -> Path:
    """The folder that the variable names, or the default in the user's data directory (or cache directory).

    Raises ModelUnavailableError where the variable names the home directory of a user that there is not.
    """
    if value := os.environ.get(variable):
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise ModelUnavailableError(f"{variable}={value}: there is no such home directory; correct it") from error
    import platformdirs

    place = platformdirs.user_cache_dir if cache else platformdirs.user_data_dir
    return Path(place("nss-wgpu", appauthor=False)) / default


@dataclass(frozen=True)
class Pin:
    """Which published file a model name stands for on this machine."""

    repo: str
    commit: str
    """Commit hash of the repository, 40 hexadecimal digits."""
    sha256: str
    size: int
    """Bytes."""


def read_pin(name: str) -> Pin | None:
    """The pin that the last download of ``name`` wrote; None without one, or where it cannot be read."""
    try:
        return Pin(**json.loads(_state_file(name, ".json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_pin(name: str, pin: Pin) -> None:
    """Record what ``name`` stands for. Raises OSError."""
    write_json(_state_file(name, ".json"), asdict(pin))


def forget_pin(name: str) -> None:
    """Drop the pin of ``name``, so that the next download takes the catalogue's revision again. Raises OSError."""
    for suffix in (".json", _NOTE):
        _state_file(name, suffix).unlink(missing_ok=True)


def read_note(name: str) -> dict[str, Any]:
    """What `write_note` recorded of ``name``; empty without, or where it cannot be read."""
    try:
        note = json.loads(_state_file(name, _NOTE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def write_note(name: str, note: dict[str, Any]) -> None:
    """Record more of ``name`` than a pin holds, as JSON, until `forget_pin`. Raises OSError."""
    write_json(_state_file(name, _NOTE), {"name": name, **note})


def note_names() -> list[str]:
    """The names that there are notes of, sorted."""
    names = set()
    for path in state_dir().glob(f"*{_NOTE}"):
        with suppress(OSError, ValueError, TypeError, LookupError):
            names.add(str(json.loads(path.read_text("utf-8"))["name"]))
    return sorted(names)


def licence_was_shown(name: str) -> bool:
    """Whether the licence notice of ``name`` has been printed on this machine."""
    return _state_file(name, ".licence-shown").exists()


def mark_licence_shown(name: str) -> None:
    """Record that the licence notice of ``name`` was printed; where nothing can be written it is printed again."""
    with suppress(OSError):
        state_dir().mkdir(parents=True, exist_ok=True)
        _state_file(name, ".licence-shown").touch()


def sha256_of(path: Path, *, fresh: bool = False) -> str:
    """SHA-256 of a file as 64 hexadecimal digits; as `digest_of`."""
    return digest_of(path, "sha256", fresh=fresh)


def digest_of(path: Path, algorithm: str, *, fresh: bool = False) -> str:
    """The file's digest by "sha256" or "md5", in hexadecimal.

    The digest of a large file is remembered by path, size, modification time and inode; ``fresh`` reads the bytes
    again.
    Raises OSError where the file cannot be read.
    """
    if not fresh and (stored_digest := _read_digests(*_digest_note(path)).get(algorithm)):
        return str(stored_digest)
    digest = hash_file(path, algorithm)
    remember_digest(path, digest, algorithm)
    return digest


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, read now. Raises OSError."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def remember_digest(path: Path, digest: str, algorithm: str = "sha256") -> None:
    """Note the digest of a large file for `digest_of`. Where nothing can be written, it is computed again."""
    with suppress(OSError):
        note, key = _digest_note(path)
        if path.stat().st_size >= _DIGEST_CACHE_MIN_BYTES:
            write_json(note, {**_read_digests(note, key), **key, algorithm: digest})


def _read_digests(note: Path, key: dict[str, object]) -> dict[str, object]:
    """What a note says of a file; nothing where it is of another, or cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry: dict[str, object] = json.loads(note.read_text("utf-8"))
        if all(entry[field] == value for field, value in key.items()):
            return entry
    return {}


def read_state(name: str) -> dict[str, Any]:
    """The JSON object that `write_state` recorded; empty without one, or where it cannot be read."""
    with suppress(OSError, ValueError):
        state = json.loads((state_dir() / name).read_text("utf-8"))
        return state if isinstance(state, dict) else {}
    return {}


def write_state(name: str, value: dict[str, Any]) -> None:
    """Record a JSON object as this file of the state folder; where nothing can be written, it is not recorded."""
    with suppress(OSError):
        write_json(state_dir() / name, value)


def _digest_note(path: Path) -> tuple[Path, dict[str, object]]:
    import hashlib

    real = path.resolve()
    stat = real.stat()
    name = hashlib.sha256(str(real).encode()).hexdigest()[:32]
    return state_dir() / "digests" / f"{name}.json", {
        "path": str(real),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "inode": stat.st_ino,
    }


def _state_file(name: str, suffix: str) -> Path:
    """Where something of a model is kept; names that are no file names, as a repository's, get one of their own."""
    import hashlib

    if not re.fullmatch(r"[\w.+-]{1,100}", name, re.ASCII):
        readable = re.sub(r"[^\w.+-]+", "--", name, flags=re.ASCII)[:100]
        name = f"{readable}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    return state_dir() / f"{name}{suffix}"


def write_json(path: Path, value: dict[str, object]) -> None:
    """Write JSON beside ``path`` and rename it there, folders included. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
