"""What DynamicQuantizeLinear, and a convolution that quantises what it loads, have in common."""

from __future__ import annotations

import numpy as np

from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand
from engine.gpu.program.expressions import conversion
from engine.gpu.program.tensor import Tensor

AS_BYTE = conversion("(round(divided(a0, a1)) + F(a2))", np.dtype(np.float32), np.dtype(np.uint8))
"""The byte that DynamicQuantizeLinear makes of a0 by the scale a1 and the zero point a2."""

MAX_PARTS = 1024
"""Workgroups that find the extremes of a tensor, at the most: enough for any GPU, and few enough for one to join."""


def quantization(lowering: Lowering, extremes: Tensor, scale: Tensor, zero: Tensor | None = None) -> None:
    """Add what finds the scale and the zero point of a tensor from its extremes ``[parts, 2]``.

    Without ``zero`` both are floats, one behind the other in ``scale``.
    """
    lowering.dispatch(
        Dispatch(
            kernel="quantization",
            params={"invocations": INVOCATIONS, "joined": zero is None},
            reads=[Operand("extremes", extremes)],
            writes=[Operand("scale", scale), *([] if zero is None else [Operand("zero", zero)])],
            rows=1,
            grid=lambda _: 1,
            uniforms={"parts": extremes.shape[0]},
        )
    )
