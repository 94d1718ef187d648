"""Tuning a small network: what is measured and kept, what sessions make of it, and that none tunes by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import engine
from engine.compiled.model import CompiledModel, GpuPlan
from engine.gpu.device import core_clock, memory
from engine.gpu.device.core_clock import IDLE_SECONDS, WAKE_SECONDS, CoreClock
from engine.tuning import choices, contest, store, tuner
from engine.tuning.contest import Contest
from engine.tuning.defaults import Defaults
from engine.tuning.record import read_record
from engine.tuning.timing import Trial
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node
from tests.engine.tuning.networks import skip_where_nothing_can_be_tuned

RANDOM = np.random.default_rng(3)

WEIGHTS = {
    "w": RANDOM.standard_normal((24, 8, 3, 1)).astype(np.float32) / 8,
    "v": RANDOM.standard_normal((12, 24, 1, 1)).astype(np.float32) / 5,
}

NODES = [
    node("Conv", "x w", "a", name="first", pads=[1, 0, 1, 0]),
    node("Relu", "a", "b"),
    node("Conv", "b v", "c", name="second"),
    node("Sigmoid", "c", "y"),
]

MODEL = model(NODES, {"x": [1, 8, 16, 16]}, "y", WEIGHTS).SerializeToString()
FIRST = "convolution f32 f32 n1 c8 m24 g1 in16x16 k3x1 s1x1 d1x1 out16x16"
SECOND = "convolution f32 f32 n1 c24 m12 g1 in16x16 k1x1 s1x1 d1x1 out16x16"
INPUT = {"x": RANDOM.standard_normal((1, 8, 16, 16)).astype(np.float32)}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_where_nothing_can_be_tuned()
    monkeypatch.setattr(choices, "defaults_of", lambda _: Defaults())  # what comes with the package is not asked for
    memory.remember_adapters(tmp_path)
    yield tmp_path
    memory.remember_adapters(None)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds of rows by name in place of those that are measured: 2 of the others; the whole model gets faster."""
    seconds: dict[str, float] = {}
    monkeypatch.setattr(Trial, "sample", lambda trial: seconds.get(trial.row, 2.0))
    monkeypatch.setattr(tuner.ModelTuner, "seconds", lambda self, whole: 3.0 if whole is self.whole else 2.0)
    return seconds


def tune(**options: Any) -> engine.TuningReport:
    return engine.tune(MODEL, adapter=device().adapter.index, seconds=30, **options)


def session(**options: Any) -> engine.Session:
    return engine.Session(MODEL, backend="webgpu", adapter=device().adapter.index, keep_compiled=True, **options)


def programs(compiled: CompiledModel | None) -> list[str]:
    assert compiled is not None
    assert isinstance(compiled.plan, GpuPlan)
    return [program.wgsl for program in compiled.plan.programs]


def rows() -> dict[str, str]:
    return dict(store.stored(device().adapter, "f32")[0])


def test_a_network_is_tuned_and_a_session_uses_it(folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    report = engine.tune(MODEL, adapter=device().adapter.index, seconds=30, progress=lambda *where: seen.append(where))
    assert seen == [(0, 2, FIRST), (1, 2, SECOND), (2, 2, "")]
    assert [layer.key for layer in report.layers] == [FIRST, SECOND]
    assert report.left == ()
    assert not report.failed
    for layer in report.layers:
        assert layer.before == layer.table
        assert {"tiled-middle", "tiled-narrow", "direct"} <= layer.timings.keys()
        assert all(timing.seconds > 0 for timing in layer.timings.values())
        assert layer.timings[layer.after].is_right
    if report.kept:
        assert rows() == {layer.key: layer.after for layer in report.layers}
        assert (folder / store.FILE).is_file()
    else:  # by chance the whole is no faster with what is faster layer by layer
        assert rows() == {}
    assert read_record(json.dumps(report.record)).precision == "f32"


@pytest.mark.usefixtures("folder")
def test_what_is_faster_is_kept_and_makes_another_compiled_model(clock: dict[str, float]) -> None:
    adapter = device().adapter
    with session() as untuned:
        assert untuned.info.tuning.startswith("not tuned; ")
        expected = untuned.run(INPUT)["y"]
        old, before = untuned.compiled, engine.place("webgpu", adapter=adapter.index)
        assert old is not None
    clock |= {"direct": 1.0, "tiled-narrow": 0.9}
    report = tune()
    assert report.kept
    assert report.reason == "kept: 1 of 2 kinds of layers have another implementation"
    assert [(layer.before, layer.after) for layer in report.changed] == [("tiled-middle", "tiled-narrow")]
    assert (report.layers[0].seconds_before, report.layers[0].seconds_after) == (2.0, 0.9)
    assert (report.seconds_before, report.seconds_after) == (3.0, 2.0)
    assert report.error is not None
    assert report.error < 1e-5
    assert engine.place("webgpu", adapter=adapter.index) != before
    with session() as tuned:
        assert tuned.info.tuning == "tuned on this adapter"
        np.testing.assert_allclose(tuned.run(INPUT)["y"], expected, atol=1e-5)
        assert programs(tuned.compiled) != programs(old)
    with engine.Session(old, adapter=adapter.index) as reopened:  # what was compiled before still runs
        np.testing.assert_array_equal(reopened.run(INPUT)["y"], expected)
    assert engine.forget_tuning(adapter.index) == (str(adapter), 2)
    with session() as untuned:
        assert programs(untuned.compiled) == programs(old)
    assert engine.place("webgpu", adapter=adapter.index) == before


@pytest.mark.usefixtures("folder")
def test_a_whole_model_that_gets_slower_keeps_nothing(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock |= {"direct": 1.0}
    monkeypatch.setattr(tuner.ModelTuner, "seconds", lambda *_: 1.0)
    report = tune()
    assert (report.kept, report.failed) == (False, False)
    assert report.reason == "not kept: the whole model is no faster with them"
    assert rows() == {}


@pytest.mark.usefixtures("folder")
def test_what_is_clearly_faster_is_kept_where_the_rest_spoils_it(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock |= {"direct": 1.0, "tiled-narrow": 1.1, "tiled-middle": 2.0}
    tried: list[dict[str, str]] = []
    opened = tuner.ModelTuner.opened

    def noted(self: Any, preferences: dict[str, str]) -> Any:
        tried.append(preferences)
        return opened(self, preferences)

    monkeypatch.setattr(tuner.ModelTuner, "opened", noted)
    monkeypatch.setattr(
        tuner.ModelTuner, "seconds", lambda self, whole: 3.0 - (whole is not self.whole and len(tried) > 2)
    )
    report = tune()
    assert tried[1:] == [{FIRST: "direct", SECOND: "direct"}, {FIRST: "direct"}]
    assert rows() == {FIRST: "direct", SECOND: "tiled-narrow"}
    assert [layer.key for layer in report.changed] == [FIRST]


@pytest.mark.usefixtures("folder", "clock")
def test_a_clock_that_falls_after_the_first_row_drops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device(), "core_clock", CoreClock(varies=True))
    taken: list[str] = []

    def sample(trial: Trial) -> float:
        taken.append(trial.row)
        device().core_clock.worked(WAKE_SECONDS)
        return (1.0 if trial.row == "direct" else 2.0) * (1.0 if len(taken) <= 2 else 4.0)

    monkeypatch.setattr(Trial, "sample", sample)
    assert tune().kept
    assert rows() == {FIRST: "direct", SECOND: "direct"}


@pytest.mark.usefixtures("folder")
def test_a_gpu_that_was_idle_is_woken(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock |= {"direct": 1.0}
    monkeypatch.setattr(device(), "core_clock", CoreClock(varies=True))
    now, samples, wakes, wholes = [1000.0], [0], list[tuple[str, int]](), list[bool]()
    time = SimpleNamespace(monotonic=lambda: now[0])
    for room in (contest, core_clock, tuner):
        monkeypatch.setattr(room, "time", time)
    genuine, opened = Trial.wake, tuner.ModelTuner.opened

    def work(seconds: float) -> None:
        now[0] += seconds
        device().core_clock.worked(seconds)

    def sample(trial: Trial) -> float:
        samples[0] += 1
        work(1.01 * WAKE_SECONDS / 8)  # eighths would add up to less, beside what a real run took before
        return clock.get(trial.row, 2.0)

    def wake(trial: Trial) -> float:
        before = samples[0]
        seconds = genuine(trial)
        wakes.append((trial.case.key, samples[0] - before))
        return seconds

    def check(trial: Trial, seed: int = 0) -> float:  # noqa: ARG001 (a method's signature)
        now[0] += 2 * IDLE_SECONDS
        trial.error = 0.0
        return trial.error

    def opened_late(self: tuner.ModelTuner, preferences: dict[str, str]) -> Any:
        now[0] += 2 * IDLE_SECONDS
        return opened(self, preferences)

    def seconds(self: tuner.ModelTuner, executor: Any) -> float:
        work(0.4 * WAKE_SECONDS)
        wholes.append(executor is self.whole)
        return 3.0 if executor is self.whole else 2.0

    monkeypatch.setattr(Trial, "sample", sample)
    monkeypatch.setattr(Trial, "wake", wake)
    monkeypatch.setattr(Trial, "check", check)
    monkeypatch.setattr(tuner.ModelTuner, "opened", opened_late)
    monkeypatch.setattr(tuner.ModelTuner, "seconds", seconds)
    first, second = tune().layers
    # after a check, which reads back, and compares, the GPU was idle again; after another layer's race it was not
    long, short = 8, 1  # samples of a sixteenth of a second
    assert [each for key, each in wakes if key == FIRST] == [long, *[short] * (len(first.timings) - 1), long]
    assert [each for key, each in wakes if key == SECOND] == [*[short] * len(second.timings), long]
    # three samples of the whole wake the GPU, before the first round
    assert wholes[:6] == [True] * 4 + [False, True]


@pytest.mark.usefixtures("folder")
def test_a_gain_that_is_noise_changes_nothing(clock: dict[str, float]) -> None:
    clock |= {"direct": 1.95}
    report = tune()
    assert report.reason == "kept: the choices were the fastest already"
    assert rows() == {FIRST: "tiled-middle", SECOND: "tiled-narrow"}
    assert report.seconds_after is None


@pytest.mark.usefixtures("folder")
def test_a_row_that_is_wrong_is_left_out_however_fast(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock |= {"direct": 0.1}
    check = Trial.check

    def wrong(trial: Trial, seed: int = 0) -> float:
        check(trial, seed)
        if trial.row == "direct":
            trial.error = 2 * trial.case.tolerance
        return trial.error

    monkeypatch.setattr(Trial, "check", wrong)
    report = tune()
    assert [layer.rejected["direct"] for layer in report.layers] == ["wrong", "wrong"]
    assert "direct" not in rows().values()


@pytest.mark.usefixtures("folder", "clock")
def test_on_hardware_the_next_layer_is_prepared_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    prepare = Contest.prepare

    def noted(contest: Contest, threads: Any) -> None:
        prepare(contest, threads)
        prepared.append(contest.case.key)

    monkeypatch.setattr(Contest, "prepare", noted)
    monkeypatch.setattr(type(device().adapter), "software", False)
    assert len(tune().layers) == 2
    assert prepared == [FIRST, SECOND]


@pytest.mark.usefixtures("folder", "clock")
def test_what_the_time_does_not_suffice_for_is_left() -> None:
    report = engine.tune(MODEL, adapter=device().adapter.index, seconds=0)
    assert (report.layers, report.left) == ((), (FIRST, SECOND))
    assert report.reason == "not kept: no kind of layer was measured"


@pytest.mark.parametrize(
    "stored",
    [
        {FIRST: "no such row"},
        {FIRST: "matrix-64x64x64-32x32-weights"},
        {"no such family f32": "direct"},
        {FIRST: "columns", SECOND: "linear"},
    ],
    ids=["unknown row", "unsupported row", "unknown family", "another family's row"],
)
@pytest.mark.usefixtures("folder")
def test_a_choice_that_is_not_possible_is_ignored(stored: dict[str, str]) -> None:
    with session() as plain:
        expected, old = plain.run(INPUT)["y"], programs(plain.compiled)
    store.keep(device().adapter, "f32", stored)
    with session() as chosen:
        np.testing.assert_array_equal(chosen.run(INPUT)["y"], expected)
        assert programs(chosen.compiled) == old


def test_nothing_is_tuned_by_a_session(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a session tunes")

    monkeypatch.setattr(Trial, "__init__", refuse)
    with session() as first:
        first.run(INPUT)
    assert not (folder / store.FILE).exists()


def test_where_nothing_can_be_kept_that_is_said(folder: Path, clock: dict[str, float]) -> None:
    clock |= {"direct": 1.0}
    (folder / "file").touch()
    memory.remember_adapters(folder / "file")
    report = tune()
    assert (report.kept, report.failed) == (False, True)
    assert report.reason == f"not kept: {folder / 'file'} cannot be written to"


def test_an_adapter_without_timestamps_cannot_be_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = device().adapter
    monkeypatch.setattr(type(adapter), "timestamps", False)
    with pytest.raises(engine.BackendError, match="has no timestamp queries"):
        tune()
