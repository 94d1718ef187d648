"""Element-wise float32 nodes as one list of NumPy calls, for blocks that stay in cache from the first to the last.

A call passes once over a block, so what a chain costs is the number of its calls, not how many nodes they came from:
intermediate results live in a few registers, blocks of scratch that are used again as soon as nothing reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np

from engine.cpu.threads import Do, call
from engine.graph.ir import INTERNAL_DOMAIN, Node, Value
from engine.ops.registry import apply_reference

Compute = Callable[..., Any]
"""A ufunc: operands, then where the result goes, which may be one of them."""

clip: Compute = getattr(sys.modules.get("numpy._core.umath"), "clip", np.clip)
"""NumPy's ufunc, where a release has it: the public function puts 3 microseconds of Python in front of it."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A number, an operand that the chain is given, or what an earlier call made."""

    number: np.float32 | None = None
    given: int | None = None
    made: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One pass: ``compute`` of the operands."""

    compute: Compute
    operands: tuple[Operand, ...]


Slot = tuple[int, Any]
"""Where an operand lies in a run: (NUMBER, the number), (GIVEN, which), (REGISTER, which), (ROOT, 0) or (OUT, 0)."""
NUMBER, GIVEN, REGISTER, ROOT, OUT = range(5)


class _Builder:
    """The calls of a chain while it is made."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, compute: Compute, *operands: Operand | float) -> Operand:
        """Append a call; numbers stand for float32 scalars."""
        given = tuple(each if isinstance(each, Operand) else Operand(number=np.float32(each)) for each in operands)
        self.calls.append(Call(compute, given))
        return Operand(made=len(self.calls) - 1)


Expand = Callable[[_Builder, Node, Sequence[Operand]], Operand]


def _ufunc(compute: Compute) -> Expand:
    return lambda to, _, operands: to.call(compute, *operands)


def _folded(compute: Compute) -> Expand:
    """An operator of any number of inputs; one of them alone is itself, once more."""

    def expand(to: _Builder, _: Node, operands: Sequence[Operand]) -> Operand:
        result = operands[0]
        for operand in operands[1:]:
            result = to.call(compute, result, operand)
        return result if len(operands) > 1 else to.call(np.positive, result)

    return expand


def _divide(to: _Builder, _: Node, operands: Sequence[Operand]) -> Operand:
    a, b = operands
    if b.number is not None and np.isfinite(np.float32(1) / b.number) and abs(b.number) < 2**100:
        return to.call(np.multiply, a, float(np.float64(1) / np.float64(b.number)))
    return to.call(np.divide, a, b)


def _clip(to: _Builder, node: Node, operands: Sequence[Operand]) -> Operand:
    if node.version < 11:
        largest = float(np.finfo(np.float32).max)
        return to.call(clip, operands[0], node.attr("min", -largest), node.attr("max", largest))
    bounds = [-inf, inf]
    for side in (0, 1):
        bound = node.constant(side + 1)
        if bound is not None:
            bounds[side] = float(bound.item())
    return to.call(clip, operands[0], *bounds)


def _relu(to: _Builder, _: Node, operands: Sequence[Operand]) -> Operand:
    # NumPy's maximum has no vector code for a scalar operand, and takes four times as long
    return to.call(clip, operands[0], 0, inf)


def _leaky_relu(to: _Builder, node: Node, operands: Sequence[Operand]) -> Operand:
    return to.call(np.maximum, operands[0], to.call(np.multiply, operands[0], node.attr("alpha", 0.01)))


def _sigmoid(to: _Builder, _: Node, operands: Sequence[Operand]) -> Operand:
    return to.call(np.reciprocal, _one_and_decay(to, operands[0]))


def _swish(to: _Builder, node: Node, operands: Sequence[Operand]) -> Operand:
    if SCALED in node.attributes:  # x sigmoid(x) = h + h tanh(h) of h = x/2
        return to.call(np.multiply, to.call(np.add, to.call(np.tanh, operands[0]), 1), operands[0])
    alpha = node.attr("alpha", 1.0)
    x = operands[0] if alpha == 1 else to.call(np.multiply, operands[0], alpha)
    return to.call(np.divide, operands[0], _one_and_decay(to, x))


def _one_and_decay(to: _Builder, x: Operand) -> Operand:
    """1 + exp(-x)."""
    return to.call(np.add, to.call(np.exp, _negative(to, None, [x])), 1)


def _negative(to: _Builder, _: Node | None, operands: Sequence[Operand]) -> Operand:
    # NumPy 2.3's negative takes wrong elements where few of them lie apart
    return to.call(np.multiply, operands[0], -1)


def _hard_sigmoid(to: _Builder, node: Node, operands: Sequence[Operand]) -> Operand:
    x = operands[0] if SCALED in node.attributes else to.call(np.multiply, operands[0], node.attr("alpha", 0.2))
    return to.call(clip, to.call(np.add, x, node.attr("beta", 0.5)), 0, 1)


def _hard_swish(to: _Builder, node: Node, operands: Sequence[Operand]) -> Operand:
    if SCALED in node.attributes:  # of h = c x, where c c is the factor: h clip(h + 3c, 0, 6c)
        scale = node.attributes[SCALED]
        return to.call(np.multiply, to.call(clip, to.call(np.add, operands[0], 3 * scale), 0, 6 * scale), operands[0])
    factor = node.attr(FACTOR, 1.0) / 6
    gate = to.call(clip, to.call(np.add, operands[0], 3), 0, 6)
    return to.call(np.multiply, to.call(np.multiply, gate, factor), operands[0])


def _power(to: _Builder, _: Node, operands: Sequence[Operand]) -> Operand:
    return to.call(np.multiply, operands[0], operands[0])


EXPANSIONS: dict[str, Expand] = {
    "Abs": _ufunc(np.abs),
    "Add": _ufunc(np.add),
    "Clip": _clip,
    "Div": _divide,
    "Exp": _ufunc(np.exp),
    "Floor": _ufunc(np.floor),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Log": _ufunc(np.log),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Mul": _ufunc(np.multiply),
    "Neg": _negative,
    "Pow": _power,
    "Reciprocal": _ufunc(np.reciprocal),
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Sqrt": _ufunc(np.sqrt),
    "Sub": _ufunc(np.subtract),
    "Sum": _folded(np.add),
    "Swish": _swish,
    "Tanh": _ufunc(np.tanh),
}
"""The calls of each operator."""

NANOSECONDS: dict[Compute, float] = {
    np.exp: 0.5,
    np.tanh: 0.4,
    np.log: 0.5,
    np.reciprocal: 0.2,
    np.divide: 0.15,
    np.sqrt: 0.2,
}
"""What a call takes for each element where that is not 0.1."""


def takes(node: Node) -> bool:
    """Whether the node is element-wise, over float32 alone, and among EXPANSIONS as its attributes are."""
    if node.domain or node.op not in EXPANSIONS or len(node.outputs) != 1:
        return False
    inputs = list(node.used_inputs())
    if any(value.dtype != np.float32 for value in (*inputs, node.output)) or not node.output.type.size:
        return False
    if node.op == "Clip":
        return all(value.is_constant for value in inputs[1:])
    if node.op == "LeakyRelu":
        return 0 <= float(node.attr("alpha", 0.01)) <= 1
    if node.op == "Pow":
        exponent = node.constant(1)
        return exponent is not None and exponent.size == 1 and float(exponent.item()) == 2
    return True


class Chain:
    """The calls of some element-wise ``nodes`` in running order, of which the last one's output is the result.

    ``root`` is a value that the caller makes, block by block, before it runs the chain; with ``scales_root`` it is to
    make ``root_scale`` times as much, which may spare calls. ``given`` are the inputs that are neither numbers, nor the
    root, nor made by the nodes; ``registers`` is how many blocks of scratch a run needs.
    """

    def __init__(self, nodes: Sequence[Node], root: Value | None = None, *, scales_root: bool = False) -> None:
        self.given: list[Value] = []
        nodes, self.root_scale = _with_factors(_with_swish(nodes)), 1.0
        if scales_root:
            nodes, self.root_scale = _with_scaled_root(nodes, root)
        to = _Builder()
        values: dict[Value, Operand] = {} if root is None else {root: Operand(made=-1)}
        for node in nodes:
            operands = [self._operand(value, values) for value in _operands_of(node)]
            values[node.output] = (
                EXPANSIONS[node.op](to, node, operands) if takes(node) else to.call(_reference(node), *operands)
            )
        self.nanoseconds = sum(NANOSECONDS.get(call.compute, 0.1) for call in to.calls)
        self._calls, self.registers = _allocate(to.calls)

    def _operand(self, value: Value, values: dict[Value, Operand]) -> Operand:
        if value not in values:
            if value.data is not None and value.data.size == 1:
                values[value] = Operand(number=np.float32(value.data.item()))
            else:
                values[value] = Operand(given=len(self.given))
                self.given.append(value)
        return values[value]

    def run(
        self,
        given: Sequence[np.ndarray],
        root: np.ndarray | None,
        out: np.ndarray,
        scratch: np.ndarray,
        do: Do = call,
    ) -> None:
        """Compute a block: ``given`` broadcast to ``out``, ``root`` has its shape, may be it, and is overwritten.

        ``out`` may be one of ``given``. ``scratch`` is flat float32, ``registers`` times as long as the block.
        """
        size, shape = out.size, out.shape
        registers = [scratch[i * size : (i + 1) * size].reshape(shape) for i in range(self.registers)]
        places = (None, given, registers, (root,), (out,))
        for compute, operands, (kind, index) in self._calls:
            arrays = [at if of == NUMBER else places[of][at] for of, at in operands]  # type: ignore[index]
            do(compute, *arrays, places[kind][index])  # type: ignore[index]


def _operands_of(node: Node) -> list[Value]:
    inputs = list(node.used_inputs())
    return inputs[:1] if node.op in ("Clip", "Pow") and not node.domain else inputs


def _reference(node: Node) -> Compute:
    """The operator's reference as a call."""
    return lambda *operands: np.copyto(operands[-1], apply_reference(node, operands[:-1])[0])


def _with_swish(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, with x Sigmoid(x) as Swish, which divides where they take the reciprocal and multiply."""
    makers = {node.output: node for node in nodes}
    result: list[Node] = []
    for node in nodes:
        for x, gate in ((0, 1), (1, 0)) if node.op == "Mul" and not node.domain else ():
            maker = makers.get(node.input(gate))
            alone = maker is not None and sum(maker.output in other.inputs for other in nodes) == 1
            if maker is not None and alone and maker.op == "Sigmoid" and maker.input(0) is node.input(x):
                result.remove(maker)
                node = Node("Swish", [node.input(x)], node.outputs, version=24, name=node.name)
                break
        result.append(node)
    return result


def _with_factors(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, with a number behind a HardSwish as a factor of it, which multiplies by one number in any case."""
    result: list[Node] = []
    for node in nodes:
        last = result[-1] if result else None
        if node.op == "Mul" and not node.domain and last is not None and last.op == "HardSwish":
            numbers = [value.data for value in node.used_inputs() if value.data is not None and value.data.size == 1]
            readers = [other for other in nodes if last.output in other.inputs]
            if numbers and readers == [node] and node.output.shape == last.output.shape:
                factor = last.attr(FACTOR, 1.0) * float(numbers[0].item())
                result[-1] = Node(last.op, last.inputs, node.outputs, {FACTOR: factor}, version=14, name=last.name)
                continue
        result.append(node)
    return result


def _with_scaled_root(nodes: list[Node], root: Value | None) -> tuple[list[Node], float]:
    """The nodes where they read the root times a number, and this number: 1 where it would spare no call.

    A Swish multiplies by x again; whatever it multiplies by beside that can be part of both x. A HardSigmoid multiplies
    by one number first.
    """
    first = nodes[0]
    alone = first.output is root or not any(root in node.inputs for node in nodes[1:])
    factor, alpha = first.attr(FACTOR, 1.0) / 6, first.attr("alpha", 0.2)
    if first.domain or first.input(0) is not root or not alone:
        return nodes, 1.0
    if first.op == "Swish" and first.attr("alpha", 1.0) == 1:
        scale = 0.5
    elif first.op == "HardSwish" and 2**-40 < factor < 2**40:
        scale = sqrt(factor)
    elif first.op == "HardSigmoid" and 2**-40 < alpha < 2**40:
        scale = alpha
    else:
        return nodes, 1.0
    attributes = {**first.attributes, SCALED: scale}
    scaled = Node(first.op, first.inputs, first.outputs, attributes, version=first.version, name=first.name)
    return [scaled, *nodes[1:]], scale


def _allocate(calls: Sequence[Call]) -> tuple[list[tuple[Compute, list[Slot], Slot]], int]:
    """Where each call reads and writes, and how many registers that takes.

    A result goes where an operand lay that nothing reads any more; the last one goes out.
    """
    last_use = {operand.made: step for step, call in enumerate(calls) for operand in call.operands}
    places: dict[int | None, Slot] = {-1: (ROOT, 0)}
    free: list[Slot] = []
    count, placed = 0, []
    for step, made_by in enumerate(calls):
        slots: list[Slot] = []
        for operand in made_by.operands:
            if operand.number is not None:
                slots.append((NUMBER, np.array(operand.number)))  # of a scalar each call would make one
            elif operand.given is not None:
                slots.append((GIVEN, operand.given))
            else:
                slots.append(places[operand.made])
        for made in dict.fromkeys(operand.made for operand in made_by.operands):
            if made is not None and last_use[made] == step:
                free.append(places[made])
        if step == len(calls) - 1:
            place: Slot = (OUT, 0)
        elif free:
            place = free.pop()
        else:
            place, count = (REGISTER, count), count + 1
        places[step] = place
        placed.append((made_by.compute, slots, place))
    return placed, count


FACTOR = "factor"
"""The attribute of a HardSwish within a chain that its result is multiplied by."""

SCALED = "scaled"
"""The attribute of a Swish, HardSwish or HardSigmoid within a chain whose input is so many times x."""


def is_chain(node: Node) -> bool:
    """Whether the node is what `engine.cpu.fuse_chains` makes of several."""
    return node.op == CHAIN and node.domain == INTERNAL_DOMAIN


CHAIN = "Chain"
"""The operator of several nodes that run as one step; the attribute ``nodes`` holds them."""
