"""Why two backends may differ on a damaged model without either being wrong.

Each rule looks at the reference's own intermediate values. A difference that no rule explains is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.graph.ir import Graph, Node
from engine.ops import evaluate
from engine.parity import difference
from tools.fixtures import onnxruntime_session

Arrays = dict[str, np.ndarray]

HUGE = 1e37
"""A sum of some tens of float32 numbers of this size overflows in one order, and not in another."""

HALF_HUGE = 1e3
"""Likewise of float16, which only some backends round to between two operators."""

LARGEST_SCALE = 1e12
"""Products of three scales up to this stay within float32."""

NORMAL = 1.2e-38
"""The smallest normal float32: what is below may be taken as 0 (WGSL, 14.6)."""

NOISE = 4e-6
"""The relative error of a kernel, of its largest output: Winograd's transforms make 3e-6."""

SPREAD = 1e12
"""Outputs up to this may blur each other by NOISE; larger ones must be kept apart from them."""

HALF_NOISE = 1e-3

AMPLIFIED = 8.0
"""How much larger than the reference's own movement under NOISE a difference may be."""


@dataclass(frozen=True)
class Run:
    """What the reference makes of a graph, value by value; ``backend`` is the one that differs from it.

    ``file`` is the model, for ONNX Runtime to be asked where it is installed.
    """

    graph: Graph
    feeds: Mapping[str, np.ndarray]
    backend: str
    results: Mapping[str, np.ndarray]
    file: Path | None = None

    def values(self, noise: Callable[[np.ndarray], np.ndarray] | None = None) -> Arrays:
        """Every value by its name, with ``noise`` on each result; names are unique in a loaded graph."""
        arrays: dict[int, np.ndarray] = {id(value): self.feeds[value.name] for value in self.graph.inputs}
        named = {value.name: self.feeds[value.name] for value in self.graph.inputs}
        for node in self.graph.nodes:
            inputs = [None if v is None else arrays[id(v)] if v.data is None else v.data for v in node.inputs]
            for value, array in zip(node.outputs, evaluate(node, inputs), strict=False):
                if value is not None:
                    arrays[id(value)] = named[value.name] = noise(array) if noise else array
        for value in self.graph.constants():
            named.setdefault(value.name, value.data if value.data is not None else np.empty(0))
        return named

    def half(self) -> bool:
        """Whether it computes in float16 anywhere."""
        return any(value.dtype == np.float16 for node in self.graph.nodes for value in node.used_outputs())


def overflow(run: Run, values: Arrays) -> bool:
    """A result is infinite or NaN, or so large that a sum of such overflows in one order and not in another."""
    return exceeds(run, values, HUGE)


def exceeds(run: Run, values: Arrays, limit: float) -> bool:
    """Whether a result is infinite, NaN or larger than the limit, or than HALF_HUGE in float16."""
    results = [values[value.name] for node in run.graph.nodes for value in node.used_outputs()]
    floats = [array for array in results if array.dtype.kind == "f" and array.size]
    return any(not np.abs(array).max() <= (HALF_HUGE if array.dtype == np.float16 else limit) for array in floats)


def onnxruntime_agrees(run: Run, file: Path, values: Arrays) -> bool:
    """Whether ONNX Runtime is there, takes the model, and makes of it what the reference makes."""
    names = [value.name for value in run.graph.outputs]
    try:
        outputs = onnxruntime_session(file, threads=1).run(names, dict(run.feeds))
    except Exception:  # it has types of its own for what it does not take
        return False
    return not differing(dict(zip(names, outputs, strict=True)), {name: values[name] for name in names}, run.half())


def underflow(run: Run, values: Arrays) -> bool:
    """A GPU may take numbers below the normal range as 0, and one is there."""
    if run.backend != "webgpu":
        return False
    floats = [array for array in values.values() if array.dtype.kind == "f"]
    return any(((array != 0) & (np.abs(array) < NORMAL)).any() for array in floats)


def undefined(run: Run, values: Arrays) -> bool:
    """ONNX leaves open what comes of a float outside of an integer's range, of division by 0, and of long shifts.

    A scale of a quantised operator is divided by, or multiplied with another: it must be far from 0 and infinity.
    """

    def value_of(node: Node, index: int) -> np.ndarray | None:
        value = node.optional_input(index)
        return None if value is None else value.data if value.data is not None else values.get(value.name)

    for node in run.graph.nodes:
        first, second = value_of(node, 0), value_of(node, 1)
        if node.op.startswith("Q") and not all(map(_usable, (value_of(node, 1), value_of(node, 4), value_of(node, 6)))):
            return True
        if first is None or node.outputs[0] is None:
            continue
        target = node.output.dtype
        if node.op in ("Cast", "CastLike") and first.dtype.kind == "f" and target.kind in "iu":
            limits = np.iinfo(target)
            if not ((first > limits.min - 1.0) & (first < limits.max + 1.0)).all():
                return True
        if second is None:
            continue
        if node.op in ("Div", "Mod") and second.dtype.kind in "iu" and (second == 0).any():
            return True
        if node.op == "BitShift" and (second >= 8 * second.dtype.itemsize).any():
            return True
        if node.op == "Pow" and target.kind in "iu":
            return True
    return False


def _usable(scale: np.ndarray | None) -> bool:
    if scale is None or scale.dtype.kind != "f":
        return True
    return bool(((np.abs(scale) > 1 / LARGEST_SCALE) & (np.abs(scale) < LARGEST_SCALE)).all())


TRIES = 50
"""Of noise: a single value that is rounded to the other of two integers is met in few of them."""


SELDOM = 0.02
"""The share of requantised elements that noise moves by one."""


def requantised(run: Run, values: Arrays) -> bool:
    """A few elements of QLinearConv or QLinearMatMul are rounded the other way: an error of one, which tests allow."""
    random = np.random.default_rng(0)

    def noise(array: np.ndarray) -> np.ndarray:
        if array.dtype not in (np.int8, np.uint8):
            return array
        limits = np.iinfo(array.dtype)
        step = random.integers(-1, 2, array.shape) * (random.random(array.shape) < SELDOM)
        return np.clip(array.astype(np.int32) + step, limits.min, limits.max).astype(array.dtype)

    return any(node.op.startswith("QLinear") for node in run.graph.nodes) and _moves_as_far(run, values, noise)


def conditioning(run: Run, values: Arrays) -> bool:
    """The reference itself moves as far when each result moves by the error of a kernel: a step, or cancellation."""
    random = np.random.default_rng(0)
    level = HALF_NOISE if run.half() else NOISE

    def noise(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f" or not array.size:
            return array
        magnitude = np.abs(array)
        usual = magnitude[magnitude <= SPREAD].max(initial=0)
        scale = level * random.choice((0.3, 1.0)) * np.maximum(np.where(np.isfinite(magnitude), magnitude, 0), usual)
        return (array + scale * random.uniform(-1, 1, array.shape)).astype(array.dtype)

    return _moves_as_far(run, values, noise)


def _moves_as_far(run: Run, values: Arrays, noise: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether noise on each result of the reference moves what differs as far as it differs."""
    names = [value.name for value in run.graph.outputs if not same(run.results[value.name], values[value.name])]
    movements = dict.fromkeys(names, 0.0)
    for _ in range(TRIES):
        trial = run.values(noise)
        for name in names:
            movements[name] = max(movements[name], difference(trial[name], values[name]).absolute)
        if all(difference(run.results[name], values[name]).absolute <= AMPLIFIED * movements[name] for name in names):
            return True
    return False


RULES: tuple[tuple[str, Callable[[Run, Arrays], bool]], ...] = (
    ("overflow", overflow),
    ("underflow", underflow),
    ("undefined by ONNX", undefined),
    ("conditioning", conditioning),
)


def explanation(run: Run) -> str:
    """The name of the first rule that explains the difference; empty where none does.

    ONNX Runtime sums in an order of its own: where numbers are extreme and it agrees with the reference all the same,
    it is the backend that is wrong.
    """
    with np.errstate(all="ignore"):
        values = run.values()
        if requantised(run, values):
            return "requantised"
        if run.file is not None and exceeds(run, values, SPREAD) and onnxruntime_agrees(run, run.file, values):
            return ""
        return next((name for name, holds in RULES if holds(run, values)), "")


TOLERANCE = 1e-4
"""Of the largest magnitude of a float result; integers must be equal."""

HALF_TOLERANCE = 1e-2


def same(result: np.ndarray, reference: np.ndarray, *, half: bool = False) -> bool:
    """Whether a result is the reference's within the tolerance."""
    if (result.dtype, result.shape) != (reference.dtype, reference.shape):
        return False
    if reference.dtype.kind != "f":
        return bool(np.array_equal(result, reference))
    limit = HALF_TOLERANCE if half or reference.dtype == np.float16 else TOLERANCE
    return difference(result, reference).relative <= limit


def differing(results: Mapping[str, np.ndarray], references: Mapping[str, np.ndarray], half: bool) -> Sequence[str]:
    """The names of the results that are not the same."""
    return [
        name for name, array in references.items() if name not in results or not same(results[name], array, half=half)
    ]
