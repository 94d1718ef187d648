"""A WindowAttention node as kernels see it, and what their dispatches share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.compiled.model import ALIGNMENT
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.window_attention import WindowGrid


@dataclass(frozen=True, slots=True)
class Attention:
    """One WindowAttention node: its projections ``x`` ``[B, tokens, 3 C]``, gapless, its ``padding``, where windows
    reach beyond the grid, and the result ``y`` ``[B, tokens, C]``, whose channels lie in fours."""

    node: Node
    grid: WindowGrid
    x: Tensor
    padding: Tensor | None
    y: Tensor

    @property
    def heads(self) -> int:
        """Heads."""
        return self.node.attributes["heads"]

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.x.shape[-1] // 3 // self.heads

    @property
    def windows(self) -> int:
        """Windows of all images."""
        return self.x.shape[0] * self.grid.count

    @property
    def key(self) -> str:
        """What decides how fast it is computed."""
        grid = self.grid
        bias = "constant" if self.node.input(1).is_constant else "computed"
        return f"{self.x.dtype} {bias} z{self.windows} h{self.heads} c{self.size} w{grid.window} s{grid.shift}"


def dispatch(
    kernel: str,
    attention: Attention,
    lowering: Lowering,
    bias: Tensor,
    *,
    blocks: int,
    x_vec: int,
    bias_vec: int = 1,
    geometry: Mapping[str, object],
) -> None:
    """Add the dispatch of a kernel that computes a head of a window in ``blocks`` workgroups, from ``x_vec`` channels a
    load and ``bias_vec`` numbers of the bias; ``geometry`` are template parameters of its own."""
    node, grid, x, y, heads = attention.node, attention.grid, attention.x, attention.y, attention.heads
    numbers = Numbers()
    mask_value = float(node.attributes["mask_value"])
    pieces = pieces_of(x, lowering.binding_limit)

    def workgroups(rows: int) -> int:
        return rows * heads * blocks

    lowering.dispatch(
        Dispatch(
            kernel=kernel,
            params={
                "window": grid.window,
                "size": attention.size,
                "scale": numbers.scalar("scale", node.attributes["scale"]),
                # no score is near this number, and with infinity a difference of two would be NaN
                "mask_value": numbers.scalar("mask_value", max(-1e30, mask_value)) if mask_value else "",
                "has_padding": attention.padding is not None,
                "blocks": blocks,
                "x_vec": x_vec,
                **geometry,
                "pieces": len(pieces),
                "item": "vec4<f16>" if y.dtype == "f16" else "vec4<f32>",
            },
            reads=[
                *(Operand(f"x{index}", piece, vec=x_vec) for index, piece in enumerate(pieces)),
                Operand("bias", bias, vec=bias_vec),
                *([] if attention.padding is None else [Operand("padding", attention.padding, vec=4)]),
            ],
            writes=[Operand("y", y, vec=4)],
            rows=attention.windows,
            grid=workgroups,
            uniforms={
                **numbers.uniforms,
                "height": grid.height,
                "width": grid.width,
                "padded_height": grid.down * grid.window,
                "padded_width": grid.across * grid.window,
                "across": grid.across,
                "windows": grid.count,
                "shift": grid.shift,
                "heads": heads,
                "channels": x.shape[2] // 3,
                "piece_tokens": pieces[0].shape[1],
                "x_image": x.strides[0],
                "x_token": x.strides[1],
                "y_image": y.strides[0],
                "y_token": y.strides[1],
            },
            flops=4 * attention.windows * heads * grid.area**2 * attention.size,
        )
    )


def piece_tokens(nbytes: int, tokens: int, limit: int) -> int:
    """Tokens of a piece of the projections of one image, which take ``nbytes``."""
    if nbytes <= limit:
        return tokens
    # a binding begins at its first token, rounded down to the alignment
    max_tokens = max(1, (limit - ALIGNMENT) * tokens // nbytes)
    return -(-tokens // -(-tokens // max_tokens))


def pieces_of(x: Tensor, limit: int) -> list[Tensor]:
    """x as the fewest equal runs of tokens that fit a binding each; one run where there are several images."""
    tokens = x.shape[1] if x.shape[0] > 1 else piece_tokens(x.nbytes, x.shape[1], limit)
    return [x.slice(1, first, min(tokens, x.shape[1] - first)) for first in range(0, x.shape[1], tokens)]
