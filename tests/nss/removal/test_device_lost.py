"""The GPU goes away in the middle of a batch: a new device, then NumPy, and every step is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

import engine
import nss
from nss.errors import GpuUnavailableError, ImageError, ModelUnavailableError, UsageError
from nss.removal.remover import Remover
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import own_device
from tests.engine.models import model, node
from tests.nss.conftest import BrightnessSession, Outcome

CARD = SimpleNamespace(index=0, software=False, name="Fast Card 9")


class GpuSession(BrightnessSession):
    """A session whose GPU is lost in the runs, and in the openings, that a test says, counted over all sessions."""

    lost_runs: ClassVar[set[int]] = set()
    lost_openings: ClassVar[set[int]] = set()
    runs: ClassVar[int] = 0
    log: ClassVar[list[str]] = []

    def __init__(self, model: object, *, backend: str = "auto", adapter: str | None = None, **options: Any) -> None:
        cls = type(self)
        cls.log.append(f"open {backend}")
        if len(cls.log) - 1 in cls.lost_openings:
            raise engine.DeviceLostError("opening Fast Card 9: the device is lost (again)")
        super().__init__(model, backend=backend, **options)
        self.info.backend = "webgpu" if backend == "auto" else backend
        self.info.reason = "the first hardware adapter" if backend == "auto" else "asked for"
        self.info.precision = options.get("precision", "f32")
        assert adapter in (None, "0")

    def run(self, inputs: dict[str, np.ndarray], **_: Any) -> dict[str, np.ndarray]:
        cls = type(self)
        cls.runs += 1
        if self.info.backend == "webgpu" and cls.runs in cls.lost_runs:
            raise engine.DeviceLostError("reading back: the device is lost (pulled out)")
        return super().run(inputs)

    def close(self) -> None:
        type(self).log.append("close")


@pytest.fixture(name="gpu")
def _gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[GpuSession]:
    request.getfixturevalue("network")
    monkeypatch.setitem(vars(engine), "Session", GpuSession)
    devices_of = engine.Devices((CARD,), 0, "the first hardware adapter")  # type: ignore[arg-type]
    monkeypatch.setitem(vars(engine), "devices", lambda *_, **__: devices_of)
    for name, value in (("lost_runs", set()), ("lost_openings", set()), ("runs", 0), ("log", [])):
        monkeypatch.setattr(GpuSession, name, value)
    return GpuSession


def test_the_image_is_tried_again_on_a_new_device(gpu: type[GpuSession], rgb: np.ndarray) -> None:
    gpu.lost_runs = {2}
    notices: list[str] = []
    with Remover("u2netp", notify=notices.append, quiet=True) as remover:
        first, second, third = (remover.remove(rgb) for _ in range(3))
    assert gpu.log == ["open auto", "close", "open auto", "close"]
    assert first.notes == third.notes == ()
    assert second.notes == ("the GPU was lost; computed on a new device",)
    assert np.array_equal(first.mask, second.mask)
    assert notices == ["<array image>: reading back: the device is lost (pulled out); trying once more on a new device"]
    assert first.info.backend_reason == "the first hardware adapter"
    assert second.info.backend == "webgpu"
    loss = "after the GPU was lost (reading back: the device is lost (pulled out))"
    assert second.info.backend_reason == third.info.backend_reason == loss


@pytest.mark.parametrize("again", ["run", "opening"])
def test_lost_twice_goes_on_with_numpy(gpu: type[GpuSession], rgb: np.ndarray, again: str) -> None:
    gpu.lost_runs = {1, 2} if again == "run" else {1}
    gpu.lost_openings = {2} if again == "opening" else set()
    notices: list[str] = []
    with Remover("u2netp", notify=notices.append, precision="f16") as remover:
        first, second = remover.remove(rgb), remover.remove(rgb)
    assert first.info.backend == second.info.backend == "numpy"
    assert first.info.precision == "f32"
    assert first.notes == ("the GPU was lost; computed on NumPy",)
    assert second.notes == ()
    assert second.info.backend_reason.startswith("after the GPU was lost (")
    assert [line.rsplit("; ", 1)[1] for line in notices] == ["trying once more on a new device", "going on with NumPy"]


@pytest.mark.parametrize("demand", [{"backend": "webgpu"}, {"require_gpu": True}])
def test_a_gpu_that_was_asked_for_is_not_replaced(
    gpu: type[GpuSession], rgb: np.ndarray, demand: dict[str, Any]
) -> None:
    gpu.lost_runs = {1, 2}
    notices: list[str] = []
    with Remover("u2netp", notify=notices.append, **demand) as remover:
        with pytest.raises(
            ImageError, match=r"a new device failed too: .*; not computed on NumPy, since the GPU was asked"
        ):
            remover.remove(rgb)
        back = remover.remove(rgb)  # the next image may find the GPU back
    assert back.info.backend == "webgpu"
    assert back.notes == ("the GPU was lost; computed on a new device",)
    assert "open numpy" not in gpu.log
    assert len(notices) == 2


def test_other_failures_are_not_tried_again(
    gpu: type[GpuSession], rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise engine.BackendError("a kernel broke")

    monkeypatch.setattr(GpuSession, "run", fail)
    with Remover("u2netp") as remover, pytest.raises(ImageError, match="a kernel broke"):
        remover.remove(rgb)
    assert gpu.log == ["open auto", "close"]


def test_the_command_says_it_aloud(gpu: type[GpuSession], command: Callable[..., Outcome], photo: Path) -> None:
    for name in ("b.png", "c.png"):
        photo.with_name(name).write_bytes(photo.read_bytes())
    gpu.lost_runs = {2, 3}
    outcome = command("remove", photo.parent, "-j", "1", "--json", "--quiet", "--model", "u2netp")
    assert outcome.status == 0
    records = [json.loads(line) for line in outcome.out]
    assert [record["backend"] for record in records] == ["webgpu", "numpy", "numpy"]
    assert records[0]["backend_reason"] == "the first hardware adapter"
    assert "lost" in records[1]["backend_reason"]
    assert records[1]["notes"] == ["the GPU was lost; computed on NumPy"]
    assert [("trying once more" in line, "going on with NumPy" in line) for line in outcome.err] == [
        (True, False),
        (False, True),
    ]


def test_one_image_fails_where_the_gpu_is_required(
    gpu: type[GpuSession], command: Callable[..., Outcome], photo: Path
) -> None:
    photo.with_name("z.png").write_bytes(photo.read_bytes())
    gpu.lost_runs = {1, 2}
    outcome = command("remove", photo.parent, "-j", "1", "--require-gpu", "--model", "u2netp")
    assert outcome.status == 1
    assert len(outcome.out) == 1
    assert sum("not computed on NumPy" in line for line in outcome.err) == 1


@pytest.mark.usefixtures("gpu")
def test_lost_while_opening(rgb: np.ndarray) -> None:
    GpuSession.lost_openings = {0}
    with pytest.raises(GpuUnavailableError, match="the device is lost"):
        nss.remove(rgb, model="u2netp")


def devices_of(*adapters: object, chosen: int | None = None, reason: str = "no WebGPU adapter") -> Callable[..., Any]:
    return lambda *_, **__: engine.Devices(adapters, chosen, reason)  # type: ignore[arg-type]


@pytest.mark.usefixtures("gpu")
def test_require_gpu_is_status_4_before_anything_is_opened(
    command: Callable[..., Outcome], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    software = SimpleNamespace(index=0, software=True, name="Rasterizer")
    for devices, message in (
        (devices_of(), "a GPU is required: no WebGPU adapter"),
        (devices_of(software, reason="only software"), "a GPU is required: only software"),
        (devices_of(software, chosen=0), "a GPU is required, and Rasterizer is a software adapter"),
    ):
        monkeypatch.setitem(vars(engine), "devices", devices)
        outcome = command("remove", photo, "--require-gpu", "--device", "0")
        assert (outcome.status, outcome.err) == (4, [f"nss-wgpu: {message}"])
        assert outcome.out == []
    assert GpuSession.log == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (engine.TooLargeError("Conv 'a': takes 9 bytes; the adapter's largest buffer has 8"), ModelUnavailableError),
        (engine.BackendError("precision 'f16' is not available: adapter x has no shader-f16; use 'f32'"), UsageError),
        (engine.UnsupportedError("backend 'webgpu' cannot run ai.onnx.Foo"), ModelUnavailableError),
    ],
)
def test_what_an_adapter_cannot_do(
    monkeypatch: pytest.MonkeyPatch, rgb: np.ndarray, error: Exception, kind: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setitem(vars(engine), "Session", refuse)
    with pytest.raises(kind, match=str(error)[:20]):
        nss.remove(rgb, model="u2netp", backend="webgpu")


def test_a_real_device_is_lost_between_two_images(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = device().adapter
    path = tmp_path / "mask.onnx"
    weights = {"w": np.full((1, 3, 3, 3), 0.1, np.float32)}
    nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Sigmoid", "a", "y")]
    onnx.save(model(nodes, {"x": [1, 3, 32, 32]}, "y", weights), path)
    notices: list[str] = []
    with (
        own_device(monkeypatch) as own,
        Remover(path, backend="webgpu", device=str(adapter.index), notify=notices.append, quiet=True) as remover,
    ):
        before = remover.remove(rgb)
        own.lose("pulled out")
        after = remover.remove(rgb)
        assert device() is not own
    assert np.array_equal(before.mask, after.mask)
    assert after.notes == ("the GPU was lost; computed on a new device",)
    assert "pulled out" in notices[0]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_program_hears_of_it_or_finds_it_noted(
    gpu: type[GpuSession], rgb: np.ndarray, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.lost_runs = {1, 2}
    lines: list[str] = []
    with Remover("u2netp", notify=lines.append if is_told else None) as remover:
        cutout = remover.remove(rgb)
    assert cutout.notes == ("the GPU was lost; computed on NumPy",)
    assert [("trying once more" in line, "going on with NumPy" in line) for line in remover.notes] == [
        (True, False),
        (False, True),
    ]
    assert lines == list(remover.notes if is_told else ())
    assert capsys.readouterr() == ("", "")
