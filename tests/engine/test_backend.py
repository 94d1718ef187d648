"""What a session would run on, without a model, and models that are compiled for the processor."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import engine
from engine import backend as backend_module
from engine.backend import BackendChoice
from engine.gpu.device.adapters import Adapter
from engine.gpu.device.implementations import library_lock
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

MODEL = model([node("Relu", "x", "y")], {"x": [2, 3]}, "y").SerializeToString()
X = {"x": np.array([[-1, 2, -3], [4, -5, 6]], np.float32)}


def adapter() -> Adapter:
    return device().adapter


def test_a_place_is_what_a_session_says_of_itself() -> None:
    for backend in ("auto", "numpy", "reference", "webgpu"):
        place = engine.place(backend)
        with engine.Session(MODEL, backend=backend) as session:
            assert (place.backend, place.reason) == (session.info.backend, session.info.reason)
            assert place.device == (session.info.device if place.backend == "webgpu" else "")
    assert engine.place("webgpu").device in {adapter.description for adapter in engine.devices().adapters}


def test_of_the_processor_nothing_is_part_of_it() -> None:
    assert engine.place("numpy").facts == {"backend": "numpy", "precision": "f32"}


def test_what_an_adapter_can_do_is_part_of_it_and_which_of_equals_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def facts(**changes: Any) -> str:
        changed = replace(adapter(), **changes)
        monkeypatch.setattr(backend_module, "resolve", lambda *_: BackendChoice("webgpu", "", changed))
        return json.dumps(engine.place("webgpu").facts, sort_keys=True)

    plain = facts()
    assert "wgpu" in plain
    assert facts(ordinal=1, equals=2, position=7) == plain
    limits = {**adapter().limits, "max-buffer-size": 1}
    others = [facts(driver="another"), facts(limits=limits), facts(subgroup=(1, 1)), facts(make=(1, 2))]
    assert len({plain, *others}) == 5


@pytest.mark.parametrize("options", [("tpu",), ("numpy", "f16"), ("numpy", "f32", "0"), ("webgpu", "f32", "no such")])
def test_what_is_not_there_is_refused_as_by_a_session(options: tuple[str, ...]) -> None:
    backend, precision, wanted = (*options, *("f32", None)[len(options) - 1 :])
    with pytest.raises(engine.BackendError) as failure:
        engine.place(backend, precision, wanted)
    with pytest.raises(engine.BackendError) as other:
        engine.Session(MODEL, backend=backend, precision=precision, adapter=wanted)
    assert str(failure.value) == str(other.value)
    engine.open_ahead(backend, precision, wanted)  # which leaves it to the session


def test_a_device_that_is_opened_ahead_is_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Adapter] = []
    monkeypatch.setattr("engine.gpu.device.device.open_device", opened.append)
    engine.open_ahead("numpy")
    assert opened == []
    engine.open_ahead("webgpu", "f32", adapter().index)
    assert [str(each) for each in opened] == [str(adapter())]


def test_a_place_is_known_while_a_device_is_being_opened() -> None:
    expected = engine.place("webgpu")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with library_lock():
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    places: list[engine.Place] = []
    asker = threading.Thread(target=lambda: places.append(engine.place("webgpu")), daemon=True)
    asker.start()
    asker.join(30)
    done.set()
    holder.join()
    assert places == [expected]


def test_a_session_on_numpy_keeps_its_compiled_model() -> None:
    with engine.Session(MODEL, backend="numpy", keep_compiled=True) as session:
        compiled, expected = session.compiled, session.run(X)
    assert compiled is not None
    for made in (compiled, engine.compile(MODEL, backend="numpy")):
        with engine.Session(made) as again:
            assert np.array_equal(again.run(X)["y"], expected["y"])
            assert (again.info.backend, again.info.device) == ("numpy", session.info.device)
    with pytest.raises(engine.BackendError, match="compiled for backend 'numpy', not for 'webgpu'"):
        engine.Session(compiled, backend="webgpu")
    with pytest.raises(engine.BackendError, match="the CPU computes in f32"):
        engine.compile(MODEL, backend="numpy", precision="f16")
    with engine.Session(MODEL, backend="reference", keep_compiled=True) as session:
        assert session.compiled is None
