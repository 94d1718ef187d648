"""What may stand before and behind a network's commands, within the same submission.

A prologue makes inputs of the network on the GPU, from data that it uploads; an epilogue goes on with its outputs and
says what is read back. Both are of one run, and those of two runs may differ: photos of different sizes. Their buffers
are their own and outlive the run; one buffer may serve all runs, since a queue runs in order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.gpu.device.base import BoundCommand


@dataclass(frozen=True, slots=True)
class Upload:
    """An array, of any type and contiguous, for a byte offset of a buffer with the usage COPY_DST.

    The offset is a multiple of 4. Bytes that make up no 4-byte word are followed by up to 3 of any value, for which
    the buffer has room. The array is copied before ``submit`` returns.
    """

    array: np.ndarray
    buffer: Any
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Readback:
    """Bytes of a buffer with the usage COPY_SRC, read after the run; offset and size are multiples of 4."""

    buffer: Any
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Prologue:
    """``uploads``, then ``commands``, which write the ``inputs`` of the network with these numbers.

    Those inputs are given as None to ``GpuExecutor.submit``; ``GpuExecutor.input_binding`` says where they are.
    """

    uploads: Sequence[Upload]
    commands: Sequence[BoundCommand]
    inputs: Collection[int] = (0,)


@dataclass(frozen=True, slots=True)
class Epilogue:
    """``commands``, which read the network's outputs (``GpuExecutor.output_binding``), then ``readback``.

    Without ``outputs`` the outputs themselves are not read back. Uniforms that its commands need go up by ``uploads``,
    before the network runs.
    """

    commands: Sequence[BoundCommand]
    readback: Sequence[Readback]
    outputs: bool = False
    uploads: Sequence[Upload] = ()
