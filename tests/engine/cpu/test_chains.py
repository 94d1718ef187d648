"""Element-wise nodes that run as one step, alone and behind convolutions, against the references."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine.cpu.chain import is_chain
from engine.cpu.epilogue import Epilogue
from engine.cpu.fuse_chains import fuse_chains
from engine.graph.passes import optimize
from tests.engine.cpu.kernels import compare
from tests.engine.models import load_graph, model, node

RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "w": RANDOM.standard_normal((6, 5, 3, 3)).astype(np.float32) / 7,
    "d": RANDOM.standard_normal((5, 1, 3, 3)).astype(np.float32) / 3,
    "k": np.linspace(-1, 1, 6, dtype=np.float32).reshape(6, 1, 1),
    **{name: RANDOM.uniform(0.5, 2, 6).astype(np.float32) for name in "sbmv"},
    "3": np.float32(3),
    "6": np.float32(6),
    "0": np.float32(0),
}
SWISH = [node("Sigmoid", "c", "g"), node("Mul", "c g", "y")]
HARD_SWISH = [
    node("Add", "c 3", "p"),
    node("Clip", "p 0 6", "q"),
    node("Mul", "c q", "r"),
    node("Div", "r 6", "y"),
]


def proto(*nodes: onnx.NodeProto, outputs: str = "y") -> onnx.ModelProto:
    """A model over x ``[2, 5, 9, 11]``, with those of CONSTANTS that it reads."""
    read = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in read}
    return model(list(nodes), {"x": [2, 5, 9, 11]}, outputs, constants)


CONV = node("Conv", "x w", "c", pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    "chain",
    [
        proto(CONV, *SWISH),
        proto(CONV, *HARD_SWISH),
        proto(node("Conv", "x d", "c", group=5, pads=[1, 2, 1, 0], strides=[2, 1]), *HARD_SWISH),
        # another reader of what a Swish would have the weights scale
        proto(CONV, node("Sigmoid", "c", "g"), node("Mul", "c g", "m"), node("Add", "m c", "y")),
        proto(CONV, node("BatchNormalization", "c s b m v", "n"), node("Relu", "n", "y")),
        proto(CONV, node("Mul", "c k", "p"), node("Add", "p k", "q"), node("Tanh", "q", "y")),
        proto(node("Neg", "x", "n"), node("Exp", "n", "e"), node("Add", "e x", "s1"), node("Sqrt", "s1", "y")),
    ],
)
def test_one_step(chain: onnx.ModelProto) -> None:
    compare(chain, rtol=1e-5, atol=1e-5)
    steps = fuse_chains(load_graph(chain)).nodes
    assert [is_chain(step) for step in steps] == [True]


@pytest.mark.parametrize(
    ("attributes", "scale"),
    [
        ({}, 0.2),
        ({"alpha": 0.3, "beta": 0.4}, 0.3),
        ({"alpha": 0.0}, 1.0),
        ({"alpha": -0.25}, 1.0),
        ({"alpha": 2.0**-41}, 1.0),
        ({"alpha": 2.0**41}, 1.0),
    ],
)
def test_the_weights_scale_what_a_hard_sigmoid_reads(attributes: dict[str, float], scale: float) -> None:
    conv, hard = node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("HardSigmoid", "c", "h", **attributes)
    gates = proto(conv, hard, node("Mul", "h k", "y"))
    compare(gates, rtol=1e-5, atol=1e-5)
    graph = load_graph(gates)
    for _ in ("two nodes", "the activation of one"):
        (step,) = fuse_chains(graph).nodes
        assert Epilogue(step, scales=True).scale == pytest.approx(scale)
        optimize(graph)
    # another reader of what the convolution gives
    compare(proto(conv, hard, node("Mul", "h c", "y")), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_a_swish_of_any_alpha(alpha: float) -> None:
    constants = {"w": CONSTANTS["w"]}
    swish = model([CONV, node("Swish", "c", "y", alpha=alpha)], {"x": [2, 5, 9, 11]}, "y", constants, opset=24)
    compare(swish, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ((CONV, *SWISH), "y c"),
        ((CONV, *SWISH), "y g"),
        ((CONV, *SWISH, node("MaxPool", "g", "z", kernel_shape=[2, 2])), "y z"),
        ((CONV, node("ReduceMean", "c", "m1", axes=[2, 3]), node("Mul", "c m1", "y")), "y"),
    ],
)
def test_what_others_read_is_there(nodes: tuple[onnx.NodeProto, ...], outputs: str) -> None:
    chain = proto(*nodes, outputs=outputs)
    compare(chain, rtol=1e-5, atol=1e-5)
    made = {value.name for step in fuse_chains(load_graph(chain)).nodes for value in step.used_outputs()}
    read = {name for each in nodes for name in each.input if each.op_type in ("MaxPool", "ReduceMean")}
    assert set(outputs.split()) | read <= made
