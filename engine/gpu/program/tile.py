"""The register tile that kernels of products share (shaders/bases/tile.wgsl)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """Pixels bm and channels bn of a workgroup, step bk along k, the register tile tm x tn of an invocation.

    Workgroup memory is 4 (bm + bn) bk bytes for a tile of both operands, 16 KiB at most. There are (bm / tm) (bn / tn)
    invocations, 256 at most, and each loads at least one item of both operands.
    """

    bm: int
    bn: int
    bk: int
    tm: int
    tn: int
