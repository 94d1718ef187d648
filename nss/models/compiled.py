"""Models that were compiled on this machine, and are kept so that the next process need not compile them again.

They lie in `nss.models.weights.model_store.compiled_dir`, within ``$NSS_CACHE_SIZE`` bytes (8 GiB by default; ``500M``,
``2G``; 0 keeps none), of which those used longest ago go first. What is kept can be made again at any time, and what
cannot be read or written is as though it were not there.

An entry's key is made of what is known without reading the model: the digests of its files, what the user says of its
interface, what lies beside it, the shape of its input, and what it runs on. Entries carry the interface as their
metadata, so that a model that was compiled is opened without being read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import engine
from nss.errors import NssError, UsageError
from nss.interfaces import preprocessor_config
from nss.interfaces.interface import Description, as_json
from nss.models.weights import model_store
from nss.sizes import parse_size

if TYPE_CHECKING:
    from nss.models.local_models import ResolvedModel

DEFAULT_BYTES = 8 << 30
FORMAT = 3
"""Of the metadata, and of what the key is made of."""

Stamps = tuple[tuple[int, int, int], ...]
"""Size, modification time and inode of each file of a model, its own first."""


def limit() -> int:
    """How many bytes entries may take, by ``NSS_CACHE_SIZE``. Raises UsageError where that is no size."""
    text = os.environ.get("NSS_CACHE_SIZE", "").strip()
    if not text:
        return DEFAULT_BYTES
    nbytes = parse_size(text)
    if nbytes is None:
        raise UsageError(f"NSS_CACHE_SIZE={text}: is no size; 500M, 2G, and 0 for no cache are possible")
    return nbytes


def cache() -> engine.ModelCache | None:
    """The cache; None where it is off.

    Raises UsageError where ``NSS_CACHE_SIZE`` is no size, and ModelUnavailableError as `model_store.compiled_dir`.
    """
    max_bytes = limit()
    return engine.ModelCache(model_store.compiled_dir(), max_bytes) if max_bytes else None


def key(model: ResolvedModel, description: Description, *, shape: Sequence[int] | None, place: engine.Place) -> str:
    """The key of a model.

    Args:
        model: its file; the digests of large files are remembered (`nss.models.weights.model_store`).
        description: what the user says of its interface.
        shape: of its input; None for what a square photo gets.
        place: what it runs on.

    Raises:
        OSError: a file of it cannot be read.
        ModelUnavailableError: likewise.
    """
    config = None if model.spec.interface or model.content is not None else preprocessor_config.beside(model.path)
    return engine.cache_key(
        metadata=FORMAT,
        model=sha256_of(model),
        data=_data_digests(model),
        title=model.spec.title,
        catalogue=[as_json(model.spec.interface), bool(model.spec.digest)],
        config=None if config is None else [str(config), model_store.sha256_of(config)],
        description=as_json(description),
        shape=None if shape is None else list(shape),
        place=dict(place.facts),
    )


def sha256_of(model: ResolvedModel) -> str:
    """The SHA-256 of the file as it is now. Raises OSError, or ModelUnavailableError."""
    return model.sha256 if model.content is not None else model_store.sha256_of(model.path)


def remember_data_files(model: ResolvedModel, file: engine.ModelFile) -> None:
    """Note which other files hold the weights of a model that was read, for the next `key`."""
    if model.content is None and (names := sorted(map(str, file.data_files))):
        model_store.write_state(_data_note(model), {"files": names})


def stamps(model: ResolvedModel) -> Stamps:
    """Those of the files as they are now: what is read is of one key only if they stay.

    Raises OSError, and ModelUnavailableError.
    """
    if model.content is not None:
        return ()
    stats = [path.stat() for path in (model.path, *(model.path.parent / name for name in _data_files(model)))]
    return tuple((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats)


def entries() -> list[engine.CacheEntry]:
    """What is kept, the most recently used first, also where the cache is off. Raises as `model_store.compiled_dir`."""
    return _whole_cache().entries()


def clear() -> int:
    """Remove everything that is kept; the bytes that this frees. Raises as `entries`."""
    return _whole_cache().clear()


def drop(names: Collection[str], digests: Collection[str]) -> int:
    """Remove what is kept of models by their names, or their files' SHA-256; the bytes that this frees.

    What does not say of which model it is goes too, as what a killed process had begun. Raises as `entries`.
    """
    return _whole_cache().drop(lambda origin: _is_of(origin, names, digests))


def nbytes(names: Collection[str], digests: Collection[str]) -> int:
    """The bytes that are kept of models by their names, or their files' SHA-256. Raises as `entries`."""
    return sum(entry.bytes for entry in entries() if entry.origin and _is_of(entry.origin, names, digests))


def check_deleted(nbytes: int) -> None:
    """Raise NssError where this many bytes of entries are still there that should have been deleted."""
    if nbytes:
        raise NssError(
            f"{model_store.compiled_dir()}: {nbytes} bytes cannot be deleted; is the folder yours to change?"
        )


def _whole_cache() -> engine.ModelCache:
    """The cache to look into and to delete from, whatever may be put there."""
    return engine.ModelCache(model_store.compiled_dir(), 0)


def _is_of(origin: engine.ModelOrigin, names: Collection[str], digests: Collection[str]) -> bool:
    return origin.name in names or origin.sha256 in digests


def _data_files(model: ResolvedModel) -> list[str]:
    names = model_store.read_state(_data_note(model)).get("files", [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _data_digests(model: ResolvedModel) -> dict[str, str]:
    if model.content is not None:
        return {}
    return {name: model_store.sha256_of(model.path.parent / name) for name in _data_files(model)}


def _data_note(model: ResolvedModel) -> str:
    return f"data-files/{sha256_of(model)}.json"
