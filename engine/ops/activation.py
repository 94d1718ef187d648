"""Activations.

Relu-6/13/14, LeakyRelu-6/16, PRelu-7/9/16, Elu-6/22, Selu-6/22, Celu-12/28, ThresholdedRelu-10/22, Sigmoid-6/13,
HardSigmoid-6/22, HardSwish-14/22, Softplus-1/22, Softsign-1/22, Swish-24, SwiGLU-28, Mish-18/22, Gelu-20, Shrink-9. The
versions differ in the dtypes they allow alone.

Each function takes float32 or float64 arrays of any shape and gives one of the same shape and dtype; the keywords are
the operator's attributes with its defaults.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import NUMBER, SIGNED, Elementwise, elementwise
from engine.ops.erf import erf
from engine.ops.registry import operator
from engine.ops.types import broadcast


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0); NaN stays NaN."""
    y: np.ndarray = np.maximum(x, 0)
    return y


def leaky_relu(x: np.ndarray, *, alpha: float = 0.01) -> np.ndarray:
    """x, times ``alpha`` where negative."""
    return np.where(x < 0, alpha * x, x)


def prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """x, times ``slope`` where negative."""
    return np.where(x < 0, slope * x, x)


def elu(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """x, and alpha (exp(x) - 1) where negative."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def selu(
    x: np.ndarray, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> np.ndarray:
    """Elu times ``gamma``."""
    return gamma * elu(x, alpha=alpha)


def celu(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    y: np.ndarray = np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha))
    return y


def thresholded_relu(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """x where it is above ``alpha``, else 0."""
    return np.where(x > alpha, x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by the exponential of -\\|x\\| alone, which cannot overflow."""
    decay = np.exp(-np.abs(x))
    y: np.ndarray = np.where(x < 0, decay, 1) / (1 + decay)
    return y


def hard_sigmoid(x: np.ndarray, *, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    """alpha x + beta, kept within 0 and 1."""
    return np.clip(alpha * x + beta, 0, 1)


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x times HardSigmoid(x) with alpha 1/6 and beta 1/2."""
    y: np.ndarray = x * hard_sigmoid(x, alpha=1 / 6)
    return y


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), without overflow."""
    y: np.ndarray = np.logaddexp(x, 0)
    return y


def softsign(x: np.ndarray) -> np.ndarray:
    """x / (1 + \\|x\\|)."""
    y: np.ndarray = x / (1 + np.abs(x))
    return y


def swish(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """x sigmoid(alpha x)."""
    y: np.ndarray = x * sigmoid(alpha * x)
    return y


def swiglu(gate: np.ndarray, linear: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """Swish of the gate times the linear input."""
    y: np.ndarray = swish(gate, alpha=alpha) * linear
    return y


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(softplus(x))."""
    y: np.ndarray = x * np.tanh(softplus(x))
    return y


def gelu(x: np.ndarray, *, approximate: str = "none") -> np.ndarray:
    """x times the normal distribution function at x; by tanh where ``approximate`` is "tanh"."""
    inner = np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)) if approximate == "tanh" else erf(x / sqrt(2))
    y: np.ndarray = 0.5 * x * (1 + inner)
    return y


def shrink(x: np.ndarray, *, lambd: float = 0.5, bias: float = 0.0) -> np.ndarray:
    """x moved towards 0 by ``bias``, and 0 from -lambd to lambd."""
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


elementwise("Relu", relu, kinds=SIGNED)
elementwise("LeakyRelu", leaky_relu, since=6, attributes=("alpha",))
elementwise("Elu", elu, since=6, attributes=("alpha",))
elementwise("Selu", selu, since=6, attributes=("alpha", "gamma"))
elementwise("Celu", celu, since=12, attributes=("alpha",))
elementwise("ThresholdedRelu", thresholded_relu, since=10, attributes=("alpha",))
elementwise("Sigmoid", sigmoid)
elementwise("HardSigmoid", hard_sigmoid, since=6, attributes=("alpha", "beta"))
elementwise("HardSwish", hard_swish, since=14)
elementwise("Softplus", softplus)
elementwise("Softsign", softsign)
elementwise("Swish", swish, since=24, attributes=("alpha",))
elementwise("Mish", mish, since=18)
elementwise("Gelu", gelu, since=20, attributes=("approximate",))
elementwise("Shrink", shrink, since=9, kinds=NUMBER, attributes=("lambd", "bias"))


class _OneShape(Elementwise):
    """Elementwise over inputs that must have one shape."""

    def infer(self, node: Node) -> list[TensorType]:
        if node.input(0).shape != node.input(1).shape:
            raise ValueError("the inputs must have one shape")
        return Elementwise.infer(self, node)


class _LikeFirst(Elementwise):
    """Elementwise with unidirectional broadcasting: the result has the shape of the first input."""

    def infer(self, node: Node) -> list[TensorType]:
        shape = node.input(0).shape
        if broadcast(shape, node.input(1).shape) != shape:
            raise ValueError("the second input does not broadcast to the first")
        return Elementwise.infer(self, node)


operator("SwiGLU", since=28)(_OneShape(swiglu, "f", None, ("alpha",)))
operator("PRelu", since=7)(_LikeFirst(prelu, NUMBER, None, ()))
