"""The passes together."""

from __future__ import annotations

import numpy as np

from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.models import U2NETP, interpret, with_image_side


def test_real_model() -> None:
    graph = load(with_image_side(U2NETP, 64))
    inputs = [np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)]
    expected = interpret(graph, inputs)
    counts = optimize(graph)
    assert counts["fold_batch_norm"] + counts["fuse_activation"] > 100
    assert set(graph.histogram()) <= {"FusedConv", "Conv", "MaxPool", "Resize", "Concat", "Add", "Sigmoid"}
    np.testing.assert_allclose(interpret(graph, inputs)[0], expected[0], rtol=0, atol=1e-6)
    assert not any(optimize(graph).values())
