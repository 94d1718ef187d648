"""Numbers of a dispatch that stand in its uniforms."""

from __future__ import annotations

import numpy as np
import pytest

from engine.gpu.program.numbers import Numbers
from tests.engine.gpu.plans import plan_case
from tests.engine.models import load_graph, model, node


def test_strides_of_0_and_1_decide_the_source_and_others_are_uniforms() -> None:
    numbers = Numbers()
    assert numbers.index("x", [12, 0, 1, -3], ["i0", "i1", "i2 + 1", "2"]) == (
        "params.base_x + i0 * params.x_stride0 + (i2 + 1) + 2 * params.x_stride3"
    )
    assert numbers.uniforms == {"x_stride0": 12, "x_stride3": -3}


@pytest.mark.parametrize("value", [0.1, -0.0, 1e-45, -3e38, np.inf])
def test_a_scalar_keeps_the_bits_of_its_float(value: float) -> None:
    numbers = Numbers()
    assert numbers.scalar("scale", value) == "bitcast<f32>(params.scale)"
    bits = np.array(numbers.uniforms["scale"], np.int32)
    assert bits.tobytes() == np.float32(value).tobytes()


def test_a_name_stands_for_one_value() -> None:
    numbers = Numbers()
    assert numbers.integer("rows", 4) == numbers.integer("rows", 4) == "params.rows"
    with pytest.raises(AssertionError, match="rows"):
        numbers.integer("rows", 5)


def test_the_bits_of_minus_zero_are_no_number_that_is_too_large() -> None:
    norm = node("InstanceNormalization", "x s b", "y", epsilon=-0.0)
    ones = np.ones(3, np.float32)
    case = plan_case(load_graph(model([norm], {"x": [1, 3, 4, 4]}, "y", {"s": ones, "b": ones})))
    assert any(-(2**31) in case.uniform(command) for command in case.data.commands)
