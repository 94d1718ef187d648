"""A whole network on the GPU: right, the same every time, within small bindings, and without leaving memory behind."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import Session
from engine.graph.load import load
from engine.graph.passes import optimize
from nss.interfaces.interface import FixedSize, complete
from nss.models.catalogue import CATALOGUE
from nss.photos import image_io
from nss.removal import preprocess
from tests.engine.gpu.gpu import device, run
from tests.engine.models import U2NETP, execute, with_image_side
from tests.project import ROOT
from tools.fixtures import onnxruntime_session

PHOTO = ROOT / "examples" / "astronaut.png"


def feeds(session: Session, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {info.name: random.random(info.shape, np.float32) for info in session.inputs}


def open_session(side: int = 32, precision: str = "f32") -> Session:
    adapter = str(device().adapter.index)
    return Session(with_image_side(U2NETP, side), backend="webgpu", adapter=adapter, precision=precision)


def test_u2netp_on_a_photo() -> None:
    interface = replace(complete(CATALOGUE["u2netp"].interface), size=FixedSize(160, 160))
    x = preprocess.prepare(image_io.load(PHOTO).rgb, interface)
    network = with_image_side(U2NETP, 160)
    with Session(network, backend="webgpu", adapter=str(device().adapter.index)) as session:
        (mask,) = session.run({session.inputs[0].name: x}).values()
        (expected,) = onnxruntime_session(network).run([session.outputs[0].name], {session.inputs[0].name: x})
        assert session.info.backend == "webgpu"
        assert session.info.device == str(device().adapter)
    # measured: 4.6e-5 on lavapipe, most of it ONNX Runtime's own rounding
    np.testing.assert_allclose(mask, expected, rtol=0, atol=1.8e-4)
    assert mask.max() > 0.9


def test_small_bindings_change_nothing() -> None:
    proto = with_image_side(U2NETP, 96)
    graph = load(proto)
    x = np.random.default_rng(1).random(graph.inputs[0].shape, np.float32)
    (whole,), kernels = run(graph, [x])
    (in_ranges,), ranges = run(load(proto), [x], limits={"max-storage-buffer-binding-size": 3 << 17})
    assert len(ranges) > 1.5 * len(kernels)
    np.testing.assert_allclose(in_ranges, whole, rtol=0, atol=1e-6)
    plain = load(proto)
    optimize(plain)
    (expected,) = execute(plain, [x])
    np.testing.assert_allclose(whole, expected, rtol=0, atol=4e-5)


def test_half_precision_is_close_and_smaller() -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    with open_session(64) as session, open_session(64, "f16") as half:
        (expected,), (mask,) = session.run(feeds(session)).values(), half.run(feeds(half)).values()
    difference = np.abs(mask - expected)
    # measured: 3.4e-4 on lavapipe
    assert 0 < difference.max() < 3e-3


def resident() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    pytest.skip("this system has no /proc/self/status: MEMORY IS NOT MEASURED")


def test_runs_are_identical_and_leave_no_memory() -> None:
    with open_session() as session:
        inputs = [feeds(session, seed) for seed in range(2)]
        first = [next(iter(session.run(one).values())) for one in inputs]
        for index in range(4):
            session.run(inputs[index % 2])
        growths = []
        for _ in range(3):
            before = resident()
            for index in range(4):
                (mask,) = session.run(inputs[index % 2]).values()
                np.testing.assert_array_equal(mask, first[index % 2])
            growths.append(resident() - before)
        # what runs leave grows each time; what other tests of this process left behind may do so once
        assert min(growths) < 1 << 17, growths


@pytest.mark.long(reason="opens 20 sessions; that runs leave no memory is tested in any case")
def test_sessions_leave_no_memory() -> None:
    gpu = device()  # the sessions share it, as they do in a process that keeps one open
    sizes = []
    for _ in range(20):
        with open_session() as session:
            session.run(feeds(session))
        del session
        gc.collect()
        sizes.append(resident())
    assert gpu.lost is None
    assert sizes[-1] - sizes[4] < 16 << 20
