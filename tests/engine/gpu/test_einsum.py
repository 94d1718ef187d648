"""Einsum's equations, each a chain of views and products, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [[5, 7], [7, 9]]),
        ("ij,jk->ki", [[5, 7], [7, 9]]),
        ("ij,kj", [[5, 7], [4, 7]]),
        ("ij->ji", [[3, 4]]),
        ("ij->", [[3, 4]]),
        ("ij->i", [[3, 4]]),
        ("ii->i", [[4, 4]]),
        ("...ii->...i", [[2, 4, 4]]),
        ("ii", [[4, 4]]),
        ("i,i", [[6], [6]]),
        ("i,j->ij", [[6], [5]]),
        ("i,i->i", [[6], [6]]),
        ("ij,->ij", [[2, 3], []]),
        ("...ij,...jk->...ik", [[2, 1, 3, 4], [3, 4, 5]]),
        ("bqhd,bkhd->bhqk", [[2, 3, 2, 4], [2, 5, 2, 4]]),
        ("bhqk,bkhd->bqhd", [[2, 2, 3, 5], [2, 5, 2, 4]]),
        ("bhwc,hkc->bhwk", [[2, 3, 4, 5], [3, 6, 5]]),
        ("ijk,kl->l", [[2, 3, 4], [4, 5]]),
        ("ij,kl->jk", [[2, 3], [4, 5]]),
        ("ab,bc,cd->ad", [[2, 3], [3, 4], [4, 5]]),
        ("ab,b,ac->c", [[2, 3], [3], [2, 4]]),
        ("ij,jk->ik", [[5, 1], [7, 9]]),
        ("bii,ij->bj", [[2, 3, 3], [3, 4]]),
    ],
)
def test_equations(equation: str, shapes: list[list[int]]) -> None:
    inputs = {f"x{index}": shape for index, shape in enumerate(shapes)}
    compare(model([node("Einsum", " ".join(inputs), "y", equation=equation)], inputs, "y"), **CLOSE)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_two_terms(data: st.DataObject) -> None:
    extents = dict(zip("abcde", data.draw(st.lists(st.integers(1, 5), min_size=5, max_size=5)), strict=True))
    terms = [
        "".join(data.draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))) for _ in range(2)
    ]
    letters = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(letters))[: data.draw(st.integers(0, len(letters)))])
    inputs = {f"x{index}": [extents[letter] for letter in term] for index, term in enumerate(terms)}
    equation = f"{terms[0]},{terms[1]}->{result}"
    compare(model([node("Einsum", "x0 x1", "y", equation=equation)], inputs, "y"), **CLOSE)


def test_integers_wrap_in_their_width() -> None:
    proto = model(
        [node("Einsum", "x w", "y", equation="ij,jk->ik")], {"x": (np.int8, [4, 9]), "w": (np.int8, [9, 3])}, "y"
    )
    compare(proto, inputs=[np.full((4, 9), 11, np.int8), np.full((9, 3), -7, np.int8)])


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_part_of_a_concat(axis: int) -> None:
    nodes = [
        node("Einsum", "x w", "p", equation="bqhd,bkhd->bhqk"),
        node("Relu", "z", "q"),
        node("Concat", "p q", "y", axis=axis),
    ]
    inputs = {"x": [2, 3, 4, 5], "w": [2, 3, 4, 5], "z": [2, 4, 3, 3]}
    compare(model(nodes, inputs, "y"), **CLOSE)
