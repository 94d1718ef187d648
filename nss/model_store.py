"""Where models that were put in place by hand lie, and what is remembered about models on this machine.

The model folder is ``$NSS_MODEL_DIR``, by default ``models`` in the user's data directory. It may hold files put there
by hand (``<name>.onnx``), and is never written to. Whatever it is, the state lies in ``state`` in the user's data
directory (``$NSS_STATE_DIR`` moves it, for tests):

- ``<name>.json``: the commit that a download resolved to, with the size and SHA-256 of the file (the pin);
- ``<name>.licence-shown``: the licence notice of the model has been printed once;
- ``digests/``: SHA-256 of large files by path, size and modification time.

Every file is written beside its place and renamed, so that parallel processes see the old or the new one, never half.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nss.errors import ModelUnavailableError

# Hashing 16 MiB takes about 20 ms, no more than reading the remembered digest is worth.
_DIGEST_CACHE_MIN_BYTES = 16 << 20


def model_dir() -> Path:
    """The folder of local model files. It need not exist. Raises ModelUnavailableError as `_folder`."""
    return _folder("NSS_MODEL_DIR", "models")


def state_dir() -> Path:
    """The folder of pins, licence markers and digests. It need not exist. Raises ModelUnavailableError as `_folder`."""
    return _folder("NSS_STATE_DIR", "state")


def _folder(variable: str, default: str) -> Path:
    """The folder that the variable names, or the default in the user's data directory.

    Raises ModelUnavailableError where the variable names the home directory of a user that there is not.
    """
    if given := os.environ.get(variable):
        try:
            return Path(given).expanduser()
        except RuntimeError as error:
            raise ModelUnavailableError(f"{variable}={given}: there is no such home directory; correct it") from error
    import platformdirs

    return Path(platformdirs.user_data_dir("nss-wgpu", appauthor=False)) / default


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
        return Pin(**json.loads((state_dir() / f"{name}.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_pin(name: str, pin: Pin) -> None:
    """Record what ``name`` stands for. Raises OSError."""
    _write_json(state_dir() / f"{name}.json", asdict(pin))


def forget_pin(name: str) -> None:
    """Drop the pin of ``name``, so that the next download takes the catalogue's revision again. Raises OSError."""
    (state_dir() / f"{name}.json").unlink(missing_ok=True)


def licence_was_shown(name: str) -> bool:
    """Whether the licence notice of ``name`` has been printed on this machine."""
    return (state_dir() / f"{name}.licence-shown").exists()


def mark_licence_shown(name: str) -> None:
    """Record that the licence notice of ``name`` was printed; where nothing can be written it is printed again."""
    with suppress(OSError):
        state_dir().mkdir(parents=True, exist_ok=True)
        (state_dir() / f"{name}.licence-shown").touch()


def sha256_of(path: Path, *, fresh: bool = False) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    The digest of a large file is remembered by path, size and modification time; ``fresh`` reads the bytes again.
    Raises OSError where the file cannot be read.
    """
    note, key = _digest_note(path)
    if not fresh:
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(note.read_text("utf-8"))
            if all(known[field] == value for field, value in key.items()):
                return str(known["sha256"])
    digest = hash_file(path)
    remember_digest(path, digest)
    return digest


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read now. Raises OSError."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remember_digest(path: Path, digest: str) -> None:
    """Note the digest of a large file for `sha256_of`. Where nothing can be written, it is computed again."""
    with suppress(OSError):
        note, key = _digest_note(path)
        if path.stat().st_size >= _DIGEST_CACHE_MIN_BYTES:
            _write_json(note, {**key, "sha256": digest})


def _digest_note(path: Path) -> tuple[Path, dict[str, object]]:
    import hashlib

    real = path.resolve()
    stat = real.stat()
    name = hashlib.sha256(str(real).encode()).hexdigest()[:32]
    return state_dir() / "digests" / f"{name}.json", {
        "path": str(real),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
