"""A compiled model out of a folder, which is trusted in nothing."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from engine import arguments
from engine.compiled.fields import HeaderError
from engine.compiled.header import MAX_BYTES, NAME, Header, decode
from engine.compiled.model import CompiledModel
from engine.compiled.shards import MappedWeights, damaged, open_file
from engine.errors import ModelError


def load_compiled(folder: str | PathLike[str], *, trust: bool = False) -> CompiledModel:
    """A compiled model that ``save`` has written, its weights mapped; those that are stored narrow are widened to
    float32 when they are asked for.

    The header's digest, every type, size and range, and the sizes of all files are checked. The content of the weights
    is not: ``weights.verify()`` does that. The files may be deleted from then on, but not cut short or written to.

    Args:
        folder: that ``save`` was given. No link in it is followed.
        trust: run its shaders without the implementation's checks of bounds, where ``save`` was given a model whose
            shaders are known to need none. Only for a file whose maker is trusted as its code would be.

    Raises:
        InputError: ``folder`` is no path.
        ModelError: there is no compiled model, it is damaged, of another version, or says what cannot be.
    """
    arguments.check("folder", folder, (str, PathLike), "a path")
    path = Path(folder)
    try:
        header, weights = read(path)
    except HeaderError as error:
        raise damaged(path, str(error)) from error
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else NAME
        raise damaged(path, f"there is no {missing} in it") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error
    return header.model(weights, trusted=trust)


def read(path: Path) -> tuple[Header, MappedWeights]:
    """What the folder holds. Raises HeaderError, which does not name the folder, and OSError."""
    header = decode(header_bytes(path))
    return header, MappedWeights(path, header.plan.constant_sizes, header.stored)


def header_bytes(path: Path) -> bytes:
    """The bytes of a folder's header, and no more than one beyond those that it may have. As ``read`` raises."""
    with open_file(path / NAME) as file:
        return file.read(MAX_BYTES + 1)
