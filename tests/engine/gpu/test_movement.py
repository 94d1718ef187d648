"""Views, Concat, Pad and what else moves elements on the GPU, against the reference, element for element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gpu.program.tensor import Slot, Tensor, strides_of
from tests.engine.gpu.gpu import compare
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 1024}
"""A limit on bindings that small tensors pass, so that dispatches run in ranges."""


def draw_shape(shape: tuple[int, ...], data: st.DataObject) -> tuple[int, ...]:
    """Another shape of as many elements."""
    factors = [factor for extent in shape for factor in _factors(extent)]
    factors = data.draw(st.permutations(factors)) if data.draw(st.booleans()) else factors
    result: list[int] = []
    for factor in [*factors, *[1] * data.draw(st.integers(0, 2))]:
        if result and data.draw(st.booleans()):
            result[-1] *= factor
        else:
            result.append(factor)
    return tuple(result)


def _factors(extent: int) -> list[int]:
    for divisor in range(2, extent):
        if extent % divisor == 0:
            return [divisor, *_factors(extent // divisor)]
    return [extent] if extent > 1 else []


@settings(max_examples=300, deadline=None)
@given(st.data(), shapes())
def test_a_reshaped_view_is_numpys(data: st.DataObject, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).transpose(data.draw(st.permutations(range(len(shape)))))
    strides = tuple(step // array.itemsize for step in array.strides)
    new_shape = draw_shape(array.shape, data)
    view = Tensor(Slot(4 * array.size, "x"), "i32", array.shape, strides).reshape(new_shape)
    if view is None:
        with pytest.raises(AttributeError, match="ncompatible shape"):
            _in_place(array, new_shape)
        return
    positions = np.indices(new_shape).reshape(len(new_shape), array.size)
    offsets = np.array(view.strides, int) @ positions
    np.testing.assert_array_equal(offsets, array.reshape(-1))


def _in_place(array: np.ndarray, shape: tuple[int, ...]) -> None:
    array.view().shape = shape


def test_views_run_no_kernel() -> None:
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Slice", "a starts ends axes steps", "b"),
        node("Unsqueeze", "b first", "c"),
        node("Squeeze", "c first", "d"),
        node("Split", "d", "e f", axis=3),
        node("Reshape", "f shape", "y"),
    ]
    constants = {"starts": [3], "ends": [-99], "axes": [1], "steps": [-1], "first": [0], "shape": [8, 5, 2]}
    # the one copy gives the output a run of its own
    compare(model(nodes, {"x": [2, 4, 4, 5]}, "y", constants), kernels=["elementwise"])


Step = tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]]
"""Operator, its further inputs, its attributes, and the shape that it makes."""


def draw_step(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    """An operator that moves elements of a tensor of that shape."""
    rank = len(shape)
    kinds = ["Reshape", "Expand", *(["Transpose", "Slice", "Pad", "Tile"] if rank else [])]
    kind = data.draw(st.sampled_from(kinds))
    if kind == "Transpose":
        perm = data.draw(st.permutations(range(rank)))
        return kind, {}, {"perm": perm}, tuple(shape[axis] for axis in perm)
    if kind == "Slice":
        axis = data.draw(st.integers(0, rank - 1))
        extent = shape[axis]
        part = data.draw(st.slices(extent).filter(lambda part: len(range(*part.indices(extent))) > 0))
        first, stop, step = part.indices(extent)
        further_inputs = {"starts": [first], "ends": [stop if stop >= 0 else -(2**31)], "axes": [axis], "steps": [step]}
        return kind, further_inputs, {}, (*shape[:axis], len(range(first, stop, step)), *shape[axis + 1 :])
    if kind == "Pad":
        pads = [data.draw(st.integers(0, 2)) for _ in range(2 * rank)]
        mode = data.draw(st.sampled_from(["constant", "edge"]))
        return kind, {"pads": pads}, {"mode": mode}, tuple(np.add(shape, np.add(pads[:rank], pads[rank:])).tolist())
    if kind == "Tile":
        repeats = [data.draw(st.integers(1, 2)) for _ in shape]
        return kind, {"repeats": repeats}, {}, tuple(np.multiply(shape, repeats).tolist())
    if kind == "Expand":
        wide = (2, *(3 if extent == 1 else extent for extent in shape))
        return kind, {"shape": wide}, {}, wide
    new_shape = draw_shape(shape, data)
    return kind, {"shape": new_shape}, {}, new_shape


@few
@given(st.data(), shapes(most=4))
def test_a_chain_of_movements(data: st.DataObject, shape: tuple[int, ...]) -> None:
    nodes, constants, input_shape = [], {}, shape
    for step in range(data.draw(st.integers(1, 5))):
        if np.prod(shape) > 1000:
            break
        op, further_inputs, attributes, shape = draw_step(data, shape)
        names = {f"{name}{step}": np.array(value, np.int64) for name, value in further_inputs.items()}
        constants |= names
        nodes.append(node(op, " ".join([f"t{step}", *names]), f"t{step + 1}", **attributes))
    compare(model(nodes, {"t0": list(input_shape)}, f"t{len(nodes)}", constants=constants, opset=21))


@few
@given(st.data(), shapes(least=1, most=4))
def test_concat_of_views_constants_repeats_and_producers(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    nodes: list[Any] = []
    inputs: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    parts: list[str] = []
    for index in range(data.draw(st.integers(1, 4))):
        part_shape = (*shape[:axis], data.draw(st.integers(0 if index else 1, 4)), *shape[axis + 1 :])
        name = f"v{index}"
        kind = data.draw(st.sampled_from(["view", "producer", "constant", "input", "repeat"]))
        if kind == "constant":
            constants[name] = np.random.default_rng(index).standard_normal(part_shape).astype(np.float32)
        elif kind == "input":
            inputs[name] = list(part_shape)
        elif kind == "repeat" and parts:
            name = parts[-1]
        elif kind == "view" and 0 not in part_shape:
            view_nodes, input_shape, view_constants = data.draw(views(part_shape, name))
            nodes += view_nodes
            inputs[f"{name}_in"] = input_shape
            constants |= view_constants
        else:
            inputs[f"{name}_in"] = list(part_shape)
            nodes.append(node("Relu", f"{name}_in", name))
        parts.append(name)
    nodes.append(node("Concat", " ".join(parts), "y", axis=axis))
    # the result is read again, as is a part that lies in it
    nodes.append(node("Concat", f"{parts[0]} y y", "z", axis=axis))
    compare(model(nodes, inputs, "y z", constants))


def test_parts_are_written_where_they_are_joined() -> None:
    for axis in (0, 1):
        nodes = [node("Relu", "x", "a"), node("Sigmoid", "x", "b"), node("Concat", "a b", "y", axis=axis)]
        compare(model(nodes, {"x": [2, 3]}, "y"), rtol=1e-5, kernels=["elementwise", "elementwise"])


def test_a_view_of_a_concat_goes_into_it_again() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Slice", "a starts ends axes steps", "b"),
        node("Concat", "a b", "y", axis=0),
    ]
    constants = {"starts": [4], "ends": [-9], "axes": [0], "steps": [-2]}
    compare(model(nodes, {"x": [5, 3]}, "y", constants))


@few
@given(st.data(), shapes(least=1, most=3), st.sampled_from(["constant", "reflect", "edge", "wrap"]))
def test_pad(data: st.DataObject, shape: tuple[int, ...], mode: str) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    # reflections and repeats go on past the opposite edge
    widths = [(data.draw(st.integers(1 - extent, 7)), data.draw(st.integers(0, 7))) for extent in shape]
    pads = np.array(widths).T.reshape(-1)
    value = {"value": np.float32(2.5)} if data.draw(st.booleans()) and mode == "constant" else {}
    nodes = [*nodes, node("Pad", f"v pads {'value' if value else '-'}", "y", mode=mode)]
    compare(model(nodes, {"v_in": input_shape}, "y", constants={**constants, "pads": pads, **value}, opset=21))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_in_ranges(mode: str) -> None:
    constants = {"pads": [3, 2, 4, 1]}
    proto = model([node("Pad", "x pads", "y", mode=mode)], {"x": [64, 17]}, "y", constants=constants, opset=21)
    compare(proto, limits=CUT)


def test_pad_with_a_value_that_only_the_run_knows_and_of_nothing() -> None:
    constants = {"pads": [1, 2, 0, -1]}
    inputs = {"x": (np.int64, [3, 4]), "value": (np.int64, [1])}
    compare(model([node("Pad", "x pads value", "y")], inputs, "y", constants))
    inputs = {"x": (np.float32, [0, 4]), "value": (np.float32, [])}
    compare(model([node("Pad", "x pads value", "y")], inputs, "y", constants))


@few
@given(st.data(), shapes(least=1, most=4, extent=3))
def test_tile(data: st.DataObject, shape: tuple[int, ...]) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    constants["repeats"] = np.array([data.draw(st.integers(0, 3)) for _ in shape])
    compare(model([*nodes, node("Tile", "v repeats", "y")], {"v_in": input_shape}, "y", constants))


@few
@given(st.data(), st.sampled_from(["DCR", "CRD"]), st.integers(1, 3))
def test_depth_and_space(data: st.DataObject, mode: str, block: int) -> None:
    n, c, h, w = (data.draw(st.integers(1, 3)) for _ in range(4))
    nodes, input_shape, constants = data.draw(views((n, c * block**2, h, w)))
    nodes += [
        node("DepthToSpace", "v", "y", blocksize=block, mode=mode),
        node("SpaceToDepth", "y", "z", blocksize=block),
    ]
    compare(model(nodes, {"v_in": input_shape}, "y z", constants=constants, opset=17))


@few
@given(st.data(), shapes(least=2, most=4), st.integers(-7, 7), st.booleans())
def test_trilu(data: st.DataObject, shape: tuple[int, ...], k: int, upper: bool) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    nodes = [*nodes, node("Trilu", "v k", "y", upper=int(upper))]
    if data.draw(st.booleans()):
        compare(model(nodes, {"v_in": input_shape}, "y", {**constants, "k": np.int64(k)}))
    else:
        inputs = [np.random.default_rng(0).standard_normal(input_shape).astype(np.float32), np.array(k)]
        compare(model(nodes, {"v_in": input_shape, "k": (np.int64, [])}, "y", constants), inputs=inputs)


def test_trilu_in_ranges_moves_infinities_and_nan() -> None:
    x = np.where(np.arange(30 * 40).reshape(30, 40) % 7 == 0, np.nan, np.inf).astype(np.float32)
    compare(model([node("Trilu", "x", "y")], {"x": [30, 40]}, "y"), inputs=[x], limits=CUT)


@few
@given(st.data(), shapes(least=0, most=3, extent=3), st.sampled_from([np.float32, np.int64, np.bool_]))
def test_one_hot(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    nodes, input_shape, constants = data.draw(views(shape))
    indices = np.random.default_rng(0).integers(-6, 6, input_shape)
    constants |= {"depth": np.int64(4), "values": np.array([0, 1], dtype)}
    proto = model(
        [*nodes, node("OneHot", "v depth values", "y", axis=axis)], {"v_in": (np.int64, input_shape)}, "y", constants
    )
    compare(proto, inputs=[indices])


def test_eye_like_is_a_constant() -> None:
    nodes = [node("EyeLike", "x", "eye", k=1), node("Mul", "x eye", "y")]
    compare(model(nodes, {"x": [3, 4]}, "y eye"))


def test_strides_of_empty_tensors() -> None:
    assert strides_of((2, 0, 3)) == (3, 3, 1)
    nodes = [node("Concat", "x x", "a", axis=1), node("Transpose", "a", "y", perm=[1, 0])]
    compare(model(nodes, {"x": [3, 0]}, "y"))


def test_what_convolutions_read_is_copied_as_channels_last() -> None:
    weights = {"w": np.random.default_rng(0).standard_normal((8, 12, 3, 3)).astype(np.float32)}
    shapes = {"cut": np.array([3, 2, 5, 2, 7]), "joined": np.array([1, 12, 5, 7])}
    nodes = [
        node("Reshape", "x cut", "c"),
        node("Transpose", "c", "t", perm=[3, 1, 0, 2, 4]),
        node("Reshape", "t joined", "j"),
        node("Conv", "j w", "y", pads=[1] * 4),
    ]
    proto = model(nodes, {"x": [1, 3, 10, 14]}, "y", {**weights, **shapes})
    # one copy into the order that the convolution reads, and one of its result, which goes out row-major
    compare(proto, kernels=["elementwise", "conv", "elementwise"], rtol=1e-5, atol=1e-5)
