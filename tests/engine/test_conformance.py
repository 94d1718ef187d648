"""The ONNX node tests of every operator that the engine has, on every backend.

The exclusions are in tools/node_test_exclusions.py.
"""

from __future__ import annotations

import re
import warnings

import pytest

from tests.engine.gpu import gpu
from tools.node_test_exclusions import COMPLETE_SINCE, EXCLUSIONS, ONNX, exclusion_of
from tools.node_tests import BACKENDS, all_tests, check, runnable_tests

RUNS = [(name, backend) for name in runnable_tests() for backend in BACKENDS]


@pytest.mark.parametrize(("name", "backend"), [run for run in RUNS if exclusion_of(*run) is None])
def test_node(name: str, backend: str) -> None:
    _needs_adapter(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(name, backend)


@pytest.mark.parametrize(("name", "backend"), [run for run in RUNS if exclusion_of(*run) is not None])
def test_exclusion_is_not_stale(name: str, backend: str) -> None:
    _needs_adapter(backend)
    exclusion = exclusion_of(name, backend)
    assert exclusion is not None
    with pytest.raises(exclusion.error) as failure:
        check(name, backend)
    assert re.search(exclusion.message, str(failure.value))


def _needs_adapter(backend: str) -> None:
    """Skip, loudly, what this machine has no adapter for."""
    if backend == "webgpu":
        gpu.device()


@pytest.mark.parametrize("entry", EXCLUSIONS, ids=lambda entry: entry.pattern)
def test_exclusion_covers_a_test(entry: object) -> None:
    covers = any(exclusion_of(*run) is entry for run in RUNS)
    if not covers and ONNX < COMPLETE_SINCE:
        pytest.skip("the installed onnx has fewer node tests than the table is for")
    assert covers


def test_most_node_tests_run() -> None:
    # a lookup that went wrong would otherwise leave an empty suite that passes
    assert len(runnable_tests()) > 0.7 * len(all_tests())
    assert sum(exclusion_of(*run) is None for run in RUNS) > 0.8 * len(RUNS)
