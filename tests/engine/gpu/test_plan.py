"""The plan, without a GPU: memory that is shared safely, ranges that cover everything, refusals by name."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import BackendError
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.gpu.plans import (
    MIB,
    ON_UNITS,
    PLANS,
    PlanCase,
    assert_bindings_are_right,
    assert_nothing_overlaps,
    assert_rows_are_covered,
    plan_case,
    u2netp,
)
from tests.engine.models import load_graph, model, node
from tests.fetched import model_file


@pytest.mark.parametrize(("binding_limit", "half"), PLANS)
def test_bindings_keep_the_limits_and_no_buffer_is_read_and_written_in_one_dispatch(
    binding_limit: int, half: bool
) -> None:
    case = u2netp(binding_limit, half)
    assert len(case.data.commands) > 200
    assert case.limits["max-storage-buffer-binding-size"] == binding_limit
    assert_bindings_are_right(case)


def test_slots_that_are_alive_together_do_not_overlap() -> None:
    assert_nothing_overlaps(u2netp())


def test_ranges_cover_every_row_once() -> None:
    case = u2netp(MIB)
    assert len(case.data.commands) > len(case.dispatches)
    assert_rows_are_covered(case)


def test_work_is_shared_out_among_ranges() -> None:
    whole, cut = u2netp().data.commands, u2netp(MIB).data.commands
    # a layer of other ranges may take another kernel, and each range is rounded
    flops = [sum(command.flops for command in commands) for commands in (whole, cut)]
    assert flops[1] == pytest.approx(flops[0], rel=0.01)
    assert sum(command.bytes for command in cut) >= 0.9 * sum(command.bytes for command in whole)


@pytest.mark.parametrize("half", [False, True])
def test_layers_of_one_structure_share_a_program(half: bool) -> None:
    assert len(u2netp(half=half).data.programs) <= 25


@pytest.mark.models
def test_isnet_has_few_programs_and_dispatches() -> None:
    graph = load(model_file("isnet_f32"))
    optimize(graph)
    plan = plan_case(graph)
    assert len(plan.data.programs) <= 25
    # 56 are of Winograd, with three kernels for each range of their tiles
    assert plan.layers <= 192
    assert len(plan.kernels) <= 452
    on_units = plan_case(graph, **ON_UNITS).kernels
    # convolutions write max-pools and parts of Concats, and add no sums
    assert not {"pool", "conv_sum", "copy"} & {*on_units}
    assert len(on_units) <= 149


def test_memory_is_shared() -> None:
    plan = u2netp().plan
    activation_bytes = sum(plan.data.buffers[plan.data.constant_buffers :])
    assert plan.data.peak_bytes <= activation_bytes <= 1.5 * plan.data.peak_bytes
    everything = sum(slot.nbytes for slot in plan.allocations if not slot.is_constant)
    assert activation_bytes < 0.5 * everything
    assert u2netp(half=True).data.peak_bytes < 0.6 * plan.data.peak_bytes


def test_concats_are_made_by_their_producers() -> None:
    # 51 joins
    assert not [command for command in u2netp().data.commands if command.op == "Concat"]


def test_programs_and_uniforms_are_stored_once() -> None:
    data = u2netp().data
    assert len({program.wgsl for program in data.programs}) == len(data.programs) < len(data.commands) / 4
    assert {command.program for command in data.commands} == set(range(len(data.programs)))
    assert len(data.uniforms) <= 256 * len(data.commands)


def test_an_input_that_nothing_reads_takes_no_memory() -> None:
    proto = model([node("Exp", "x", "y")], {"x": [4], "unread": [1 << 20]}, "y")
    case = plan_of(proto)
    assert sum(case.data.buffers) < 1 << 20
    places = [case.plan.place(*pair) for pair in zip(load_graph(proto).inputs, case.inputs, strict=True)]
    assert [place.buffer is None for place in places] == [False, True]


def plan_of(proto: object, **limits: int) -> PlanCase:
    return plan_case(load_graph(proto), **limits)  # type: ignore[arg-type]


def test_too_large_a_buffer_is_refused_by_name() -> None:
    proto = model([node("Exp", "x", "y", name="grow")], {"x": [1 << 20]}, "y")
    with pytest.raises(BackendError, match=r"'x' takes 4194304 bytes; the adapter's largest buffer has 1048576"):
        plan_of(proto, max_buffer_size=MIB)


def test_what_cannot_be_cut_is_refused_by_name() -> None:
    weights = {"w": np.zeros((64, 64, 3, 3), np.float32)}
    proto = model([node("Conv", "x w", "y", name="wide")], {"x": [1, 64, 8, 8]}, "y", weights)
    with pytest.raises(BackendError, match=r"Conv 'wide' \(kernel conv\): 'w:packed.*' needs a binding of 147456"):
        plan_of(proto, max_storage_buffer_binding_size=65536)
