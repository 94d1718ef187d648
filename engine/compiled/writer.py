"""A compiled model into a folder: beside its name until it is whole, the weights as they come."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from engine.compiled.fields import HeaderError
from engine.compiled.folders import rename_folder, temporary_folder
from engine.compiled.header import NAME, decode, encode, starts
from engine.compiled.model import ALIGNMENT, CompiledModel, constant_sizes
from engine.compiled.shards import ShardWriter
from engine.errors import EngineError, ModelError

SHARD = 64 << 20
"""Bytes of a shard, unless the caller says otherwise."""


def save_compiled(model: CompiledModel, folder: str | PathLike[str], *, shard: int = SHARD) -> None:
    """Write a compiled model into a new folder, as docs/compiled.md describes.

    The folder appears whole or not at all: an error, a full disk or an interruption leaves nothing. Nothing is flushed
    to the disk (fsync), which would take seconds: what a power failure damages, the reader notices, and it can be made
    again.

    Args:
        model: what to write. ``weights.pieces()`` is read once, and no more than one piece is held.
        folder: its name, which nothing may have yet, in a folder that exists.
        shard: bytes of each file of weights but the last one, a multiple of 256.

    Raises:
        ModelError: the folder exists, or cannot be written; the model holds what the format does not allow.
        EngineError: ``shard`` is no such number.
    """
    path = Path(folder)
    try:
        write(model, path, shard=shard)
    except FileExistsError as error:
        raise ModelError(f"{path}: exists already; give the compiled model another name, or remove it") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelError(f"{path}: cannot be written ({reason}); make room there, or choose another place") from error


def write(model: CompiledModel, path: Path, *, shard: int = SHARD, mode: int = 0o777) -> None:
    """As ``save``, but what the system refuses is its OSError. ``mode``: permissions of the folder."""
    if shard < ALIGNMENT or shard % ALIGNMENT:
        raise EngineError(f"shards of {shard} bytes: not a positive multiple of {ALIGNMENT}; give one")
    with temporary_folder(path.parent, mode) as folder:
        try:
            with ShardWriter(folder, shard) as sink:
                _write_weights(model, sink)
            header = encode(model, sink.shards)
            decode(header)
        except HeaderError as error:
            raise ModelError(f"{path}: the model cannot be saved: {error}; this is a fault of its maker") from error
        (folder / NAME).write_bytes(header)
        rename_folder(folder, path)


def _write_weights(model: CompiledModel, sink: ShardWriter) -> None:
    sizes = constant_sizes(model)
    places = starts(sizes)
    for piece in model.weights.pieces():
        place = f"a piece of the weights, buffer {piece.buffer} at {piece.offset}"
        if piece.buffer >= len(sizes) or piece.offset + len(piece.data) > sizes[piece.buffer]:
            raise HeaderError(f"{place}, goes beyond its buffer")
        start = places[piece.buffer] + piece.offset
        if start < sink.position:
            raise HeaderError(f"{place}, is not behind the one before")
        sink.pad(start)
        sink.write(np.ascontiguousarray(piece.data).data)
    sink.pad(places[-1])
    sink.finish()
