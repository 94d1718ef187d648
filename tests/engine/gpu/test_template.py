"""The frames that kernels extend, and what a template must be given."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
import pytest

from engine.gpu.program.template import render

OPERANDS = [{"name": "x", "access": "read", "item": "f32"}, {"name": "y", "access": "read_write", "item": "f32"}]
CUMULATIVE: dict[str, Any] = {
    "operands": OPERANDS,
    "uniforms": [],
    "uses_f16": False,
    "invocations": 64,
    "inner": [],
    "outer": 0,
    "row_items": 1,
    "infix": "+",
    "extent": 5,
    "exclusive": False,
    "reverse": False,
    "neutral": "0.0",
    "target": "y[k]",
    "item": "f32",
    "element": "x[k]",
}


def test_every_kernel_opens_with_its_mathematics_and_extends_a_frame() -> None:
    templates = [file for file in files("shaders").iterdir() if file.name.endswith(".wgsl")]
    assert len(templates) > 20
    for file in templates:
        text = file.read_text(encoding="utf-8")
        assert text.startswith("// "), file.name
        # the probes ask what an adapter can do, and have no parameters
        assert ('{% extends "bases/' in text) is ("probe" not in file.name), file.name


def test_the_mathematics_come_first_and_the_frame_around_what_the_kernel_says() -> None:
    parts = ("// y[k] = x[0] + … + x[k]", "struct Params", "fn linear_index", "fn main(", "var total = 0.0;")
    places = [render("cumulative", **CUMULATIVE).index(part) for part in parts]
    assert places == sorted(places)
    assert places[0] == 0


@pytest.mark.parametrize("name", sorted(CUMULATIVE))
def test_nothing_may_be_left_out(name: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("cumulative", **{key: value for key, value in CUMULATIVE.items() if key != name})
