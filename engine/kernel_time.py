"""What a session can say about its own speed: each kernel's time, work and memory traffic."""

from __future__ import annotations

from dataclasses import dataclass


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
