"""PNG files written by web/image, opened by nss.photos and by Pillow: sample for sample."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from nss.photos import image_io
from tests.web.conftest import Node
from tests.web.image import pictures
from tests.web.image.photo_files import SRGB

HERE = Path(__file__).parent


def test_every_sample_comes_back(run_node: Node, tmp_path: Path) -> None:
    held = pictures.write(tmp_path, pictures.pictures(bits=(8, 16)))
    run_node(HERE / "png.test.mjs", PICTURES=tmp_path)
    for name, samples in held.items():
        height, width, channels = samples.shape
        content = (tmp_path / f"{name}.png").read_bytes()
        with Image.open(tmp_path / f"{name}.png") as image:
            image.verify()  # the check sum of every chunk
        colour_type = {1: 0, 3: 2, 4: 6}[channels]
        assert content[16:26] == struct.pack(">IIBB", width, height, 8 * samples.itemsize, colour_type)
        photo = image_io.load(content, name)
        assert photo.icc == (SRGB if channels > 1 else None)
        wanted = np.round(samples / 257).astype(np.uint8) if samples.itemsize == 2 else samples
        np.testing.assert_array_equal(photo.rgb, wanted[..., [0, 0, 0] if channels == 1 else [0, 1, 2]], name)
        if channels == 4:
            np.testing.assert_array_equal(photo.alpha, wanted[..., 3], name)
        if channels == 1 and samples.itemsize == 2:
            with Image.open(tmp_path / f"{name}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), samples[..., 0], name)
        if name.startswith(("photo", "wave")) and samples.itemsize == 1:
            # no larger than Pillow's own, which chooses a filter for each row, by more than a tenth
            Image.fromarray(samples.squeeze()).save(tmp_path / "pillow.png")
            assert len(content) < 1.1 * (tmp_path / "pillow.png").stat().st_size + 1000
