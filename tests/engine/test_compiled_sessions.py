"""A saved model runs on NumPy without the file and what reads it, and is held to its hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine
from engine import ModelError, Session
from tests.engine import models
from tests.engine.models import U2NETP, with_image_side
from tests.project import ROOT, output_of


@pytest.fixture(scope="module")
def model() -> bytes:
    return with_image_side(U2NETP, 64)


@pytest.fixture(scope="module")
def photo() -> dict[str, np.ndarray]:
    return {"input.1": np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)}


RUN = """
import sys
import numpy as np
import engine

with engine.Session(engine.load_compiled("model")) as session:
    np.save("y.npy", next(iter(session.run({"input.1": np.load("x.npy")}).values())))
unused = ("onnx", "google.protobuf", "jinja2", "wgpu", "engine.graph.load", "engine.gpu")
print(*(name for name in unused if name in sys.modules))
"""


def test_a_saved_model_runs_without_onnx_and_without_webgpu(
    model: bytes, photo: dict[str, np.ndarray], tmp_path: Path
) -> None:
    # shards that end within constants
    engine.save_compiled(engine.compile(model, backend="numpy"), tmp_path / "model", shard=99_840)
    np.save(tmp_path / "x.npy", photo["input.1"])
    assert output_of(RUN, cwd=tmp_path).split() == []
    with Session(model, backend="numpy") as session:
        (expected,) = session.run(photo).values()
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_u2netp_with_narrow_weights_is_near(tmp_path: Path) -> None:
    """Float16 is within a level of 255; int8 on average."""
    astronaut = Image.open(ROOT / "examples" / "astronaut.png").convert("RGB").resize((320, 320), Image.Resampling.BOX)
    normal = (np.asarray(astronaut, np.float32) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    photo = {"input.1": np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)}
    compiled = engine.compile(U2NETP, backend="numpy")
    masks, nbytes = {}, {}
    for weights in ("f32", "f16", "int8"):
        engine.save_compiled(compiled, tmp_path / weights, weights=weights)  # type: ignore[arg-type]
        nbytes[weights] = sum(path.stat().st_size for path in (tmp_path / weights).glob("*.bin"))
        with Session(engine.load_compiled(tmp_path / weights)) as session:
            masks[weights] = session.run(photo)["1959"]
    assert nbytes["f16"] < 0.56 * nbytes["f32"]
    assert nbytes["int8"] < 0.35 * nbytes["f32"]
    off = {weights: np.abs(masks[weights] - masks["f32"]) for weights in ("f16", "int8")}
    print({weights: (float(each.max()), float(each.mean())) for weights, each in off.items()})
    assert 1e-6 < off["f16"].max() < 1 / 255
    assert off["f16"].max() < off["int8"].max() < 0.1
    assert off["int8"].mean() < 1 / 255
    assert masks["f32"].max() > 0.9 > 0.1 > masks["f32"].min()


def test_a_damaged_weight_is_refused(model: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    engine.save_compiled(engine.compile(model, backend="numpy"), folder)
    (shard,) = (path for path in folder.iterdir() if path.suffix != ".json")
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        Session(engine.load_compiled(folder))


@pytest.mark.parametrize("scale", [1e12, np.nan])
def test_damaged_weights_are_blamed_for_what_opening_makes_of_them(scale: float, tmp_path: Path) -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    proto = models.model([models.node("Resize", "x - scales", "y")], {"x": [1, 1, 4, 4]}, "y", {"scales": scales})
    engine.save_compiled(engine.compile(proto.SerializeToString(), backend="numpy"), tmp_path / "m")
    (shard,) = (tmp_path / "m").glob("*.bin")
    shard.write_bytes(np.full(shard.stat().st_size // 4, scale, np.float32).tobytes())
    with pytest.raises(ModelError, match=r"\.bin is damaged: its SHA-256 is another"):
        Session(engine.load_compiled(tmp_path / "m", trust=True))
