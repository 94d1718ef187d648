"""Arguments of other types than public functions take: an InputError of one sentence, which names the parameter."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine import InputError, ModelCache, ModelFile, Session
from engine.gpu.device import memory
from tests.engine.models import model, node

MODEL = model([node("Neg", "x", "y")], {"x": ["N"]}, "y").SerializeToString()
SHAPES = {"x": (2,)}
X = np.ones(2, np.float32)


def session(**options: Any) -> Session:
    return Session(MODEL, **{"backend": "numpy", "input_shapes": SHAPES, **options})


def opened(call: Callable[[Session], object]) -> object:
    with session() as open_session:
        return call(open_session)


def compiled() -> engine.CompiledModel:
    return engine.compile(MODEL, backend="numpy", input_shapes=SHAPES)


A_FILE = "'model' is a path, the bytes of a file, or what was read of one, not int"
ARRAYS = "a mapping of inputs' names to arrays"
CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "Session": (lambda _: Session(5, backend="numpy"), A_FILE),  # type: ignore[arg-type]
    "compile": (lambda _: engine.compile(5), A_FILE),  # type: ignore[arg-type]
    "compare": (lambda _: engine.compare(5), A_FILE),  # type: ignore[arg-type]
    "ModelFile": (lambda _: ModelFile.read(5), A_FILE),  # type: ignore[arg-type]
    "caps": (lambda _: engine.compile(MODEL, caps={}), "'caps' is an engine.Caps, not dict"),  # type: ignore[arg-type]
    "shapes": (
        lambda _: session(input_shapes=[2]),
        "'input_shapes' is a mapping of inputs' names to shapes, not list",
    ),
    "values": (lambda _: session(input_values=X), f"'input_values' is {ARRAYS}, not ndarray"),
    "a value": (lambda _: session(input_values={"x": [[1], [1, 2]]}), "input 'x' is bound to what is no array: "),
    "outputs": (lambda _: session(outputs=5), "'outputs' is a name, a list of names, or None, not int"),
    "an output": (lambda _: session(outputs=[["y"]]), "outputs [['y']] are not in the model; it has ['y']"),
    "in_flight": (lambda _: session(in_flight="3"), "'in_flight' is a number of runs, not str"),
    "True": (lambda _: session(in_flight=True), "'in_flight' is a number of runs, not bool"),
    "a compiled model's": (
        lambda _: Session(compiled(), input_values=X),  # type: ignore[arg-type]
        f"'input_values' is {ARRAYS}, not ndarray",
    ),
    "run": (lambda _: opened(lambda s: s.run(X)), f"'inputs' is {ARRAYS}, not ndarray"),  # type: ignore[arg-type]
    "submit": (lambda _: opened(lambda s: s.submit([X])), f"'inputs' is {ARRAYS}, not list"),  # type: ignore[arg-type]
    "submit_image": (
        lambda _: opened(lambda s: s.submit_image(X)),  # type: ignore[arg-type]
        f"'inputs' is {ARRAYS} and pixels, not ndarray",
    ),
    "feeds": (
        lambda _: engine.compare(MODEL, X, backend="numpy", input_shapes=SHAPES),  # type: ignore[arg-type]
        f"'inputs' is {ARRAYS}, not ndarray",
    ),
    "input_dtype": (lambda _: ModelFile.read(MODEL).input_dtype("z"), "the model has no input 'z'; its inputs are ["),
    "load_compiled": (lambda _: engine.load_compiled(5), "'folder' is a path, not int"),  # type: ignore[arg-type]
    "save_compiled": (
        lambda _: engine.save_compiled(compiled(), None),  # type: ignore[arg-type]
        "'folder' is a path, not NoneType",
    ),
    "a NUL": (lambda tmp: engine.save_compiled(compiled(), tmp / "a\0"), "'folder' "),
    "a path of bytes": (
        lambda _: ModelCache(next(os.scandir(os.fsencode(Path(__file__).parent))), 1),  # type: ignore[arg-type]
        "'folder' is a path, not bytes",
    ),
    "a model to save": (
        lambda tmp: engine.save_compiled(MODEL, tmp / "a"),  # type: ignore[arg-type]
        "'model' is an engine.CompiledModel, not bytes",
    ),
    "shard": (
        lambda tmp: engine.save_compiled(compiled(), tmp / "a", shard="1M"),  # type: ignore[arg-type]
        "'shard' is a number of bytes, not str",
    ),
    "weights": (
        lambda tmp: engine.save_compiled(compiled(), tmp / "a", weights=["f16"]),  # type: ignore[arg-type]
        "'weights' is the name of an encoding, not list",
    ),
    "ModelCache": (lambda _: ModelCache(b"x", 1), "'folder' is a path, not bytes"),  # type: ignore[arg-type]
    "max_bytes": (
        lambda tmp: ModelCache(tmp, "8G"),  # type: ignore[arg-type]
        "'max_bytes' is a number of bytes, not str",
    ),
    "put": (
        lambda tmp: ModelCache(tmp, 1).put("0" * 64, MODEL),  # type: ignore[arg-type]
        "'model' is an engine.CompiledModel, not bytes",
    ),
    "remember_adapters": (
        lambda _: engine.remember_adapters(5),  # type: ignore[arg-type]
        "'folder' is a path, not int",
    ),
    "tune": (lambda _: engine.tune(MODEL, seconds="60"), "'seconds' is a number, not str"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_they_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    call, sentence = CALLS[name]
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_of_a_cache_is_text(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match=r"^'5' is no key of a cache; make one with cache_key$"):
        ModelCache(tmp_path, 1).get(5)  # type: ignore[arg-type]


def test_adapters_are_remembered_in_a_folder_named_by_text(tmp_path: Path) -> None:
    before = memory.folder()
    try:
        engine.remember_adapters(str(tmp_path))
        assert memory.folder() == tmp_path
    finally:
        engine.remember_adapters(before)


@pytest.mark.parametrize("outputs", [iter(["y"]), np.array(["y", "y"]), np.str_("y"), {"y"}], ids=type)
def test_outputs_may_be_any_iterable(outputs: Any) -> None:
    with session(outputs=outputs) as open_session:
        np.testing.assert_array_equal(open_session.run({"x": X})["y"], -X)


def test_numbers_may_be_of_numpy(tmp_path: Path) -> None:
    """And a cache without a limit, or of as many bytes as a computation gives."""
    with session(in_flight=np.int64(2)) as open_session:
        np.testing.assert_array_equal(open_session.run({"x": X})["y"], -X)
    engine.save_compiled(compiled(), tmp_path / "a", shard=np.int64(1 << 20))  # type: ignore[arg-type]
    for limit in (np.int64(1 << 20), float("inf")):
        cache = ModelCache(tmp_path / str(limit), limit)  # type: ignore[arg-type]
        assert cache.put(engine.cache_key(), compiled())
    (entry,) = cache.entries()
    assert {entry}
