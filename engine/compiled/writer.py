"""A compiled model into a folder: beside its name until it is whole, the weights as they come."""

from __future__ import annotations

from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Literal

from engine import arguments
from engine.compiled.content import UntypedError, write_weights
from engine.compiled.encodings import ENCODINGS
from engine.compiled.fields import HeaderError
from engine.compiled.folders import rename_folder, temporary_folder
from engine.compiled.header import NAME, decode, encode
from engine.compiled.model import ALIGNMENT, CompiledModel
from engine.compiled.shards import ShardWriter
from engine.errors import EngineError, ModelError

SHARD = 64 << 20
"""Bytes of a shard, unless the caller says otherwise."""


def save_compiled(
    model: CompiledModel,
    folder: str | PathLike[str],
    *,
    shard: int = SHARD,
    weights: Literal["f32", "f16", "int8"] = "f32",
) -> None:
    """Write a compiled model into a new folder, as docs/compiled.md describes.

    The folder appears whole or not at all: an error, a full disk or an interruption leaves nothing. Nothing is flushed
    to the disk (fsync), which would take seconds: what a power failure damages, the reader notices, and it can be made
    again.

    Args:
        model: what to write. ``weights.pieces()`` is read once, and no more than one piece is held.
        folder: its name, which nothing may have yet, in a folder that exists.
        shard: bytes of each file of weights, at most: a multiple of 256.
        weights: how float32 constants of at least 4,096 elements are stored: as they are, as float16, or as int8 with
            a float32 scale for every 64 elements, which changes each by half that scale at the most. Whoever reads them
            widens them to float32 again. A constant that holds an infinity, a NaN, or what float16 cannot hold, stays
            as it is, and so do the few numbers that are far larger than all others. A narrow model out of a file keeps
            its numbers when it is saved as "f32" or as it was. One whose weights are float32 in its file can be saved
            as "f32" alone: no file says which of its constants are.

    Raises:
        ModelError: the folder exists, or cannot be written; the model holds what the format does not allow; its weights
            cannot be narrowed.
        InputError: an argument is of another type.
        EngineError: ``shard`` is no such number, or ``weights`` none of the three.
    """
    path = arguments.path("folder", folder)
    arguments.check("model", model, CompiledModel, "an engine.CompiledModel")
    arguments.check("shard", shard, Integral, "a number of bytes")
    arguments.check("weights", weights, str, "the name of an encoding")
    try:
        write(model, path, shard=shard, weights=weights)
    except FileExistsError as error:
        raise ModelError(f"{path}: exists already; give the compiled model another name, or remove it") from error
    except OSError as error:
        if not path.parent.exists():
            raise ModelError(f"{path}: there is no folder {path.parent}; make it first") from error
        reason = error.strerror or str(error)
        raise ModelError(f"{path}: cannot be written ({reason}); make room there, or choose another place") from error


def write(model: CompiledModel, path: Path, *, shard: int = SHARD, weights: str = "f32", mode: int = 0o777) -> None:
    """As ``save_compiled``, but what the system refuses is its OSError. ``mode``: permissions of the folder."""
    if shard < ALIGNMENT or shard % ALIGNMENT:
        raise EngineError(f"shards of {shard} bytes: not a positive multiple of {ALIGNMENT}; give one")
    if weights not in ENCODINGS:
        raise EngineError(f"weights '{weights}': none of {', '.join(ENCODINGS)}; give one of them")
    with temporary_folder(path.parent, mode) as folder:
        try:
            with ShardWriter(folder, shard) as sink:
                stored = write_weights(model, sink, weights)
            header = encode(model, stored)
            decode(header)
        except HeaderError as error:
            raise ModelError(f"{path}: the model cannot be saved: {error}; this is a fault of its maker") from error
        except UntypedError as error:
            raise ModelError(
                f"{path}: the weights cannot be stored as '{weights}': the model comes from a file, which does not say "
                "which of them are float32; compile the ONNX file again, and save that"
            ) from error
        (folder / NAME).write_bytes(header)
        rename_folder(folder, path)
