"""The plan, without a GPU: memory that is shared safely, ranges that cover everything, refusals by name."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from engine.errors import BackendError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.plan import ALIGNMENT, Plan, make_plan
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.gpu.plans import MIB, PLANS, SIZES, u2netp
from tests.engine.models import load_graph, model, node
from tests.fetched import model_file


@pytest.mark.parametrize(("binding_limit", "half"), PLANS)
def test_no_buffer_is_read_and_written_in_one_dispatch(binding_limit: int, half: bool) -> None:
    for command in u2netp(binding_limit, half).commands:
        reads = {binding.buffer for binding in command.bindings[: len(command.dispatch.reads)]}
        writes = {binding.buffer for binding in command.bindings[len(command.dispatch.reads) :]}
        assert not reads & writes, command.dispatch.label


@pytest.mark.parametrize(("binding_limit", "half"), PLANS)
def test_bindings_keep_the_limits(binding_limit: int, half: bool) -> None:
    plan = u2netp(binding_limit, half)
    assert len(plan.commands) > 200
    for command in plan.commands:
        assert len(command.bindings) <= 8
        for binding in command.bindings:
            assert binding.size <= binding_limit
            assert binding.offset % ALIGNMENT == 0
            assert binding.offset + binding.size <= plan.buffers[binding.buffer]
        assert max(command.grid) <= 65535


def test_slots_that_are_alive_together_do_not_overlap() -> None:
    plan = u2netp()
    first: dict[object, int] = {}
    last: dict[object, int] = {}
    for step, command in enumerate(plan.commands):
        for operand in command.dispatch.operands:
            first.setdefault(operand.tensor.slot, step)
            last[operand.tensor.slot] = step
    by_buffer = defaultdict(list)
    for slot, allocation in plan.allocations.items():
        by_buffer[allocation.buffer].append(
            (allocation.offset, allocation.offset + slot.nbytes, first.get(slot, -1), last.get(slot, 0))
        )
    for entries in by_buffer.values():
        for index, (begin, end, start, stop) in enumerate(entries):
            for other_begin, other_end, other_start, other_stop in entries[index + 1 :]:
                apart = end <= other_begin or other_end <= begin or stop < other_start or other_stop < start
                assert apart


def test_ranges_cover_every_row_once() -> None:
    shares: dict[int, float] = defaultdict(float)
    for command in u2netp(MIB).commands:
        shares[id(command.dispatch)] += command.share
    assert len(u2netp(MIB).commands) > len(shares)
    np.testing.assert_allclose(list(shares.values()), 1)


@pytest.mark.parametrize("half", [False, True])
def test_layers_of_one_structure_share_a_program(half: bool) -> None:
    # measured: 21 in f32, 23 in f16, for 267 dispatches
    assert len({command.source for command in u2netp(half=half).commands}) <= 25


@pytest.mark.models
def test_isnet_has_few_programs() -> None:
    graph = load(model_file("isnet_f32"))
    optimize(graph)
    lowering = Lowering(graph)
    plan = make_plan(lowering.dispatches, *lowering.run(), SIZES)
    # measured: 35, for 278 dispatches
    assert len({command.source for command in plan.commands}) <= 45


def test_memory_is_shared() -> None:
    plan = u2netp()
    assert plan.peak_bytes <= plan.activation_bytes <= 1.5 * plan.peak_bytes
    everything = sum(slot.nbytes for slot in plan.allocations if not slot.is_constant)
    assert plan.activation_bytes < 0.5 * everything
    assert u2netp(half=True).peak_bytes < 0.6 * plan.peak_bytes


def test_concats_are_made_by_their_producers() -> None:
    # 51 joins; what is copied is what reads another part of the same join
    copies = [command for command in u2netp().commands if command.dispatch.op == "Concat"]
    assert len(copies) < 20


def plan_of(proto: object, **limits: int) -> Plan:
    graph = load_graph(proto)  # type: ignore[arg-type]
    lowering = Lowering(graph, binding_limit=limits.get("max-storage-buffer-binding-size", 128 * MIB))
    inputs, outputs = lowering.run()
    return make_plan(lowering.dispatches, inputs, outputs, SIZES | limits)


def test_too_large_a_buffer_is_refused_by_name() -> None:
    proto = model([node("Exp", "x", "y", name="grow")], {"x": [1 << 20]}, "y")
    with pytest.raises(BackendError, match=r"'x' takes 4194304 bytes; the adapter's largest buffer has 1048576"):
        plan_of(proto, **{"max-buffer-size": MIB})


def test_what_cannot_be_cut_is_refused_by_name() -> None:
    weights = {"w": np.zeros((64, 64, 3, 3), np.float32)}
    proto = model([node("Conv", "x w", "y", name="wide")], {"x": [1, 64, 8, 8]}, "y", weights)
    with pytest.raises(BackendError, match=r"Conv 'wide' \(kernel conv\): 'w:packed.*' needs a binding of 147456"):
        plan_of(proto, **{"max-storage-buffer-binding-size": 65536})
