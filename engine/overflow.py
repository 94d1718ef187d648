"""What float16 could not hold: a run whose outputs are not numbers, though its inputs are.

In precision "f16" float16 ends at 65,504. In "f32" products on matrix units take each float32 as the sum of two
float16, scaled by a power of two: what is beyond their end becomes NaN where it is loaded, and so reaches an output, or
does not count. Such a run is computed once more in "f32-strict". Models in which NaN might be dropped on the way do not
run so (engine/gpu/lowering/split_operands.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.errors import BackendError


class SplitOverflowError(BackendError):
    """A run in precision "f32" met numbers beyond what its products on matrix units hold."""

    def __init__(self, output: str) -> None:
        super().__init__(
            f"output '{output}' holds NaN or infinite values: numbers on the way to it are beyond what float32 on "
            "matrix units holds; use precision 'f32-strict'"
        )


def check_outputs(inputs: Sequence[np.ndarray], outputs: Mapping[str, np.ndarray], precision: str = "f16") -> None:
    """Raise where an output of finite inputs holds NaN or an infinity.

    A BackendError, which names precision 'f32', of a model that computes in "f16", and of one in "f32-split" a
    SplitOverflowError.
    """
    names = [name for name, array in outputs.items() if not _is_finite(array)]
    if not names or not all(map(_is_finite, inputs)):
        return
    if precision == "f32-split":
        raise SplitOverflowError(names[0])
    raise BackendError(
        f"output '{names[0]}' holds NaN or infinite values: numbers on the way to it are beyond 65,504, where "
        "float16 ends; use precision 'f32'"
    )


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
