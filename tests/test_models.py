"""Whole networks on a photo: the engine against ONNX Runtime, and against itself, run after run.

The networks other than U²-Netp are fetched (``python tools/fetch_models.py``); where they are absent their tests are
skipped, or fail if NSS_REQUIRE_MODELS is 1, as CI sets it.
"""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from engine import Session
from nss.interfaces.interface import FixedSize, complete
from nss.photos import image_io
from nss.removal import preprocess
from tests.engine.models import with_image_side
from tests.fetched import model_file
from tools.fixtures import NETWORKS, PHOTO, Network, onnxruntime_session


@dataclass(frozen=True)
class Case:
    """What one network and backend gave.

    ``masks`` are those of all runs, ``traced_bytes`` what Python and NumPy hold after each.
    """

    network: Network
    masks: list[np.ndarray]
    expected: np.ndarray
    traced_bytes: list[int]


REFERENCE_SIDE = 160
"""The reference backend takes seconds for a photo of 320²: that one it runs once, for all seven outputs."""


def _case(network: Network, backend: str) -> Case:
    model: Path | bytes = network.path
    x = network.photo_input()
    if backend == "reference":
        model = with_image_side(network.path, REFERENCE_SIDE)
        interface = replace(complete(network.spec.interface), size=FixedSize(REFERENCE_SIDE, REFERENCE_SIDE))
        x = preprocess.prepare(image_io.load(PHOTO).rgb, interface)
    theirs = onnxruntime_session(model)
    (input_info, *_), (output, *_) = theirs.get_inputs(), theirs.get_outputs()
    (expected,) = theirs.run([output.name], {input_info.name: x})
    del theirs
    masks, traced_bytes = [], []
    runs = 5 if network.shipped and backend == "numpy" else 2  # the others take seconds
    with Session(model, backend=backend) as session:
        tracemalloc.start()
        try:
            for _ in range(runs):
                masks.append(session.run({input_info.name: x})[output.name])
                gc.collect()
                traced_bytes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    return Case(network, masks, expected, traced_bytes)


def _marks(name: str, network: Network) -> list[pytest.MarkDecorator]:
    marks = [] if network.shipped else [pytest.mark.models]
    if name == "isnet_f16":
        marks.append(
            pytest.mark.long(reason="IS-Net is run in float32 and int8 in any case, and small networks in float16")
        )
    return marks


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, backend), marks=_marks(name, network), id=f"{name}-{backend}")
        for name, network in NETWORKS.items()
        for backend in (("numpy", "reference") if network.shipped else ("numpy",))
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    """Each network, loaded and run by each backend that is fast enough for it."""
    name, backend = request.param
    network = NETWORKS[name]
    if not network.shipped:
        model_file(name)
    return _case(network, backend)


def test_the_mask_is_that_of_onnx_runtime(case: Case) -> None:
    mask, expected = case.masks[0], case.expected
    assert (mask.dtype, mask.shape) == (expected.dtype, expected.shape)
    assert expected.min() < 0.01 < 0.99 < expected.max(), "the network found nothing: the comparison says nothing"
    difference = np.abs(mask.astype(np.float64) - expected)
    assert case.network.accepts(difference), f"largest {difference.max():.2e}, mean {difference.mean():.2e}"


def test_every_run_gives_the_same_bits(case: Case) -> None:
    first, *others = case.masks
    assert all(np.array_equal(first, other) for other in others)


def test_runs_leave_no_memory_behind(case: Case) -> None:
    # each run adds the mask that the test keeps, and nothing else but small change of the interpreter
    mask_bytes = case.masks[0].nbytes
    growth = case.traced_bytes[-1] - case.traced_bytes[0] - mask_bytes * (len(case.traced_bytes) - 1)
    assert abs(growth) <= 32 << 10


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_all_seven_outputs_of_u2netp(backend: str) -> None:
    network = NETWORKS["u2netp"]
    x = network.photo_input()
    theirs = onnxruntime_session(network.path)
    names = [output.name for output in theirs.get_outputs()]
    input_name = theirs.get_inputs()[0].name
    expected = dict(zip(names, theirs.run(None, {input_name: x}), strict=True))
    with Session(network.path, backend=backend, outputs="all") as session:
        assert [info.name for info in session.outputs] == names
        results = session.run({input_name: x})
    assert len(results) == 7
    assert list(results) == names
    assert network.accepts(np.abs(results[names[0]].astype(np.float64) - expected[names[0]]))
    for name in names:
        # the worst is a side output, 1e-4 from ONNX Runtime by either backend (reference: 8e-5)
        np.testing.assert_allclose(results[name], expected[name], rtol=0, atol=3e-4, err_msg=name)


def test_only_the_outputs_asked_for_are_computed() -> None:
    network = NETWORKS["u2netp"]
    with Session(network.path) as first, Session(network.path, outputs="all") as every:
        assert len(first.outputs) == 1
        assert first.info.nodes_loaded < every.info.nodes_loaded
