"""What float16 could not hold: a run in half precision whose outputs are not numbers, though its inputs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.errors import BackendError


def check_outputs(inputs: Sequence[np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
    """Raise BackendError, which names precision 'f32', where an output of finite inputs holds NaN or an infinity."""
    names = [name for name, array in outputs.items() if not _is_finite(array)]
    if names and all(map(_is_finite, inputs)):
        raise BackendError(
            f"output '{names[0]}' holds NaN or infinite values: numbers on the way to it are beyond 65,504, where "
            "float16 ends; use precision 'f32'"
        )


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
