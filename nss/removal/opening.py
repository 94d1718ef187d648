"""What the engine raises over a model, as the errors of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engine
from nss.errors import GpuUnavailableError, ModelUnavailableError, UsageError


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turn what the engine raises over the model at ``path`` into the command's errors.

    Raises:
        UsageError: the backend, the adapter or the precision is not there.
        GpuUnavailableError: the GPU was lost.
        ModelUnavailableError: anything else is wrong with the model, its size for this machine included.
    """
    try:
        yield
    except engine.TooLargeError as error:
        raise ModelUnavailableError(f"{path}: {error}") from error
    except engine.DeviceLostError as error:
        raise GpuUnavailableError(f"{path}: {error}; run it again, or with backend 'numpy'") from error
    except engine.BackendError as error:
        raise UsageError(str(error)) from error
    except engine.EngineError as error:
        names_path = str(error).removeprefix("model '").startswith(f"{path}' ")
        raise ModelUnavailableError(str(error) if names_path else f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelUnavailableError(f"{path}: not enough memory to open this model") from error
