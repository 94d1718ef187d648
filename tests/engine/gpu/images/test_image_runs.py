"""Runs of a session that take pixels and give masks in whole numbers: against the same run with arrays."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import BackendError, InputError, TooLargeError
from engine.gpu.device.capabilities import caps_of
from engine.images import MaskOutput, PixelInput
from engine.session import Session
from tests.engine.gpu.gpu import device
from tests.engine.gpu.images.stages import (
    expected_input,
    mask_output,
    pixel_input,
    pixels,
    resized,
)
from tests.engine.models import model, node

SIZE = 24, 20
NETWORK = model(
    [node("Conv", "x w", "z", pads=[1] * 4), node("Sigmoid", "z", "y"), node("Neg", "y", "n")],
    {"x": [1, 3, *SIZE]},
    "y n",
    {"w": np.random.default_rng(0).standard_normal((1, 3, 3, 3)).astype(np.float32)},
)
SCALE = ((1 / 255, 0.0, 0.0), (0.0, 1 / 255, 0.0), (0.0, 0.0, 1 / 255))
PHOTOS = [(50, 61), (9, 10), (131, 70), (50, 61), (24, 20), (1, 1), (200, 202), (40, 300)]


def photo(index: int) -> PixelInput:
    height, width = PHOTOS[index]
    source = pixel_input(height, width, *SIZE, matrix=SCALE, offset=(-0.5, -0.4, -0.6))
    return replace(source, pixels=pixels(height, width, seed=index))


def mask_of(index: int) -> MaskOutput:
    return mask_output(SIZE, PHOTOS[index], bits=16 if index % 2 else 8)


def on_gpu(precision: str = "f32", outputs: str | None = None) -> Session:
    return Session(
        NETWORK.SerializeToString(),
        backend="webgpu",
        adapter=str(device().adapter.index),
        precision=precision,
        outputs=outputs,
    )


@pytest.fixture
def session() -> Iterator[Session]:
    with on_gpu() as session:
        yield session


def check(session: Session, index: int, result: object, tolerance: float = 1e-4) -> None:
    """The result of a photo, against NumPy around a run with arrays."""
    source, mask = photo(index), mask_of(index)
    expected = session.run({"x": expected_input(source).astype(np.float32)})["y"]
    np.testing.assert_allclose(result.outputs["y"], expected, rtol=0, atol=tolerance)  # type: ignore[attr-defined]
    numbers = result.mask  # type: ignore[attr-defined]
    assert numbers.dtype == (np.uint16 if index % 2 else np.uint8)
    away = np.abs(numbers - resized(mask, expected[0, 0]) * (2**mask.bits - 1))
    assert away.max() <= 0.51 + tolerance * 2**mask.bits


def test_photos_of_many_sizes_in_flight(session: Session) -> None:
    handles = [session.submit_image({"x": photo(index)}, mask_of(index)) for index in range(len(PHOTOS))]
    for index, handle in enumerate(handles):
        check(session, index, handle.result())
        assert handle.done
        assert handle.result() is handle.result()


def test_pixels_may_be_changed_once_they_are_submitted(session: Session) -> None:
    source = photo(0)
    handle = session.submit_image({"x": source}, mask_of(0))
    source.pixels[:] = 7
    check(session, 0, handle.result())


def test_either_stage_alone(session: Session) -> None:
    whole = session.submit_image({"x": photo(1)}, mask_of(1)).result()
    only_input = session.submit_image({"x": photo(1)}).result()
    assert only_input.mask is None
    assert (only_input.outputs["y"] == whole.outputs["y"]).all()
    image = expected_input(photo(1)).astype(np.float32)
    check(session, 1, session.submit_image({"x": image}, mask_of(1)).result())
    neither = session.submit_image({"x": image}).result()
    assert (neither.outputs["y"] == session.run({"x": image})["y"]).all()


def test_threads(session: Session) -> None:
    order = [index % len(PHOTOS) for index in range(24)]
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda index: session.submit_image({"x": photo(index)}, mask_of(index)).result(), order)
        )
    for index, result in zip(order, results, strict=True):
        check(session, index, result)


def test_photos_and_arrays_in_turns(session: Session) -> None:
    image = expected_input(photo(3)).astype(np.float32)
    expected = session.run({"x": image})["y"]
    handles = [
        (session.submit_image({"x": photo(index)}, mask_of(index)), session.submit({"x": image})) for index in range(4)
    ]
    for index, (picture, plain) in enumerate(handles):
        check(session, index, picture.result())
        assert (plain.result()["y"] == expected).all()


def test_half_precision() -> None:
    if not caps_of(device().adapter).f16:
        pytest.skip(f"{device().adapter} has no float16: ITS PLANS ARE NOT TESTED")
    with on_gpu("f16") as session:
        for index in range(3):
            check(session, index, session.submit_image({"x": photo(index)}, mask_of(index)).result(), 5e-3)


def test_a_mask_of_another_output() -> None:
    with on_gpu(outputs="all") as session:
        mask = mask_output(SIZE, (50, 61), divisor=-1.0)
        result = session.submit_image({"x": photo(0)}, mask, output="n").result()
        assert set(result.outputs) == {"y", "n"}
        assert result.mask is not None
        assert np.abs(result.mask - resized(mask, result.outputs["y"][0, 0]) * 255).max() <= 0.51
        with pytest.raises(InputError, match="no output 'q'"):
            session.submit_image({"x": photo(0)}, mask, output="q")


def test_what_is_refused_leaves_the_session_as_it_was(session: Session) -> None:
    image = expected_input(photo(0)).astype(np.float32)
    with pytest.raises(InputError, match=r"no input \['q'\]"):
        session.submit_image({"x": image, "q": photo(0)})
    with pytest.raises(InputError, match="missing"):
        session.submit_image({}, mask_of(0))
    with pytest.raises(InputError, match="make"):
        session.submit_image({"x": pixel_input(40, 40, 25, 20)})
    with pytest.raises(InputError, match="by the description of its mask"):
        session.submit_image({"x": photo(0)}, mask_output((24, 21), (50, 61)))
    with pytest.raises(InputError, match="NaN"):
        session.submit_image({"x": np.full_like(image, np.nan)}, mask_of(0))
    check(session, 0, session.submit_image({"x": photo(0)}, mask_of(0)).result())


def test_what_the_device_has_no_room_for_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    check(session, 1, session.submit_image({"x": photo(1)}, mask_of(1)).result())
    gpu = device()
    true_buffer = gpu.buffer

    def buffer(nbytes: int, usage: str, label: str, **settings: bool) -> object:
        if label == "pictures":
            raise TooLargeError("out of memory")
        return true_buffer(nbytes, usage, label, **settings)

    monkeypatch.setattr(gpu, "buffer", buffer)
    with pytest.raises(TooLargeError):
        session.submit_image({"x": photo(6)}, mask_of(6))
    monkeypatch.undo()
    for index in (6, 1):
        check(session, index, session.submit_image({"x": photo(index)}, mask_of(index)).result())


def test_other_backends_take_arrays() -> None:
    with (
        Session(NETWORK.SerializeToString(), backend="numpy") as session,
        pytest.raises(InputError, match="'numpy' takes arrays"),
    ):
        session.submit_image({"x": photo(0)})


def test_a_closed_session() -> None:
    session = on_gpu()
    handle = session.submit_image({"x": photo(0)}, mask_of(0))
    result = handle.result()
    later = session.submit_image({"x": photo(1)}, mask_of(1))
    session.close()
    assert handle.result() is result
    with pytest.raises(BackendError, match="closed"):
        later.result()
    with pytest.raises(BackendError, match="closed"):
        session.submit_image({"x": photo(0)})


def test_whether_the_adapter_is_a_program_is_said(session: Session) -> None:
    assert session.info.software == device().adapter.software
