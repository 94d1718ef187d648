"""What a session can say about its own speed: each kernel's time, work and memory traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.gpu.plan.plan import Command
    from engine.gpu.program.dispatch import Operand


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel call: the operator and node that it computes, and the seconds that it took.

    ``flops`` are the multiplications and additions, ``nbytes`` the bytes of the elements that it reads and writes, each
    counted once; both are 0 where they are not known, as on the processor.
    """

    op: str
    node: str
    kernel: str
    seconds: float
    flops: int = 0
    nbytes: int = 0


def kernel_time(command: Command, seconds: float) -> KernelTime:
    """The figures of one command of a GPU plan."""
    dispatch = command.dispatch
    nbytes = sum(_traffic_bytes(operand, command.share) for operand in dispatch.operands)
    flops = round(dispatch.flops * command.share)
    return KernelTime(dispatch.op, dispatch.node, dispatch.kernel, seconds=seconds, flops=flops, nbytes=nbytes)


def _traffic_bytes(operand: Operand, share: float) -> int:
    first, last = operand.tensor.span()
    # a view that repeats elements has more of them than memory holds, one with gaps fewer
    elements = min(operand.tensor.size, last - first)
    return round(elements * operand.element_bytes * (share if operand.span else 1))
