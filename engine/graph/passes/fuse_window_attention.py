"""Make one WindowAttention of a Swin block's cut into windows, attention within them, and way back to the grid.

The projections move in front of the cut and behind the way back: they treat each token by itself, so that tokens which
only pad the grid need no projection of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.fold_constants import is_large_sum
from engine.graph.passes.match import Matcher, new_node, scalar
from engine.graph.rearrangement import RELABELLINGS, Rearrangements
from engine.graph.target import ANY, Target
from engine.ops import evaluate, infer
from engine.ops.matmul_nbits import MICROSOFT
from engine.ops.window_attention import WindowGrid


def fuse_window_attention(graph: Graph, target: Target = ANY) -> int:
    """Replace each such attention over constant weights. Returns how many went."""
    matcher = Matcher(graph, target)
    rearrangements = Rearrangements(matcher.producers)
    count = 0
    for node in list(graph.nodes):
        for value in dict.fromkeys(node.used_inputs()):
            attention = _Attention.ending_in(value, matcher, rearrangements) if rearrangements.moves(value) else None
            if attention is not None:
                count += matcher.replace(matcher.producers[value], attention.nodes(value))
    matcher.finish()
    remove_dead_code(graph)
    return count


PROJECTIONS = (("", "MatMul"), (MICROSOFT, "MatMulNBits"), (MICROSOFT, "MatMulBnb4"))
"""Operators whose first input is multiplied by the matrix that their other inputs hold, packed or not."""


@dataclass(frozen=True, slots=True)
class _Linear:
    """``x @ weights + bias`` for each token; ``weights`` are all that ``product`` reads beside x."""

    x: Value
    bias: Value | None
    product: Node
    sum: Node | None

    @staticmethod
    def producing(value: Value, matcher: Matcher) -> _Linear | None:
        """The layer that makes ``value``, if its weights and bias are constant."""
        total = matcher.producer(value, "Add")
        bias = None
        if total is not None:
            constants = [item for item in total.used_inputs() if item.is_constant]
            others = [item for item in total.used_inputs() if not item.is_constant]
            if len(constants) != 1 or constants[0].shape != value.shape[-1:]:
                return None
            bias, value = constants[0], others[0]
        product = matcher.producers.get(value)
        if product is None or (product.domain, product.op) not in PROJECTIONS:
            return None
        weights = list(product.used_inputs())[1:]
        plain = len(weights[0].shape) == 2 if product.op == "MatMul" else product.optional_input(5) is None
        if not plain or not all(item.is_constant for item in weights):
            return None
        return _Linear(product.input(0), bias, product, total)

    def applied_to(self, x: Value, name: str, output: Value | None = None) -> list[Node]:
        """The same layer of another input; ``output`` is what it makes."""
        old = self.product
        product = Node(
            old.op,
            [x, *old.inputs[1:]],
            [],
            attributes=old.attributes,
            domain=old.domain,
            version=old.version,
            name=f"{name}/{old.op}",
        )
        product.outputs = [
            output if output is not None and self.sum is None else Value(product.name, infer(product)[0])
        ]
        if self.sum is None:
            return [product]
        total = new_node("Add", [self.bias, product.output], f"{name}/Add", version=self.sum.version, output=output)
        return [product, total]


@dataclass(frozen=True, slots=True)
class _Attention:
    """A match: ``tokens`` go in, ``qkv`` and ``output_layer`` are the projections, the rest lies in between."""

    tokens: Value
    grid: WindowGrid
    heads: int
    scale: float
    bias: np.ndarray
    mask_value: float
    qkv: _Linear
    output_layer: _Linear

    @staticmethod
    def ending_in(value: Value, matcher: Matcher, rearrangements: Rearrangements) -> _Attention | None:
        """The attention whose result, moved back to the grid, is ``value`` ``[1, tokens, C]``."""
        source = rearrangements.source(value)
        output_layer = None if source is None else _Linear.producing(source, matcher)
        if source is None or output_layer is None or len(value.shape) != 3 or value.shape[0] != 1:
            return None
        heads_output = rearrangements.source(output_layer.x)
        values = None if heads_output is None else matcher.producer(heads_output, "MatMul")
        softmax = None if values is None else matcher.producer(values.input(0), "Softmax")
        if values is None or softmax is None or len(values.output.shape) != 4 or not _on_last_axis(softmax):
            return None
        scores = _Scores.before(softmax, matcher)
        if scores is None:
            return None
        (q, scale_q), (k, scale_k), (v, scale_v) = (
            _without_scale(item, matcher, rearrangements) for item in (*scores.product.used_inputs(), values.input(1))
        )
        sources = {rearrangements.source(item) for item in (q, k, v)}
        projection = sources.pop()
        qkv = None if projection is None or sources else _Linear.producing(projection, matcher)
        if qkv is None or scale_v != 1:
            return None
        windows, heads, area, size = values.output.shape
        channels = heads * size
        shape = windows, heads, area, size

        def part(index: int) -> np.ndarray:
            """The elements of q, k or v, as ``shape`` has them."""
            places = windows, area, 3, heads, size
            return rearrangements.numbers(prod(places)).reshape(places)[:, :, index].swapaxes(1, 2)

        def heads_side_by_side() -> np.ndarray:
            return rearrangements.numbers(prod(shape)).reshape(shape).swapaxes(1, 2)

        in_order = (
            qkv.product.output.shape[-1] == 3 * channels
            and v.shape == q.shape == shape
            and k.shape == (windows, heads, size, area)
            and rearrangements.matches(q, ("q", *shape), lambda: part(0))
            and rearrangements.matches(k, ("k", *shape), lambda: part(1).swapaxes(2, 3))
            and rearrangements.matches(v, ("v", *shape), lambda: part(2))
            and rearrangements.matches(output_layer.x, ("joined", *shape), heads_side_by_side)
        )
        if not in_order:
            return None
        tokens = rearrangements.source(qkv.x)
        if tokens is None or tokens.type != value.type or tokens.shape[2] != channels:
            return None
        grid = next((grid for grid in _grids(qkv.x, area, matcher) if _fits(grid, qkv.x, value, rearrangements)), None)
        parts = None if grid is None else scores.parts(windows, heads, grid)
        if grid is None or parts is None:
            return None
        bias, mask_value = parts
        return _Attention(
            tokens=tokens,
            grid=grid,
            heads=heads,
            scale=scale_q * scale_k,
            bias=bias,
            mask_value=mask_value,
            qkv=qkv,
            output_layer=output_layer,
        )

    def nodes(self, output: Value) -> list[Node]:
        """The fused nodes; the last makes ``output``."""
        name = self.output_layer.product.name
        projections = self.qkv.applied_to(self.tokens, f"{name}/qkv")
        x = projections[-1].output
        channels = x.shape[-1]
        padding = np.zeros(channels, x.dtype) if self.qkv.bias is None else self.qkv.bias.data
        inputs: list[Value | None] = [x, Value.constant(f"{name}/bias", np.ascontiguousarray(self.bias))]
        if self.grid.is_padded and padding is not None:
            inputs.append(Value.constant(f"{name}/padding", padding))
        grid = self.grid
        attributes = {
            "height": grid.height,
            "width": grid.width,
            "window": grid.window,
            "shift": grid.shift,
            "heads": self.heads,
            "scale": self.scale,
            "mask_value": self.mask_value,
        }
        attention = Node(
            "WindowAttention", inputs, [None], attributes=attributes, domain=INTERNAL_DOMAIN, name=f"{name}/attention"
        )
        attention.outputs = [Value(f"{name}/attention", infer(attention)[0])]
        return [*projections, attention, *self.output_layer.applied_to(attention.output, name, output)]


@dataclass(frozen=True, slots=True)
class _Scores:
    """The product of q and k', and the constants that are added to it, each broadcast to the scores at its place."""

    product: Node
    addends: list[np.ndarray]

    @staticmethod
    def before(softmax: Node, matcher: Matcher) -> _Scores | None:
        value, addends = softmax.input(0), []
        while True:
            node = matcher.producer(value, "Add", "MatMul", *RELABELLINGS)
            if node is None:
                return None
            if node.op == "MatMul":
                break
            others = [item for item in node.used_inputs() if not item.is_constant and not _sum(item, matcher)]
            if len(others) != 1:
                return None
            if node.op == "Add":
                (constant,) = (item for item in node.used_inputs() if item is not others[0])
                addends += [np.broadcast_to(term, value.shape) for term in _terms(constant, matcher)]
                if others[0].shape != value.shape:
                    return None
            value = others[0]
        if len(node.output.shape) != 4 or softmax.input(0).shape != node.output.shape:
            return None
        return _Scores(node, addends)

    def parts(self, windows: int, heads: int, grid: WindowGrid) -> tuple[np.ndarray, float] | None:
        """The bias of each pair of places, ``[heads, area, area]``, and the mask value; None if unlike."""
        area = grid.area
        bias = np.zeros((heads, area, area), self.product.output.dtype)
        mask_value = 0.0
        for addend in self.addends[::-1]:
            term = _by_window(addend, (windows, heads, area, area))
            if term is None:
                return None
            if windows == 1 or term.strides[0] == 0:
                bias = bias + term[0]
                continue
            alike = heads > 1 and term.strides[1] == 0
            if alike:
                term = term[:, :1]
            # the bias is what a pair of places has in a window where it is not masked; masked everywhere, it may be any
            pair_bias = np.zeros((1, area, area), term.dtype) if alike else term.max(0)
            pair_bias = np.where(np.isneginf(pair_bias), pair_bias.dtype.type(0), pair_bias)
            window_value = _mask_value(term, pair_bias, grid)
            if mask_value or not _is_masked(term, pair_bias, window_value, grid):
                return None
            bias, mask_value = bias + pair_bias, window_value
        return bias, mask_value


def _sum(value: Value, matcher: Matcher) -> Node | None:
    """The large sum of constants that ``value`` is, in this shape or another, where it waits to be folded."""
    node = matcher.producer(value, "Add", *RELABELLINGS)
    while node is not None and node.op != "Add":
        node = matcher.producer(node.input(0), "Add", *RELABELLINGS)
    return node if node is not None and is_large_sum(node) else None


def _terms(value: Value, matcher: Matcher) -> list[np.ndarray]:
    """What adds up to a constant: itself, or the terms of a sum that waits."""
    if value.data is not None:
        return [value.data]
    node = _sum(value, matcher)
    assert node is not None
    terms = [item.data for item in node.used_inputs() if item.data is not None]
    if node.output is value:
        return terms
    return [evaluate(node, terms)[0].reshape(value.shape)]


def _by_window(addend: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """``addend`` as ``[windows, heads, area, area]``, without copying what is repeated."""
    if addend.ndim == 5 and addend.shape[0] == 1:
        addend = addend[0]
    return addend if addend.shape == shape else None


def _mask_value(term: np.ndarray, pair_bias: np.ndarray, grid: WindowGrid) -> float:
    """What separate places have added: a whole number, which a bias of small numbers cannot hide."""
    for window, regions in zip(term, grid.regions(), strict=True):
        apart = regions[:, None] != regions[None, :]
        if apart.any():
            return float(np.round((window[0] - pair_bias[0])[apart][0]))
    return 0.0


def _is_masked(term: np.ndarray, pair_bias: np.ndarray, mask_value: float, grid: WindowGrid) -> bool:
    """Whether each term is ``pair_bias``, with ``mask_value`` added where the roll brought separate places together."""
    kind = term.dtype.type
    for window, regions in zip(term, grid.regions(), strict=True):
        apart = regions[:, None] != regions[None, :]
        if not np.array_equal(window, pair_bias + np.where(apart, kind(mask_value), kind(0))):
            return False
    return True


def _without_scale(value: Value, matcher: Matcher, rearrangements: Rearrangements) -> tuple[Value, float]:
    """What ``value`` is a multiple of, by a constant number somewhere on its way, and that number."""
    product = matcher.producer(value, "Mul")
    if product is None:
        return value, 1.0
    for factor, other in (product.inputs, product.inputs[::-1]):
        number = scalar(factor)
        if number is not None and other is not None and other.shape == value.shape and rearrangements.source(other):
            return other, number
    return value, 1.0


def _on_last_axis(softmax: Node) -> bool:
    rank = len(softmax.output.shape)
    default = -1 if softmax.version >= 13 else 1
    return softmax.attr("axis", default) in (-1, rank - 1)


def _grids(windows: Value, area: int, matcher: Matcher) -> Iterator[WindowGrid]:
    """The grids that tokens on their way into windows may have: as they are first laid out, with and without a roll."""
    window = isqrt(area)
    grid_shape = None
    value: Value | None = windows
    while value is not None and (node := matcher.producers.get(value)) is not None and not node.domain:
        value = next((item for item in node.used_inputs() if not item.is_constant), None)
        if node.op == "Reshape" and len(node.output.shape) == 4 and value is not None:
            grid_shape = node.output.shape
            if len(value.shape) == 3:
                break
    if grid_shape is not None and window * window == area:
        for shift in (0, window // 2):
            yield WindowGrid(grid_shape[1], grid_shape[2], window, shift)


def _fits(grid: WindowGrid, windows: Value, back: Value, rearrangements: Rearrangements) -> bool:
    """Whether tokens go into the windows of ``grid`` and come back to where they were."""
    channels = back.shape[-1]
    if grid.height * grid.width != back.shape[1] or windows.type.size != grid.count * grid.area * channels:
        return False

    def into() -> np.ndarray:
        tokens = grid.tokens().reshape(-1, 1)
        elements = tokens * channels + np.arange(1, channels + 1, dtype=np.int32)
        return np.where(tokens < 0, np.int32(0), elements) if grid.is_padded else elements

    def back_again() -> np.ndarray:
        tokens = grid.tokens().ravel()
        place = np.empty(grid.height * grid.width, np.int32)
        inside = tokens >= 0
        place[tokens[inside]] = np.flatnonzero(inside)
        return place[:, None] * channels + np.arange(1, channels + 1, dtype=np.int32)

    return rearrangements.matches(windows, ("into", grid), into) and rearrangements.matches(
        back, ("back", grid), back_again
    )
