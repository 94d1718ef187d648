"""What holds of the plan of any graph, of any size, within any limits. Nothing is run, and no memory allocated."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import NodeProto

from engine.errors import TooLargeError
from engine.graph import bounds
from engine.graph.passes import optimize
from tests.engine.gpu.plans import MIB, PlanCase, assert_sound, plan_case
from tests.engine.models import load_graph, model, node

LEAST = 50
"""Plans of a run of the test that must have been made: the others are refused, as what they need exceeds the limits."""


class Drawing:
    """A graph that hypothesis draws: nodes over tensors ``[1, C, H, W]``, of which each reads one or two before it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        side = draw(st.sampled_from([16, 300, 4096]))
        shape = draw(st.integers(1, 40)), draw(st.integers(4, side)), draw(st.integers(4, side))
        self.shapes = {"x": shape}
        for index in range(draw(st.integers(1, 8))):
            self._add(f"t{index}")

    def proto(self) -> onnx.ModelProto:
        # what nothing reads is an output
        read = {name for each in self.nodes for name in each.input}
        ends = " ".join(name for name in self.shapes if name not in read and name != "x")
        return model(self.nodes, {"x": [1, *self.shapes["x"]]}, ends, self.constants, opset=18)

    def _constant(self, name: str, array: Any) -> str:
        self.constants[name] = np.asarray(array)
        return name

    def _weights(self, name: str, *shape: int) -> str:
        return self._constant(name, np.broadcast_to(np.float32(0), shape))

    def _add(self, name: str) -> None:
        draw = self._draw
        x = draw(st.sampled_from(list(self.shapes)))
        c, h, w = self.shapes[x]
        op = draw(
            st.sampled_from(
                [
                    "Conv",
                    "Depthwise",
                    "Relu",
                    "Add",
                    "Concat",
                    "Turn",
                    "Pool",
                    "Resize",
                    "Softmax",
                    "MatMul",
                    "Mean",
                    "Slice",
                ]
            )
        )
        others = [other for other, shape in self.shapes.items() if shape[1:] == (h, w)]
        other = draw(st.sampled_from(others))
        shape = c, h, w
        if op == "Conv":
            out, kernel = draw(st.integers(1, 80)), draw(st.sampled_from([1, 3]))
            weights = self._weights(f"w_{name}", out, c, kernel, kernel)
            self.nodes.append(node("Conv", f"{x} {weights}", name, pads=[kernel // 2] * 4))
            shape = out, h, w
        elif op == "Depthwise":
            weights = self._weights(f"w_{name}", c, 1, 3, 3)
            self.nodes.append(node("Conv", f"{x} {weights}", name, pads=[1] * 4, group=c))
        elif op == "Add" and self.shapes[other] == shape:
            self.nodes.append(node("Add", f"{x} {other}", name))
        elif op == "Concat" and c + self.shapes[other][0] <= 120:
            self.nodes.append(node("Concat", f"{x} {other}", name, axis=1))
            shape = c + self.shapes[other][0], h, w
        elif op == "Turn":
            self.nodes.append(node("Transpose", x, name, perm=[0, 1, 3, 2]))
            shape = c, w, h
        elif op == "Pool" and min(h, w) >= 8:
            self.nodes.append(node("MaxPool", x, name, kernel_shape=[2, 2], strides=[2, 2]))
            shape = c, h // 2, w // 2
        elif op == "Resize" and max(h, w) <= 2048:
            scales = self._constant(f"s_{name}", np.array([1, 1, 2, 2], np.float32))
            self.nodes.append(node("Resize", f"{x} - {scales}", name, mode="linear"))
            shape = c, 2 * h, 2 * w
        elif op == "Softmax":
            self.nodes.append(node("Softmax", x, name, axis=1))
        elif op == "MatMul":
            columns = draw(st.integers(1, 70))
            self.nodes.append(node("MatMul", f"{x} {self._weights(f'w_{name}', w, columns)}", name))
            shape = c, h, columns
        elif op == "Mean":
            self.nodes.append(node("ReduceMean", f"{x} {self._constant(f'a_{name}', np.array([1]))}", name))
            shape = 1, h, w
        elif op == "Slice" and h >= 8:
            ends = [
                self._constant(f"{which}_{name}", np.array([at])) for which, at in (("b", 1), ("e", h - 2), ("d", 2))
            ]
            self.nodes.append(node("Slice", f"{x} {' '.join(ends)}", name))
            shape = c, h - 3, w
        else:
            self.nodes.append(node("Relu", x, name))
        self.shapes[name] = shape


@st.composite
def cases(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A model, and the limits and precision to plan it for."""
    proto = Drawing(draw).proto()
    binding = draw(st.sampled_from([4 * MIB + 256, 16 * MIB, 128 * MIB, 1 << 31]))
    return proto, {
        "half": draw(st.booleans()),
        "max_storage_buffer_binding_size": binding,
        "max_buffer_size": binding * draw(st.sampled_from([1, 2, 16])),
        "max_compute_workgroups_per_dimension": draw(st.sampled_from([100, 4096, 65535])),
    }


def plan_of(proto: onnx.ModelProto, options: dict[str, Any]) -> PlanCase:
    graph = load_graph(proto)
    optimize(graph)
    return plan_case(graph, **options)


def digest(case: PlanCase) -> str:
    """The SHA-256 of everything that a plan consists of."""
    sha = hashlib.sha256(repr(case.data).encode())
    sha.update(repr(list(case.plan.allocations.values())).encode())
    for piece in case.plan.weights().pieces():
        sha.update(f"{piece.buffer}:{piece.offset}:".encode())
        sha.update(piece.data)
    return sha.hexdigest()


CUT = (
    model([node("Relu", "x", "y")], {"x": [1, 16, 1024, 1024]}, "y"),
    {"max_storage_buffer_binding_size": 2 * MIB, "max_buffer_size": 64 * MIB},
)
"""A dispatch that is cut into 32 for certain, as few of those are that are drawn."""


def test_every_plan_is_sound_and_made_alike_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "machine_memory", lambda: 1 << 50)
    planned = []

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    @example(CUT)
    def check(drawn: tuple[onnx.ModelProto, dict[str, Any]]) -> None:
        try:
            case = plan_of(*drawn)
        except TooLargeError:
            return
        assert_sound(case)
        assert digest(plan_of(*drawn)) == digest(case)
        planned.append(len(case.data.commands))

    check()
    print(len(planned), sorted(planned)[-5:], sorted(planned)[:3])
    assert len(planned) >= LEAST
    # single dispatches, and some that were cut
    assert min(planned) < 20 < max(planned)
