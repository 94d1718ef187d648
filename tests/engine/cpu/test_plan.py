"""No value is overwritten while a reader is still to come: checked byte by byte, and by the results."""

from __future__ import annotations

import random
from math import prod

import numpy as np
import onnx
import pytest

from engine.cpu.executor import NumpyExecutor
from engine.cpu.fuse_chains import fuse_chains
from engine.cpu.lower import lower
from engine.cpu.plan import VIEWS, MemoryPlan, plan_memory
from engine.graph.ir import Graph, Node, Value
from engine.graph.load import load
from engine.graph.passes import optimize
from engine.ops.concat import concat_axis
from tests.engine.models import U2NETP, feeds, interpret, model, node, with_image_side

Span = tuple[int, int]


def apart(a: Span, b: Span) -> bool:
    """Whether two ranges of bytes have none in common."""
    return max(a[0], b[0]) >= min(a[1], b[1])


class Simulation:
    """A run in which each byte of memory holds the number of the byte of a result that was written there.

    Whatever a node reads must still hold the numbers that its producer wrote, and what it writes must not lie where it
    still reads, unless its kernel works in place.
    """

    def __init__(self, graph: Graph) -> None:
        graph = fuse_chains(graph)
        self.in_place = [lower(node).in_place for node in graph.nodes]
        self.plan: MemoryPlan = plan_memory(graph, self.in_place)
        self.memory = np.full(self.plan.nbytes, -1, np.int64)
        self.numbers: dict[Value, np.ndarray] = {}
        self.count = 0
        for value in graph.inputs:
            self.write(value)
        for graph_node, in_place in zip(graph.nodes, self.in_place, strict=True):
            self.step(graph_node, in_place)
        for value in graph.outputs:
            self.read(value, "the graph")

    def span(self, value: Value) -> Span:
        start = self.plan.offsets[value]
        assert 0 <= start <= start + value.type.nbytes <= self.plan.nbytes
        assert start % value.dtype.itemsize == 0
        return start, start + value.type.nbytes

    def fresh(self, value: Value) -> np.ndarray:
        self.count += value.type.nbytes
        return np.arange(self.count - value.type.nbytes, self.count)

    def write(self, value: Value, numbers: np.ndarray | None = None) -> None:
        self.numbers[value] = self.fresh(value) if numbers is None else numbers
        self.memory[slice(*self.span(value))] = self.numbers[value]

    def read(self, value: Value, reader: str) -> None:
        if not value.is_constant:
            contents = self.memory[slice(*self.span(value))]
            assert (contents == self.numbers[value]).all(), f"{reader} reads '{value.name}', which is overwritten"

    def apart(self, a: Value, b: Value) -> bool:
        return apart(self.span(a), self.span(b))

    def step(self, node: Node, in_place: bool) -> None:
        sources = [value for value in dict.fromkeys(node.used_inputs()) if not value.is_constant]
        targets = list(node.used_outputs())
        for value in sources:
            self.read(value, node.label)
        if node.op in VIEWS:
            assert self.span(node.output) == self.span(node.input(0))
            self.numbers[node.output] = self.numbers[node.input(0)]
            return
        for index, value in enumerate(targets):
            assert all(self.apart(value, other) for other in targets[:index])
        if node.op == "Concat" and prod(node.output.shape[: concat_axis(node, len(node.output.shape))]) == 1:
            self.join(node)
            return
        overlaps = [(a, b) for a in sources for b in targets if not self.apart(a, b)]
        if overlaps:
            ((source, target),) = overlaps
            assert in_place
            assert target is node.output
            assert self.span(source) == self.span(target)
            assert source.type == target.type
        for value in targets:
            self.write(value)

    def join(self, node: Node) -> None:
        """An outermost Concat copies what does not lie in its place, in any order: from where nothing is copied to."""
        place, parts = self.plan.offsets[node.output], []
        copies: list[tuple[Span, Span]] = []
        for value in node.used_inputs():
            parts.append(self.fresh(value) if value.is_constant else self.numbers[value])
            if not value.is_constant and self.plan.offsets[value] != place:
                copies.append((self.span(value), (place, place + value.type.nbytes)))
            place += value.type.nbytes
        for source, _ in copies:
            assert all(apart(source, target) for _, target in copies)
        self.write(node.output, np.concatenate(parts))


def check(proto: onnx.ModelProto | bytes) -> Simulation:
    """Simulate, and compare with the reference on memory that starts as NaN. Returns the simulation."""
    graph = load(proto if isinstance(proto, bytes) else proto.SerializeToString(), outputs="all")
    simulation = Simulation(graph)
    inputs = feeds(graph)
    expected = interpret(graph, inputs)
    for threads in (1, 2):
        executor = NumpyExecutor(graph, threads)
        # parts of a batch have plans of their own
        assert len(executor._lanes) > 1 or executor.activation_bytes == simulation.plan.nbytes
        executor._memory.fill(0xFF)
        for result, reference in zip(executor.run(inputs), expected, strict=True):
            np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-5)
        executor.close()
    return simulation


def inside(simulation: Simulation, part: str, whole: str) -> bool:
    spans = {value.name: simulation.span(value) for value in simulation.plan.offsets}
    return spans[whole][0] <= spans[part][0] and spans[part][1] <= spans[whole][1]


A, B, C = ["Exp", "LpNormalization", "Tanh"]  # LpNormalization has no kernel in place


def test_chain_in_place_takes_the_memory_of_one_value() -> None:
    proto = model([node("Relu", "x", "a"), node("Exp", "a", "b"), node("Tanh", "b", "y")], {"x": [64, 100]}, "y")
    assert check(proto).plan.nbytes == 64 * 100 * 4


def test_chain_out_of_place_takes_two() -> None:
    nodes = [node("LpNormalization", source, target) for source, target in ["xa", "ab", "bc", "cy"]]
    assert check(model(nodes, {"x": [64, 100]}, "y")).plan.nbytes == 2 * 64 * 100 * 4


def test_concat_inputs_lie_in_its_output() -> None:
    nodes = [node("LpNormalization", "x", "a"), node("Exp", "x", "b"), node("Concat", "a b x", "y", axis=1)]
    simulation = check(model(nodes, {"x": [1, 3, 4, 4]}, "y"))
    assert all(inside(simulation, part, "y") for part in "abx")
    assert simulation.plan.nbytes == 3 * 192


CONCATS: dict[str, list[onnx.NodeProto]] = {
    "input read later": [
        node("LpNormalization", "x", "a"),
        node("Tanh", "x", "b"),
        node("Concat", "a b", "c", axis=0),
        node("ReduceSum", "c axes", "s", keepdims=1),
        node("LpNormalization", "s", "t"),
        node("Add", "t a", "y"),
    ],
    "nested": [
        node("LpNormalization", "x", "a"),
        node("Tanh", "x", "b"),
        node("Concat", "a b", "c", axis=0),
        node("Exp", "x", "d"),
        node("Concat", "d c", "e", axis=0),
        node("LpNormalization", "e", "f"),
        node("Concat", "e f c", "y", axis=0),
    ],
    "same value twice": [
        node("LpNormalization", "x", "a"),
        node("Concat", "a a", "c", axis=0),
        node("LpNormalization", "c", "y"),
    ],
    "same value in two concats": [
        node("LpNormalization", "x", "a"),
        node("Tanh", "x", "b"),
        node("Concat", "a b", "c", axis=0),
        node("Concat", "b a", "d", axis=0),
        node("Add", "c d", "y"),
    ],
    "in place on a value in a concat": [
        node("LpNormalization", "x", "a"),
        node("Concat", "a x", "c", axis=0),
        node("Relu", "a", "r"),
        node("LpNormalization", "c", "s"),
        node("Concat", "s r r", "y", axis=0),
    ],
    "in place on a concat whose input is read later": [
        node("LpNormalization", "x", "a"),
        node("Tanh", "x", "b"),
        node("Concat", "a b", "c", axis=0),
        node("Exp", "c", "e"),
        node("Concat", "e a", "y", axis=0),
    ],
    "view of an input, read after the concat is gone": [
        node("LpNormalization", "x", "a"),
        node("Tanh", "x", "b"),
        node("Concat", "a b", "c", axis=0),
        node("LpNormalization", "c", "d"),
        node("Reshape", "a flat", "v"),
        node("LpNormalization", "d", "e"),
        node("LpNormalization", "e", "f"),
        node("LpNormalization", "f", "g"),
        node("Reshape", "g flat", "h"),
        node("Concat", "h v", "y", axis=0),
    ],
    "view before the concat": [
        node("LpNormalization", "x", "a"),
        node("Reshape", "a flat", "v"),
        node("Concat", "v v", "c", axis=0),
        node("LpNormalization", "c", "s"),
        node("Reshape", "a flat", "w"),
        node("Concat", "s w", "y", axis=0),
    ],
    "constant and graph input": [node("Concat", "k x k", "c", axis=0), node("Add", "c c", "y")],
    "only copies": [node("LpNormalization", "x", "a"), node("Concat", "a x", "c", axis=1), node("Relu", "c", "y")],
    "output of the graph": [
        node("LpNormalization", "x", "y"),
        node("Concat", "y x", "c", axis=0),
        node("Exp", "c", "z"),
    ],
}


@pytest.mark.parametrize("name", CONCATS)
def test_concats(name: str) -> None:
    constants = {"flat": np.array([-1]), "axes": np.array([0]), "k": np.ones((4, 6), np.float32)}
    outputs = "y z" if name == "output of the graph" else "y"
    check(model(CONCATS[name], {"x": [4, 6]}, outputs, constants, opset=13))


@pytest.mark.parametrize(
    "nodes",
    [
        [
            node("LpNormalization", "x", "a"),
            node("Reshape", "a flat", "v"),
            node("Exp", "v", "e"),
            node("Add", "e v", "y"),
        ],
        [
            node("LpNormalization", "x", "a"),
            node("Reshape", "a flat", "v"),
            node("Exp", "a", "y"),
            node("Neg", "v", "z"),
        ],
        [node("LpNormalization", "x", "a"), node("Add", "a a", "b"), node("Add", "b x", "y")],
        [
            node("LpNormalization", "x", "a"),
            node("Reshape", "a flat", "v"),
            node("Flatten", "v", "w"),
            node("Exp", "w", "y"),
        ],
        [node("Exp", "x", "a"), node("Exp", "a", "b"), node("Add", "a b", "c"), node("Sub", "c x", "y")],
        [node("Split", "x", "a b", axis=0), node("Exp", "a", "c"), node("Add", "c b", "y")],
        [node("Reshape", "x flat", "v"), node("Exp", "v", "y")],
    ],
)
def test_views_and_in_place(nodes: list[onnx.NodeProto]) -> None:
    outputs = " ".join(name for name in ("y", "z") if any(name in node.output for node in nodes))
    check(model(nodes, {"x": [4, 6]}, outputs, {"flat": np.array([-1])}, opset=13))


def test_unused_input_and_unused_output() -> None:
    check(model([node("Split", "x", "a b", axis=0), node("Exp", "b", "y")], {"x": [4], "z": [9]}, "y", opset=13))


def random_model(seed: int) -> onnx.ModelProto:
    """A graph of 25 nodes over tensors of 12 or, concatenated, more elements, with three outputs."""
    dice = random.Random(seed)
    shapes: dict[str, tuple[int, int]] = {"x": (1, 12), "z": (1, 12)}
    nodes, constants = [], {}
    for index in range(25):
        name = f"v{index}"
        source = dice.choice(list(shapes)[-8:])
        alike = [other for other, shape in shapes.items() if shape == shapes[source]]
        kind = dice.choice(["Tanh", "Sin", "LpNormalization", "Add", "Mul", "Concat", "Concat", "Reshape", "Split"])
        shape = shapes[source]
        if kind in ("Tanh", "Sin", "LpNormalization"):
            nodes.append(node(kind, source, name))
        elif kind in ("Add", "Mul"):
            nodes.append(node(kind, f"{source} {dice.choice(alike)}", name))
        elif kind == "Concat":
            axis = dice.randint(0, 1)
            others = [other for other, other_shape in shapes.items() if other_shape[1 - axis] == shape[1 - axis]]
            parts = [source, *dice.choices(others, k=dice.randint(1, 2))]
            total = sum(shapes[part][axis] for part in parts)
            if total > 96:
                continue
            shape = (total, shape[1]) if axis == 0 else (shape[0], total)
            nodes.append(node("Concat", " ".join(parts), name, axis=axis))
        elif kind == "Reshape":
            size = prod(shape)
            shape = dice.choice([(1, size), (size // 2, 2), (size // 3, 3)])
            constants[f"s{index}"] = np.array(shape)
            nodes.append(node("Reshape", f"{source} s{index}", name))
        elif shape[1] % 2 == 0:
            shape = (shape[0], shape[1] // 2)
            nodes.append(node("Split", source, f"{name} {name}b", axis=1))
            shapes[f"{name}b"] = shape
        else:
            continue
        shapes[name] = shape
    outputs = dice.sample([name for name in shapes if name[0] == "v"], 3)
    return model(nodes, {"x": [1, 12], "z": [1, 12]}, " ".join(outputs), constants, opset=13)


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs(seed: int) -> None:
    check(random_model(seed))


def test_real_model() -> None:
    graph = load(with_image_side(U2NETP, 64))
    optimize(graph)
    simulation = Simulation(graph)
    concats = [node for node in graph.nodes if node.op == "Concat"]
    copies = [value.name for node in concats for value in node.used_inputs() if simulation.apart(value, node.output)]
    # a value in two concats can lie in one of them alone
    assert len(copies) < len(concats) / 4
    everything = sum(value.type.nbytes for value in [*graph.inputs, *graph.producers()])
    assert simulation.plan.nbytes < everything / 4


def test_region_of_nothing() -> None:
    check(model([node("Relu", "x", "a"), node("Concat", "a x", "y", axis=0)], {"x": [0, 3]}, "y"))
