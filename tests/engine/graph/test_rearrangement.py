"""Where elements come from: rearrangements against the numbers of the elements themselves, and what is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.ir import Value
from engine.graph.rearrangement import Rearrangements, is_rearrangement
from tests.engine.models import interpret, load_graph, model, node

SHAPE = [2, 3, 4]
COUNT = 24
END = 2**63 - 1


def rearrange(
    nodes: Sequence[onnx.NodeProto],
    outputs: str = "y",
    *,
    opset: int = 17,
    shape: Sequence[int] = SHAPE,
    **constants: Any,
) -> tuple[Rearrangements, list[Value]]:
    """The rearrangements of a graph that begins at ``x``, and its outputs."""
    graph = load_graph(model(nodes, {"x": list(shape)}, outputs, constants, opset=opset))
    return Rearrangements(graph.producers()), graph.outputs


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


CHAINS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Reshape": ([node("Reshape", "x s", "y")], {"s": ints(-1, 4)}),
    "Flatten, Squeeze, Unsqueeze": (
        [node("Flatten", "x", "a", axis=2), node("Unsqueeze", "a one", "b"), node("Squeeze", "b", "y")],
        {"one": ints(1)},
    ),
    "Transpose": ([node("Transpose", "x", "y", perm=[2, 0, 1])], {}),
    "Transpose without perm": ([node("Transpose", "x", "y")], {}),
    "Slice from a negative start": ([node("Slice", "x s e a", "y")], {"s": ints(-2), "e": ints(END), "a": ints(-1)}),
    "Slice by steps": ([node("Slice", "x s e a t", "y")], {"s": ints(1), "e": ints(END), "a": ints(2), "t": ints(2)}),
    "Slice backwards": (
        [node("Slice", "x s e a t", "y")],
        {"s": ints(-1, -1), "e": ints(-END, -END), "a": ints(1, 2), "t": ints(-1, -2)},
    ),
    "Split": ([node("Split", "x n", "a y b", axis=2)], {"n": ints(1, 2, 1)}),
    "Split in equal parts": ([node("Split", "x", "a y", axis=-1)], {}),
    "Concat of parts in another order": (
        [node("Split", "x n", "a b c", axis=1), node("Concat", "c a b", "y", axis=1)],
        {"n": ints(1, 1, 1)},
    ),
    "Concat of one part twice": ([node("Concat", "x x", "y", axis=0)], {}),
    "Gather of one": ([node("Gather", "x i", "y", axis=1)], {"i": np.array(-1)}),
    "Gather of several": ([node("Gather", "x i", "y", axis=2)], {"i": np.array([[3, 0], [1, 1]])}),
    "Pad": ([node("Pad", "x p", "y")], {"p": ints(0, 1, 0, 0, 0, 2)}),
    "Pad with a zero": ([node("Pad", "x p v", "y")], {"p": ints(0, 0, 0, 0, 2, 0), "v": np.float32(0)}),
    "Pad that takes away": ([node("Pad", "x p", "y")], {"p": ints(0, -1, 1, 0, 0, -2)}),
    "a roll there and back": (
        [
            node("Slice", "x one end last", "a"),
            node("Slice", "x zero one last", "b"),
            node("Concat", "a b", "c", axis=2),
            node("Slice", "c less end last", "d"),
            node("Slice", "c zero less last", "e"),
            node("Concat", "d e", "y", axis=2),
        ],
        {"zero": ints(0), "one": ints(1), "less": ints(-1), "end": ints(END), "last": ints(2)},
    ),
    "windows of a padded grid": (
        [
            node("Pad", "x p", "a"),
            node("Reshape", "a s", "b"),
            node("Transpose", "b", "c", perm=[0, 1, 3, 2, 4]),
            node("Reshape", "c t", "y"),
        ],
        {"p": ints(0, 0, 0, 0, 1, 1), "s": ints(2, 2, 2, -1, 1), "t": ints(-1, 10)},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_elements_are_what_the_chain_makes_of_their_numbers(name: str) -> None:
    nodes, constants = CHAINS[name]
    graph = load_graph(model(nodes, {"x": SHAPE}, "y", constants))
    rearrangements, (y,) = Rearrangements(graph.producers()), graph.outputs
    assert all(is_rearrangement(node) for node in graph.nodes)
    assert rearrangements.moves(y)
    assert rearrangements.source(y) is graph.inputs[0]
    # float32 holds these numbers exactly
    (expected,) = interpret(graph, [np.arange(1, COUNT + 1, dtype=np.float32).reshape(SHAPE)])
    elements = rearrangements.elements(y)
    assert elements.dtype == np.int32
    np.testing.assert_array_equal(elements, expected)


def test_a_chain_without_end() -> None:
    """Far more nodes than Python has stack for."""
    nodes = [node("Transpose", f"v{number}", f"v{number + 1}", perm=[0, 2, 1]) for number in range(3000)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    rearrangements, (y,) = rearrange(nodes)
    np.testing.assert_array_equal(rearrangements.elements(y).ravel(), np.arange(1, COUNT + 1))
    assert rearrangements.signature(y)


def test_what_moves_nothing_is_its_own_source() -> None:
    rearrangements, (y, z) = rearrange([node("Relu", "x", "y"), node("Transpose", "y", "z")], "y z")
    assert not rearrangements.moves(y)
    assert rearrangements.source(y) is rearrangements.source(z) is y
    np.testing.assert_array_equal(rearrangements.elements(y).ravel(), np.arange(1, COUNT + 1))


def test_two_sources_are_none() -> None:
    nodes = [node("Relu", "x", "r"), node("Concat", "x r", "c", axis=1), node("Transpose", "c", "y")]
    rearrangements, (y,) = rearrange(nodes)
    assert rearrangements.moves(y)
    assert rearrangements.source(y) is None


@pytest.mark.parametrize(
    ("nodes", "constants", "opset"),
    [
        ([node("Pad", "x p v", "y")], {"p": ints(0, 0, 0, 0, 0, 1), "v": np.float32(1)}, 17),
        ([node("Pad", "x p", "y", mode="edge")], {"p": ints(0, 0, 0, 0, 0, 1)}, 17),
        ([node("Pad", "x", "y", pads=[0, 0, 0, 0, 0, 1], value=1.0)], {}, 10),
        ([node("Pad", "x", "y", pads=[0, 0, 0, 0, 0, 1], mode="reflect")], {}, 10),
        ([node("Concat", "x c", "y", axis=2)], {"c": np.zeros((2, 3, 1), np.float32)}, 17),
        ([node("Cast", "x", "i", to=7), node("Gather", "c i", "y")], {"c": np.zeros(3, np.float32)}, 17),
        ([node("Cast", "x", "i", to=7), node("Gather", "x i", "y")], {}, 17),
        ([node("Relu", "x", "y")], {}, 17),
        ([node("Expand", "x s", "y")], {"s": ints(2, 2, 3, 4)}, 17),
    ],
    ids=[
        "ones", "edges", "ones in version 10", "reflected", "with a constant", "data constant", "index not constant",
        "arithmetic", "repetition",
    ],
)  # fmt: skip
def test_no_movement(nodes: list[onnx.NodeProto], constants: dict[str, Any], opset: int) -> None:
    rearrangements, (y,) = rearrange(nodes, opset=opset, **constants)
    assert not rearrangements.moves(y)
    assert rearrangements.source(y) is y


def test_pad_of_version_10_pads_zeros() -> None:
    rearrangements, (y,) = rearrange([node("Pad", "x", "y", pads=[0, 0, 0, 0, 0, 1])], opset=10)
    assert rearrangements.moves(y)
    np.testing.assert_array_equal(rearrangements.elements(y)[..., -1], 0)


# --- signatures ---------------------------------------------------------------------------------------------------

RELUS = [node("Relu", "x", "p"), node("Exp", "x", "q")]


def signatures(first: onnx.NodeProto, second: onnx.NodeProto, **constants: Any) -> tuple[int, int]:
    """Of ``y`` and ``z``, which ``first`` and ``second`` make of ``p`` and ``q``, of one shape."""
    rearrangements, (y, z) = rearrange([*RELUS, first, second], "y z", **constants)
    assert rearrangements.source(y) is not rearrangements.source(z)
    return rearrangements.signature(y), rearrangements.signature(z)


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        (node("Transpose", "p", "y", perm=[0, 2, 1]), node("Transpose", "q", "z", perm=[0, 2, 1]), True),
        (node("Transpose", "p", "y", perm=[0, 2, 1]), node("Transpose", "q", "z", perm=[2, 0, 1]), False),
        (node("Reshape", "p s", "y"), node("Reshape", "q s_again", "z"), True),
        (node("Reshape", "p s", "y"), node("Reshape", "q t", "z"), False),
        (node("Slice", "p zero one", "y"), node("Slice", "q zero two", "z"), False),
        (node("Slice", "p zero one zero", "y"), node("Slice", "q zero one one", "z"), False),
        (node("Slice", "p zero one zero", "y"), node("Slice", "q zero one zero one", "z"), False),
        (node("Gather", "p zero", "y", axis=1), node("Gather", "q zero", "z", axis=2), False),
        (node("Concat", "p p", "y", axis=0), node("Concat", "q q q", "z", axis=0), False),
        (node("Split", "p n", "y a", axis=1), node("Split", "q n", "z b", axis=1), True),
        (node("Split", "p n", "y a", axis=1), node("Split", "q n", "b z", axis=1), False),
    ],
    ids=[
        "alike", "perm", "equal constants", "constant", "end", "axis", "another input", "attribute", "number of inputs",
        "split", "output of a split",
    ],
)  # fmt: skip
def test_signatures(first: onnx.NodeProto, second: onnx.NodeProto, alike: bool) -> None:
    constants = {"s": ints(6, 4), "s_again": ints(6, 4), "t": ints(4, 6), "n": ints(1, 2)}
    constants |= {"zero": ints(0), "one": ints(1), "two": ints(2)}
    names = {name for node in (first, second) for name in node.input}
    y, z = signatures(first, second, **{name: array for name, array in constants.items() if name in names})
    assert (y == z) == alike


def test_sources_of_another_shape_have_another_signature() -> None:
    nodes = [node("Reshape", "x s", "r"), node("Relu", "x", "p"), node("Relu", "r", "q")]
    nodes += [node("Flatten", "p", "y", axis=0), node("Flatten", "q", "z", axis=0)]
    rearrangements, (y, z) = rearrange(nodes, "y z", s=ints(6, 4))
    assert rearrangements.signature(y) != rearrangements.signature(z)


def test_constants_of_the_same_bytes_are_not_the_same() -> None:
    """An index of rank 0 drops the axis, one of rank 1 keeps it, and a later Slice then cuts another axis."""
    nodes = [*RELUS, node("Gather", "p scalar", "a"), node("Gather", "q vector", "b")]
    nodes += [node("Slice", "a zero one", "y"), node("Slice", "b zero one", "z")]
    constants: dict[str, Any] = {"scalar": np.array(1), "vector": ints(1), "zero": ints(0), "one": ints(1)}
    rearrangements, (y, z) = rearrange(nodes, "y z", **constants)
    assert rearrangements.elements(y).size != rearrangements.elements(z).size
    assert rearrangements.signature(y) != rearrangements.signature(z)


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_are_compares_elements_whatever_the_shape() -> None:
    rearrangements, (y,) = rearrange(
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Reshape", "t s", "y")], s=ints(24)
    )
    numbers = np.arange(1, COUNT + 1, dtype=np.int32).reshape(SHAPE)
    assert rearrangements.matches(y, ("turned",), lambda: numbers.swapaxes(1, 2))
    assert not rearrangements.matches(y, ("as it was",), lambda: numbers)
    assert not rearrangements.matches(y, ("shorter",), lambda: numbers.swapaxes(1, 2).ravel()[:-1])


def test_are_asks_once_for_each_signature_and_question() -> None:
    rearrangements, (y, z) = rearrange([*RELUS, node("Flatten", "p", "y"), node("Flatten", "q", "z")], "y z")
    calls = []

    def expected() -> np.ndarray:
        calls.append(True)
        return np.arange(1, COUNT + 1)

    assert rearrangements.matches(y, ("a",), expected)
    assert rearrangements.matches(z, ("a",), expected)
    assert len(calls) == 1
    assert rearrangements.matches(z, ("b",), expected)
    assert len(calls) == 2
