"""Splitting, commuting and composing together: a linear tail over a concatenation never makes the wide tensors."""

from __future__ import annotations

import numpy as np

from engine.graph.passes import optimize
from tests.engine.models import execute, feeds, interpret, load_graph, model, node

WIDE, NARROW, SMALL_SIDE, LARGE_SIDE = 192, 48, 16, 64


def test_linear_tail() -> None:
    """conv 1x1 (240 → 1) over Concat(Resize(192 channels), conv 3x3 (conv 3x3 (x))), as BiRefNet ends."""
    random = np.random.default_rng(0)

    def weights(outputs: int, inputs: int, kernel: int) -> np.ndarray:
        w = random.standard_normal((outputs, inputs, kernel, kernel)) / np.sqrt(inputs * kernel**2)
        return w.astype(np.float32)

    constants = {
        "w1": weights(64, 3, 3),
        "w2": weights(NARROW, 64, 3),
        "w": weights(1, WIDE + NARROW, 1),
        **{
            name: random.standard_normal(count).astype(np.float32) for name, count in (("b1", 64), ("b2", 48), ("b", 1))
        },
        "sizes": np.array([1, WIDE, LARGE_SIDE, LARGE_SIDE]),
    }
    proto = model(
        [
            node("Conv", "x w1 b1", "c", pads=[1, 1, 1, 1]),
            node("Conv", "c w2 b2", "d", pads=[1, 1, 1, 1]),
            node("Relu", "p", "q"),
            node("Resize", "q - - sizes", "r", mode="linear", coordinate_transformation_mode="align_corners"),
            node("Concat", "r d", "e", axis=1),
            node("Conv", "e w b", "f"),
            node("Sigmoid", "f", "y"),
        ],
        {"x": [1, 3, LARGE_SIDE, LARGE_SIDE], "p": [1, WIDE, SMALL_SIDE, SMALL_SIDE]},
        "y",
        constants,
    )
    graph = load_graph(proto)
    inputs = feeds(graph)
    expected = interpret(graph, inputs)[0]
    before = max(node.output.type.nbytes for node in graph.nodes)
    counts = optimize(graph)
    assert (counts["split_concat_convolution"], counts["commute_resize"], counts["compose_convolutions"]) == (1, 1, 1)
    assert graph.histogram() == {"Conv": 3, "Relu": 1, "Resize": 1, "Add": 1, "Sigmoid": 1}
    after = max(node.output.type.nbytes for node in graph.nodes)
    plane = 4 * LARGE_SIDE * LARGE_SIDE
    assert (before, after) == ((WIDE + NARROW) * plane, 64 * plane)  # the composed 64 → 1 reads what 3 → 64 makes
    for results in (interpret(graph, inputs), execute(graph, inputs)):
        np.testing.assert_allclose(results[0], expected, rtol=0, atol=2e-6)  # measured: 3e-7
