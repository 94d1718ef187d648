"""A gapless copy of a tensor is made once, and anew where its elements may have been written since."""

from __future__ import annotations

import numpy as np

from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.overlap import may_overlap
from engine.gpu.program.tensor import Tensor, channels_last
from engine.graph.ir import Graph
from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

LAST = channels_last(4)


def tensor(lowering: Lowering, channels: int = 8) -> Tensor:
    return lowering.scratch((1, channels, 5, 6), "f32", "t", LAST)


def test_two_convolutions_of_an_input_copy_it_once() -> None:
    weights = {name: np.ones((6, 8, 3, 3), np.float32) / 72 for name in ("v", "w")}
    nodes = [node("Conv", "x v", "a"), node("Conv", "x w", "b", strides=[2, 2])]
    proto = model(nodes, {"x": [1, 8, 9, 7]}, "a b", weights)
    # x made channels-last, and both results row-major
    compare(proto, rtol=1e-4, atol=1e-5, kernels=["elementwise", "conv", "conv", "elementwise", "elementwise"])


def test_a_copy_is_made_once_for_each_order_and_type() -> None:
    lowering = Lowering(Graph([], [], []))
    x = tensor(lowering)
    first = lowering.dense_copy(x)
    assert lowering.dense_copy(x) is first
    assert lowering.dense_copy(x, range(4)) is first
    other = lowering.dense_copy(x, (0, 2, 1, 3))
    assert other is not first
    assert lowering.dense_copy(x, (0, 2, 1, 3)) is other
    assert lowering.dense_copy(x, dtype="f16").dtype == "f16"
    assert len(lowering.dispatches) == 3


def test_a_copy_of_what_was_written_since_is_made_anew() -> None:
    lowering = Lowering(Graph([], [], []))
    x, source = tensor(lowering), tensor(lowering)
    front, back = x.slice(1, 0, 4), x.slice(1, 4, 4)
    copies = [lowering.dense_copy(part) for part in (x, front, back)]
    lowering.copy(source.slice(1, 0, 4), front)
    again = [lowering.dense_copy(part) for part in (x, front, back)]
    assert [old is new for old, new in zip(copies, again, strict=True)] == [False, False, True]
    assert [lowering.dense_copy(part) for part in (x, front, back)] == again


def test_what_overlaps() -> None:
    lowering = Lowering(Graph([], [], []))
    x = tensor(lowering)
    rows = x.slice(2, 0, 2), x.slice(2, 2, 3)
    channels = x.slice(1, 0, 3), x.slice(1, 3, 2), x.slice(1, 2, 2)
    assert not may_overlap(x, tensor(lowering))
    assert not may_overlap(*rows)
    assert not may_overlap(channels[0], channels[1])
    assert may_overlap(channels[0], channels[2])
    assert may_overlap(channels[1], channels[2])
    assert may_overlap(rows[0], channels[0])
    assert not may_overlap(rows[0].slice(1, 0, 3), channels[1])
    # a part of one pixel beside parts of all of them, and the same elements under another shape
    assert may_overlap(x.slice(2, 1, 1).slice(3, 1, 1), channels[2])
    pixels = channels[0].transpose((0, 2, 3, 1)).reshape((30, 3))
    assert pixels is not None
    assert may_overlap(pixels, channels[2])
    assert not may_overlap(pixels, channels[1])
    # backwards, and every other element
    assert may_overlap(x.slice(1, 7, 4, -1), x.slice(1, 5, 2))
    assert not may_overlap(x.slice(1, 7, 2, -1), x.slice(1, 0, 2))
    assert not may_overlap(x.slice(1, 0, 0), x)


def test_overlap_agrees_with_the_elements_themselves() -> None:
    lowering = Lowering(Graph([], [], []))
    random = np.random.default_rng(2)
    x = tensor(lowering)
    separate = 0
    for _ in range(300):
        views = []
        for _ in range(2):
            view = x
            for axis, extent in enumerate(x.shape):
                start = int(random.integers(0, extent))
                view = view.slice(axis, start, int(random.integers(1, extent - start + 1)))
            views.append(view)
        sets = [set((view.offset + np.tensordot(view.strides, np.indices(view.shape), 1)).flat) for view in views]
        separate += not may_overlap(*views)
        assert may_overlap(*views) or not sets[0] & sets[1]
    assert separate > 100
