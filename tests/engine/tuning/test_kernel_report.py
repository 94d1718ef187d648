"""Which kernels a model's nodes got: all nodes of the plan, and each dispatch once."""

from __future__ import annotations

import engine
from tests.engine.models import model, node
from tests.engine.tuning.networks import network, weights


def test_every_dispatch_has_its_node() -> None:
    report = engine.kernel_report(network().SerializeToString(), portable=True)
    assert [(entry.op, entry.joined, len(entry.kernels)) for entry in report.nodes] == [
        ("FusedConv", (), 1),
        ("Conv", (), 1),
        ("Conv", ("Add",), 1),
        ("Transpose", (), 0),
        ("MatMul", (), 1),
        ("MatMul", (), 1),
    ]
    assert [row.row for row in report.nodes[4].rows] == ["linear", "tiled-middle"]
    assert report.copies.kernels == ()
    assert report.dispatches == 5
    assert report.nodes[1].flops == 99 * 20 * 180 * 2
    assert report.nodes[0].seconds is None


def test_chains_copies_and_ranges() -> None:
    """A chain without a product, an output in another order, and a dispatch that is cut into ranges of rows."""
    nodes = [node("Add", "x x", "a"), node("Exp", "a", "e"), node("Conv", "e w", "y")]
    proto = model(nodes, {"x": [1, 4, 5800, 1450]}, "y", {"w": weights(6, 4, 1, 1)})
    report = engine.kernel_report(proto.SerializeToString(), portable=True)
    chain, conv = report.nodes
    assert (chain.op, chain.joined) == ("Exp", ("Add",))
    # 6 channels of 8 million float32 are two of the bindings that every adapter allows
    assert len(conv.kernels) > 1
    assert set(report.copies.kernels) == {"elementwise"}
    assert report.dispatches == sum(len(entry.kernels) for entry in (chain, conv, report.copies))
    assert conv.flops == 5800 * 1450 * 6 * 4 * 2
