"""From file to static graph: dimensions bound, outputs chosen, shapes and branches folded, bad graphs refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import InputError, ModelError, Session, UnsupportedError
from tests.engine.models import branch, feeds, interpret, load_graph, model, node

INT64 = np.int64
ADD = model([node("Add", "x z", "y")], {"x": ["N", 3], "z": [1, 3]}, "y")


def error(proto: onnx.ModelProto, kind: type[Exception] = ModelError, **options: Any) -> str:
    """The message that loading the model fails with."""
    with pytest.raises(kind) as failure:
        load_graph(proto, **options)
    assert type(failure.value) is kind
    return str(failure.value)


# Input shapes


def test_symbolic_dimension_bound() -> None:
    graph = load_graph(ADD, input_shapes={"x": (5, 3)})
    assert [(value.name, value.shape) for value in graph.inputs] == [("x", (5, 3)), ("z", (1, 3))]
    assert graph.outputs[0].shape == (5, 3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "input 'x' has shape [N, 3]; bind its dimensions with input_shapes"),
        ({"x": (5, 4)}, "input 'x' has shape [N, 3], which [5, 4] does not fit"),
        ({"x": (5,)}, "input 'x' has shape [N, 3], which [5] does not fit"),
        ({"x": (-1, 3)}, "input 'x' has shape [N, 3], which [-1, 3] does not fit"),
        ({"x": (5, 3), "z": (2, 3)}, "input 'z' has shape [1, 3], which [2, 3] does not fit"),
        ({"w": (5, 3)}, "the model has no input 'w'; its inputs are ['x', 'z']"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    assert error(ADD, InputError, input_shapes=shapes) == message


def test_input_declared_without_shape() -> None:
    proto = model([node("Relu", "x", "y")], {"x": []}, "y")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert "bind its dimensions with input_shapes" in error(proto, InputError)
    assert load_graph(proto, input_shapes={"x": (2, 2)}).outputs[0].shape == (2, 2)


def test_scalar_input() -> None:
    assert load_graph(model([node("Relu", "x", "y")], {"x": []}, "y")).outputs[0].shape == ()


def test_bound_values() -> None:
    proto = model([node("Reshape", "x s", "y")], {"x": [4, 3], "s": (INT64, ["rank"])}, "y")
    assert error(proto, input_shapes={"s": (2,)}) == (
        "Reshape 'y': input 1 ('s') decides a shape and depends on the data; bind it to a value at load"
    )
    graph = load_graph(proto, input_values={"s": np.array([2, -1])})
    assert [value.name for value in graph.inputs] == ["x"]
    assert graph.outputs[0].shape == (2, 6)
    assert error(proto, InputError, input_values={"s": np.array([2.0, -1])}) == (
        "input 's' is int64; the value to bind is float64"
    )
    assert "does not fit" in error(proto, InputError, input_values={"s": np.array([[2, -1]])})
    assert "no input 'w'" in error(proto, InputError, input_values={"w": np.array([2])})


def test_input_that_is_no_tensor() -> None:
    proto = model([node("Identity", "x", "y")], {}, "y")
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    proto.graph.input.append(helper.make_value_info("x", kind))
    assert error(proto, UnsupportedError) == "input 'x' is not a tensor"


def test_input_of_a_type_that_is_not_held() -> None:
    proto = model([node("Identity", "x", "y")], {}, "y")
    proto.graph.input.append(helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [2]))
    assert error(proto, UnsupportedError) == "input 'x' has tensor type bfloat16, which the engine does not hold"


def test_initializers_listed_as_inputs_are_constants() -> None:
    # IR versions before 4 demand it
    proto = model([node("Add", "x w", "y")], {"x": [2], "w": [2]}, "y", {"w": np.ones(2, np.float32)}, ir_version=3)
    graph = load_graph(proto)
    assert [value.name for value in graph.inputs] == ["x"]
    assert [value.name for value in graph.constants()] == ["w"]
    assert "no input 'w'" in error(proto, InputError, input_shapes={"w": (2,)})


def test_a_value_may_be_bound_over_the_one_that_the_file_has() -> None:
    proto = model([node("Add", "x w", "y")], {"x": [2], "w": ["n"]}, "y", {"w": np.ones(2, np.float32)})
    for value, expected in (({}, [1, 2]), ({"w": np.full(2, 5, np.float32)}, [5, 6])):
        with Session(proto.SerializeToString(), backend="numpy", input_values=value) as session:
            assert [info.name for info in session.inputs] == ["x"]
            assert session.run({"x": np.array([0, 1], np.float32)})["y"].tolist() == expected
    wrong = error(proto, InputError, input_values={"w": np.ones(2, np.float64)})
    assert wrong == "input 'w' is float32; the value to bind is float64"


# Outputs


CHAIN = model([node("Relu", "x", "a"), node("Neg", "a", "b"), node("Exp", "x", "c")], {"x": [2]}, "b c")


@pytest.mark.parametrize(
    ("outputs", "names", "nodes"),
    [
        (None, ["b"], ["Relu", "Neg"]),
        ("all", ["b", "c"], ["Relu", "Neg", "Exp"]),
        (["c"], ["c"], ["Exp"]),
        ("c", ["c"], ["Exp"]),
        (["c", "a"], ["c", "a"], ["Relu", "Exp"]),
    ],
)
def test_only_the_outputs_asked_for_are_kept(outputs: Any, names: list[str], nodes: list[str]) -> None:
    graph = load_graph(CHAIN, outputs=outputs)
    assert [value.name for value in graph.outputs] == names
    assert [node.op for node in graph.nodes] == nodes


@pytest.mark.parametrize("outputs", [["b", "nothing"], "nothing", ["x"]])
def test_unknown_outputs(outputs: Any) -> None:
    assert "are not in the model; it has ['b', 'c']" in error(CHAIN, InputError, outputs=outputs)


def test_no_outputs() -> None:
    assert error(CHAIN, InputError, outputs=[]) == "no output is named; the model has ['b', 'c']"


def test_output_that_is_an_input_or_a_constant() -> None:
    proto = model([node("Relu", "x", "a")], {"x": [2]}, "x w a", {"w": np.arange(2, dtype=np.float32)})
    for backend in ("reference", "numpy"):
        with Session(proto.SerializeToString(), backend=backend, outputs="all") as session:
            results = session.run({"x": np.array([-3, 3], np.float32)})
        np.testing.assert_array_equal(results["x"], [-3, 3])
        np.testing.assert_array_equal(results["w"], [0, 1])
        np.testing.assert_array_equal(results["a"], [0, 3])


def test_damage_outside_of_what_is_wanted_does_not_matter() -> None:
    proto = model([node("Relu", "x", "y"), node("Add", "x gone", "z")], {"x": [2]}, "y z")
    assert load_graph(proto, outputs=None).histogram() == {"Relu": 1}
    assert error(proto) == "Add 'z': nothing in the graph makes 'gone'"


# Graphs that are none


def test_cycle() -> None:
    proto = model([node("Add", "x b", "a", name="first"), node("Relu", "a", "b", name="second")], {"x": [2]}, "b")
    message = error(proto)
    assert message.startswith("the graph has a cycle through ")
    assert "Add 'first'" in message
    assert "Relu 'second'" in message


def test_node_that_reads_itself() -> None:
    assert "cycle through Add 'a'" in error(model([node("Add", "x a", "a")], {"x": [2]}, "a"))


def test_two_producers() -> None:
    proto = model([node("Relu", "x", "y"), node("Neg", "x", "y")], {"x": [2]}, "y")
    assert error(proto) == "two nodes make 'y'; the graph is not in single-assignment form"


def test_unsorted_nodes_are_put_in_order() -> None:
    proto = model([node("Neg", "b", "y"), node("Relu", "a", "b"), node("Exp", "x", "a")], {"x": [2]}, "y")
    assert [node.op for node in load_graph(proto).nodes] == ["Exp", "Relu", "Neg"]


def test_more_outputs_than_the_operator_has() -> None:
    assert error(model([node("Relu", "x", "y z")], {"x": [2]}, "y")) == "Relu 'y': 2 outputs, the operator has 1"


def test_missing_required_input() -> None:
    assert error(model([node("MatMul", "x -", "y")], {"x": [2, 2]}, "y")) == ("MatMul 'y': required input 1 is missing")


@pytest.mark.parametrize("constant", [True, False], ids=["folded", "inferred"])
def test_inputs_that_do_not_fit_name_the_node(constant: bool) -> None:
    small, large = np.ones(3, np.float32), np.ones(2, np.float32)
    proto = model([node("Add", "x w", "y", name="sum")], {"x": [3]}, "y", {"w": large})
    values = {"input_values": {"x": small}} if constant else {}
    assert error(proto, **values).startswith("Add 'sum': inputs (float32[3], float32[2]) do not fit the operator: ")


def test_index_out_of_range_in_folded_shape_arithmetic() -> None:
    nodes = [node("Shape", "x", "s"), node("Gather", "s nine", "n"), node("ConstantOfShape", "n", "y")]
    message = error(model(nodes, {"x": [3]}, "y", {"nine": np.array([9])}))
    assert message.startswith("Gather 'n': inputs (int64[1], int64[1]) do not fit the operator: ")


def test_sparse_initializers() -> None:
    proto = model([node("Relu", "x", "y")], {"x": [2]}, "y")
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(np.zeros(1, INT64)), [3]
        )
    )
    assert error(proto, UnsupportedError) == "the model holds sparse initializers; densify them before export"


# If


TRUE = {"c": np.array(True)}


def if_model(inputs: dict[str, Any], constants: dict[str, Any]) -> onnx.ModelProto:
    """y = If(c): an If within (taken where the condition holds) else -x; values of the outer graphs are captured."""
    inner_then = branch([node("Add", "a w", "deep")], "deep", {"w": np.full(2, 10, np.float32)})
    inner_else = branch([], "x")
    then = branch(
        [node("Exp", "x", "a"), node("If", "c", "inner", then_branch=inner_then, else_branch=inner_else)], "inner"
    )
    other = branch([node("Neg", "late", "neg")], "neg")
    nodes = [node("If", "c", "y", then_branch=then, else_branch=other), node("Relu", "x", "late")]
    return model(nodes, {"x": [2], **inputs}, "y", constants)


@pytest.mark.parametrize("condition", [True, False])
def test_if_with_constant_condition(condition: bool) -> None:
    x = np.array([-1, 2], np.float32)
    expected = np.exp(x) + 10 if condition else -np.maximum(x, 0)
    for backend in ("reference", "numpy"):
        with Session(if_model({}, {"c": np.array(condition)}).SerializeToString(), backend=backend) as session:
            assert [info.name for info in session.outputs] == ["y"]
            np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-6)


def test_what_only_the_other_branch_needs_is_pruned() -> None:
    assert load_graph(if_model({}, TRUE)).histogram() == {"Exp": 1, "Add": 1, "Identity": 2}


def test_if_on_shape_arithmetic() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Size", "s", "rank"),
        node("Equal", "rank four", "c"),
        node("If", "c", "y", then_branch=branch([], "x"), else_branch=branch([node("Unsqueeze", "x zero", "u")], "u")),
    ]
    proto = model(nodes, {"x": [2, 3, 4]}, "y", {"four": np.array(4), "zero": np.array([0])})
    assert load_graph(proto).outputs[0].shape == (1, 2, 3, 4)


def test_two_outputs_of_one_branch_value_keep_their_names() -> None:
    both = branch([node("Relu", "x", "t")], "t t")
    proto = model(
        [node("If", "c", "a b", then_branch=both, else_branch=both)], {"x": [2]}, "a b", {"c": np.array(True)}
    )
    with Session(proto.SerializeToString(), outputs="all") as session:
        results = session.run({"x": np.array([-1, 2], np.float32)})
    assert list(results) == ["a", "b"]
    np.testing.assert_array_equal(results["a"], results["b"])


def test_if_on_what_a_run_decides_is_refused() -> None:
    proto = if_model({"c": (np.bool_, [])}, {})
    assert error(proto, UnsupportedError) == "If 'y' branches on what only a run can know; control flow has no plan"


def test_malformed_ifs() -> None:
    one = branch([node("Relu", "x", "t")], "t")
    for proto, message in [
        (model([node("If", "c", "y", then_branch=one)], {"x": [2]}, "y", TRUE), "lacks a condition or a branch"),
        (model([node("If", "", "y", then_branch=one, else_branch=one)], {"x": [2]}, "y"), "lacks a condition"),
        (model([node("If", "c", "y z", then_branch=one, else_branch=one)], {"x": [2]}, "y", TRUE), "2 outputs, its"),
        (
            model([node("If", "c", "y", then_branch=one, else_branch=one)], {"x": [2]}, "y", {"c": np.ones(2, bool)}),
            "its condition is bool[2], not one truth value",
        ),
    ]:
        assert message in error(proto)


def test_folded_graph_still_has_its_outputs() -> None:
    graph = load_graph(
        model([node("Range", "a b c", "y")], {}, "y", {"a": np.array(1), "b": np.array(7), "c": np.array(2)})
    )
    assert graph.nodes == []
    np.testing.assert_array_equal(interpret(graph, feeds(graph))[0], [1, 3, 5])
