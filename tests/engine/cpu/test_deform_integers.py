"""Deformable convolutions of quantised files on NumPy: the integers of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from engine.cpu.kernel import ReferenceKernel
from engine.cpu.lower import lower
from tests.engine.deform_integers import CASES, deform_integers
from tests.engine.models import execute, interpret


@pytest.mark.parametrize("case", CASES)
def test_gives_the_references_integers(case: str) -> None:
    graph, inputs = deform_integers(**CASES[case])
    own = [node for node in graph.nodes if node.domain]
    assert len(own) == 2
    assert not any(isinstance(lower(node), ReferenceKernel) for node in own)
    for result, reference in zip(execute(graph, inputs), interpret(graph, inputs), strict=True):
        np.testing.assert_array_equal(result, reference)
