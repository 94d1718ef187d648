"""MODNet as people have it, a trained network whose input follows the photo's shape, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from nss.removal.preprocess import mask_to_photo
from nss.removal.remover import Remover
from tests.fetched import model_file
from tests.nss.conftest import EXAMPLES
from tools.fixtures import onnxruntime_session

pytestmark = pytest.mark.models

CONFIG = {
    "size": "shortest:512/32",
    "scale": 1 / 255,
    "mean": 0.5,
    "std": 0.5,
    "channels": "RGB",
    "filter": "bilinear-antialias",
    "activation": "none",
}


@pytest.fixture(name="remover", scope="module")
def _remover() -> Iterator[Remover]:
    with Remover(model_file("modnet"), backend="numpy", quiet=True, model_config=CONFIG) as remover:
        yield remover


@pytest.mark.parametrize(("name", "size"), [("astronaut", (512, 512)), ("chelsea", (512, 768))])
def test_modnet_gives_the_mask_of_onnxruntime(remover: Remover, name: str, size: tuple[int, int]) -> None:
    rgb = np.asarray(Image.open(EXAMPLES / f"{name}.png").convert("RGB"))
    planes = [Image.fromarray(np.ascontiguousarray(rgb[..., c], np.float32)) for c in range(3)]
    planes_of = [np.asarray(plane.resize(size[::-1], Image.Resampling.BILINEAR)) for plane in planes]
    network_input = (np.stack(planes_of)[None] / np.float32(127.5) - 1).astype(np.float32)
    (matte,) = onnxruntime_session(model_file("modnet")).run(None, {"input": network_input})
    cutout = remover.remove(EXAMPLES / f"{name}.png")
    assert np.abs(cutout.mask - mask_to_photo(matte[0, 0], rgb.shape[:2])).mean() <= 3e-6  # 1e-4 is asked for
