"""What no machine can hold, and what this one has not the memory for: said at the door, before memory is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import engine
from engine import ModelError, Session, TooLargeError, UnsupportedError
from engine.graph import bounds
from engine.graph.bounds import MOST_AXES
from engine.graph.ir import TensorType
from engine.ops import registry
from tests.engine.models import Dims, load_graph, model, node
from tests.wall_clock import computed_within

F32, F64, I64, U8 = np.float32, np.float64, np.int64, np.uint8
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 GiB, whatever the tests run on."""
    monkeypatch.setattr(bounds, "machine_memory", lambda: 16 * GIB)


def with_dims(*dims: int) -> onnx.ModelProto:
    proto = model([node("Add", "x w", "y")], {"x": [1]}, "y", {"w": np.zeros(0, F32)})
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    return proto


def a_range(start: Any, limit: Any, delta: Any) -> onnx.ModelProto:
    values = {"a": np.array(start), "b": np.array(limit), "c": np.array(delta)}
    return model([node("Range", "a b c", "r"), node("Shape", "r", "y")], {}, "y", values)


def resize(shape: Dims, sizes: Dims, **attributes: Any) -> onnx.ModelProto:
    return model([node("Resize", "x - - s", "y", **attributes)], {"x": shape}, "y", {"s": np.array(sizes)})


def conv(op: str = "Conv", **attributes: Any) -> onnx.ModelProto:
    dtype = U8 if op == "ConvInteger" else F32
    x = (dtype, [1, 1, 4, 4])
    return model([node(op, "x w", "y", **attributes)], {"x": x}, "y", {"w": np.ones((1, 1, 3, 3), dtype)})


def pool(op: str = "MaxPool", **attributes: Any) -> onnx.ModelProto:
    return model([node(op, "x", "y", **attributes)], {"x": [1, 1, 4, 4]}, "y")


NO_MACHINE = {
    "empty, and 2^62 long": with_dims(0, 2**62),
    "70 axes": with_dims(*[1] * 69, 0),
    "input of 2^62": model([node("Relu", "x", "y")], {"x": [2**62]}, "y"),
    "Shape of an input of 2^64": model([node("Shape", "x", "y")], {"x": [2**62, 4]}, "y"),
    "input of 70 axes": model([node("Relu", "x", "y")], {"x": [1] * 70}, "y"),
    "Unsqueeze to 40 axes": model([node("Unsqueeze", "x a", "y")], {"x": [1]}, "y", {"a": np.arange(39)}),
    "Expand to 10^14": model([node("Expand", "x s", "y")], {"x": [1]}, "y", {"s": np.array([10**14])}),
    "ConstantOfShape of 10^14": model([node("ConstantOfShape", "s", "y")], {}, "y", {"s": np.array([10**14])}),
    "Range to 2^62": a_range(0, 2**62, 1),
    "Range to infinity": a_range(0.0, np.inf, 1.0),
    "Resize to 10^18": resize([1, 1, 4, 4], [1, 1, 10**9, 10**9]),
    "pads of 10^9": conv("ConvInteger", pads=[10**9] * 4),
    "dilations of 10^9": conv(dilations=[10**9] * 2, auto_pad="SAME_UPPER"),
    "strides of 2^63 - 1": conv(strides=[2**63 - 1] * 2),
    "transposed, strides of 10^9": conv("ConvTranspose", strides=[10**9] * 2),
    "a kernel of 10^6 in padding": pool(kernel_shape=[10**6, 1], pads=[10**6 // 2, 0, 10**6 // 2, 0]),
    "LRN over 2^62 channels": model([node("LRN", "x", "y", size=2**62 + 1)], {"x": [1, 3, 4, 4]}, "y"),
    "Split into 2^62 parts": model([node("Split", "x", "y", num_outputs=2**62)], {"x": [0]}, "y", opset=18),
    "GridSample of 18 axes": model(
        [node("GridSample", "x g", "y")], {"x": [1] * 20, "g": [1] * 19 + [18]}, "y", opset=20
    ),
    "GatherND past -1 batch axes": model(
        [node("GatherND", "x i", "y", batch_dims=-1)], {"x": [2, 2], "i": (I64, [2, 1])}, "y"
    ),
    "negative extent": model([node("Resize", "x - - s", "y")], {"x": [4]}, "y", {"s": np.array([-4])}),
}

NOT_THIS_MACHINE = {
    "input of 2^40": model([node("Relu", "x", "y")], {"x": [2**40]}, "y"),
    "Range to 2^40": a_range(0, 2**40, 1),
    "Range to 10^12 of floats": a_range(F32(0), F32(1e12), F32(1)),
    "Expand to 2^40": model([node("Expand", "x s", "y")], {"x": [1]}, "y", {"s": np.array([2**40])}),
    "ConstantOfShape of 10^13": model([node("ConstantOfShape", "s", "y")], {}, "y", {"s": np.array([10**13])}),
    "Tile to 2^40": model([node("Tile", "x s", "y")], {"x": [1]}, "y", {"s": np.array([2**40])}),
    "Pad to 2^40": model([node("Pad", "x p", "y")], {"x": [1]}, "y", {"p": np.array([0, 2**40])}),
    "OneHot of 2^40": model(
        [node("OneHot", "i d v", "y")], {"i": (I64, [1])}, "y", {"d": np.array(2**40), "v": np.array([0, 1], F32)}
    ),
    "Resize to 10^12": resize([1, 1, 4, 4], [1, 1, 10**6, 10**6]),
    "a table of 10^9 rows": resize([1, 1, 1, 4], [1, 1, 1, 10**9], mode="linear"),
    "padding of 2^20 on each side": conv(pads=[2**20] * 4),
}


@pytest.mark.wall_clock
@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("name", NO_MACHINE)
def test_what_no_machine_can_hold(name: str, backend: str) -> None:
    with computed_within(5), pytest.raises(ModelError) as failure:
        Session(NO_MACHINE[name].SerializeToString(), backend=backend)
    assert not isinstance(failure.value, UnsupportedError)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("name", NOT_THIS_MACHINE)
def test_what_this_machine_cannot_hold(name: str, backend: str) -> None:
    with pytest.raises(TooLargeError, match=r"takes [\d,]+ bytes, and this machine has 17,179,869,184"):
        Session(NOT_THIS_MACHINE[name].SerializeToString(), backend=backend)


def test_a_shape_that_the_caller_binds() -> None:
    data = model([node("Relu", "x", "y")], {"x": ["n"]}, "y").SerializeToString()
    with pytest.raises(ModelError, match=r"^input 'x', float32\[4611686018427387904\], takes .* for"):
        Session(data, input_shapes={"x": (2**62,)}, backend="numpy")


def test_the_most_axes_run() -> None:
    proto = model([node("Relu", "x", "y")], {"x": [1] * MOST_AXES}, "y")
    x = np.full((1,) * MOST_AXES, -1, F32)
    for backend in ("numpy", "reference"):
        with Session(proto.SerializeToString(), backend=backend) as session:
            assert session.run({"x": x})["y"].shape == x.shape


def test_constants_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three is a quarter of the memory, which is 100 MiB: what holds and makes them all is more than that."""
    monkeypatch.setattr(bounds, "machine_memory", lambda: 100 << 20)
    nodes = [node("ConstantOfShape", "s", name) for name in "abc"]
    protos = [model(nodes, {}, outputs, {"s": np.array([110 << 16])}) for outputs in ("a", "a b c")]
    load_graph(protos[0])
    with pytest.raises(TooLargeError, match=r"^ConstantOfShape '.': what is computed before a run takes"):
        load_graph(protos[1])


def test_the_system_is_asked_for_its_memory_once_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(bounds, "machine_memory", lambda: asked.append(1) or 16 * GIB)
    (layer,) = load_graph(model([node("Relu", "x", "y")], {"x": [4]}, "y")).nodes
    budget = bounds.Budget()
    budget.constant_bytes = GIB
    for _ in range(100):
        budget.evaluate(layer, GIB)
    assert 1 <= len(asked) <= 2  # to judge the first, and to know for the others
    with pytest.raises(TooLargeError):
        budget.evaluate(layer, 16 * GIB)


def test_views_of_a_constant_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "machine_memory", lambda: 100 << 20)
    nodes = [node("ConstantOfShape", "s", "v0")]
    nodes += [node("Reshape", f"v{index} t", f"v{index + 1}") for index in range(5)]
    load_graph(model(nodes, {}, "v5", {"s": np.array([100 << 16]), "t": np.array([100, -1])}))


@pytest.mark.parametrize(("backend", "mebibytes"), [("numpy", 70), ("reference", 100)])
def test_activations_that_this_machine_cannot_hold(
    backend: str, mebibytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor of 40 MiB fits, and all that is alive at once does not: on "numpy" x and y, for a and b stay in the
    blocks of one step.
    """
    x = [10 << 20]
    nodes = [node("Relu", "x", "a"), node("Exp", "x", "b"), node("Sum", "a b x", "y")]
    data = model(nodes, {"x": x}, "y").SerializeToString()
    Session(data, backend=backend).close()
    monkeypatch.setattr(bounds, "machine_memory", lambda: mebibytes << 20)
    with pytest.raises(TooLargeError, match=r"^a run of the model .* takes [\d,]+ bytes, and this machine has"):
        Session(data, backend=backend)


def test_the_padded_input_of_the_reference_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^20 rows of padding over 4 columns are 48 MiB beside 4 MiB of output; the NumPy executor never makes them."""
    data = conv(pads=[2**20, 0, 2**20, 0], strides=[2, 1]).SerializeToString()
    monkeypatch.setattr(bounds, "ALWAYS_AVAILABLE", 0)
    monkeypatch.setattr(bounds, "machine_memory", lambda: 40 << 20)
    with pytest.raises(TooLargeError, match="by its reference operators takes"):
        Session(data, backend="reference")


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("stage", ["infer", "reference"])
@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (MemoryError("2 TiB"), TooLargeError),
        *((kind("broken"), ModelError) for kind in (ValueError, KeyError, OverflowError, RuntimeError, AssertionError)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_whatever_an_operator_raises_names_its_node(
    exception: Exception, expected: type[engine.EngineError], stage: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise exception

    entry = registry.lookup("", "Trilu", 17)
    assert entry is not None
    failing = registry.Operator(**{**{name: getattr(entry, name) for name in entry.__slots__}, stage: fail})
    monkeypatch.setitem(registry._OPERATORS, ("", "Trilu"), [failing])
    proto = model([node("Trilu", "x", "y", name="corner")], {"x": [2, 2]}, "y")
    with (
        pytest.raises(expected, match=r"Trilu 'corner'") as failure,
        Session(proto.SerializeToString(), backend=backend) as session,
    ):
        session.run({"x": np.ones((2, 2), F32)})
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_a_region_of_any_size(backend: str) -> None:
    """RoiAlign takes a sample for each pixel of a region that only a run knows."""
    inputs = {"x": [1, 64, 4, 4], "r": [1, 4], "i": (I64, [1])}
    proto = model([node("RoiAlign", "x r i", "y")], inputs, "y")
    x, index = np.ones((1, 64, 4, 4), F32), np.zeros(1, I64)
    with Session(proto.SerializeToString(), backend=backend) as session:
        with pytest.raises(TooLargeError, match=r"RoiAlign 'y': region 0 takes"):
            session.run({"x": x, "r": np.array([[0, 0, 1e5, 1e5]], F32), "i": index})
        assert session.run({"x": x, "r": np.array([[0, 0, 2, 2]], F32), "i": index})["y"].shape == (1, 64, 1, 1)


def test_range_takes_little_more_than_its_result() -> None:
    """Sized before it is made, and made in one piece, whatever the step."""
    for start, limit, delta in ((0, 10, 3), (10, 0, -3), (5, 5, 1), (0, 10, -1), (-(2**62), 2**62, 2**61)):
        values = [np.array(number) for number in (start, limit, delta)]
        expected = np.array(range(start, limit, delta), I64)
        proto = model([node("Range", "a b c", "y")], {}, "y", dict(zip("abc", values, strict=True)))
        (value,) = load_graph(proto).outputs
        assert value.data is not None
        np.testing.assert_array_equal(value.data, expected)
    (value,) = load_graph(
        model([node("Range", "a b c", "y")], {}, "y", {"a": F32(0), "b": F32(1), "c": F32(0.1)})
    ).outputs
    np.testing.assert_array_equal(value.data, (np.arange(10) * np.float64(F32(0.1))).astype(F32))


@pytest.mark.wall_clock
def test_many_numbers_are_made_at_once() -> None:
    values = {"a": np.array(0), "b": np.array(5 * 10**6), "c": np.array(1)}
    with computed_within(0.5):
        graph = load_graph(model([node("Range", "a b c", "y")], {}, "y", values))
    assert graph.outputs[0].shape == (5 * 10**6,)


def test_tensor_of_the_largest_size_any_machine_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "machine_memory", lambda: 1 << 60)
    bounds.check_tensor(TensorType(np.dtype(U8), (2**47,)), "x")
    with pytest.raises(ModelError, match="more than any machine can address"):
        bounds.check_tensor(TensorType(np.dtype(U8), (2**47 + 1,)), "x")
