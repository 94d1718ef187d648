"""A compiled model is kept for the files that it was made of, whatever happens to these meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from nss.interfaces.interface import read_config
from nss.models import compiled
from nss.models.resolve import resolve
from nss.removal import model_reading
from nss.removal.opener import Opener
from nss.removal.remover import Remover
from nss.removal.run_options import ON_NUMPY
from tests.engine.models import node
from tests.nss.tiny_models import probability, save_model

PHOTO = np.random.default_rng(5).integers(0, 256, (24, 40, 3), np.uint8)
CONFIG = {"scale": 1 / 255, "mean": 0, "std": 1, "size": "longest:32/8"}
INVERSE = [node("Conv", "x w", "logits"), node("Neg", "logits", "inverse"), node("Sigmoid", "inverse", "y")]

pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return save_model(tmp_path / "mine.onnx", probability())


def remove(path: Path, photo: np.ndarray = PHOTO, **options: Any) -> np.ndarray:
    with Remover(path, backend="numpy", quiet=True, **options) as remover:
        return remover.remove(photo).mask


def test_a_model_that_changes_while_it_is_open_is_not_kept(path: Path) -> None:
    with Remover(path, backend="numpy", quiet=True) as remover:
        remover.infer(remover.prepare(PHOTO))
        save_model(path.with_name("new.onnx"), probability()).replace(path)
    assert compiled.entries() == []


def test_a_model_that_is_replaced_while_it_is_read_is_kept_under_neither_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_model(path.with_name("new.onnx"), INVERSE)
    plain = model_reading.read_file

    def read_and_replace(model: Any) -> engine.ModelFile:
        file = plain(model)
        if other.exists():
            other.replace(path)
        return file

    monkeypatch.setattr(model_reading, "read_file", read_and_replace)
    before = remove(path)
    assert compiled.entries() == []
    after = remove(path)
    assert np.array_equal(remove(path, cache=False), after)
    assert not np.array_equal(before, after)


def test_a_model_that_is_removed_while_its_entry_is_written_leaves_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = engine.ModelCache.put

    def put_and_remove(cache: engine.ModelCache, key: str, model: engine.CompiledModel) -> bool:
        assert put(cache, key, model)
        path.unlink()
        return True

    monkeypatch.setattr(engine.ModelCache, "put", put_and_remove)
    remove(path)
    assert compiled.entries() == []


def test_another_file_is_not_kept_with_the_interface_of_the_first(tmp_path: Path) -> None:
    path = save_model(tmp_path / "mine.onnx", probability(), inputs={"x": [1, 3, "h", "w"]})
    remove(path, PHOTO[:, :24], model_config=CONFIG)
    with Remover(path, backend="numpy", quiet=True, model_config=CONFIG) as remover:
        save_model(tmp_path / "new.onnx", INVERSE, inputs={"x": [1, 3, "h", "w"]}).replace(path)
        before = [entry.key for entry in compiled.entries()]
        remover.remove(PHOTO.transpose(1, 0, 2))
    assert [entry.key for entry in compiled.entries()] == before


def test_what_has_proved_wrong_is_not_kept_for_another_shape_either(tmp_path: Path) -> None:
    path = save_model(tmp_path / "mine.onnx", probability(), inputs={"x": [1, 3, "h", "w"]})
    opener = Opener(resolve(path, allow_fetch=False, quiet=True), read_config(CONFIG), use_cache=True)
    opener.first(ON_NUMPY).close()
    assert opener.has_unsaved
    opener.forget()
    opener.another(ON_NUMPY, (1, 3, 16, 32)).close()
    assert opener.store() is None
    assert compiled.entries() == []
