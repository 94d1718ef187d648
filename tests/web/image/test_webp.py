"""WebP files written by web/image, opened by nss.photos, which reads them by libwebp: sample for sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nss.photos import image_io
from tests.web.conftest import Node
from tests.web.image import pictures
from tests.web.image.photo_files import ROOT, SRGB

HERE = Path(__file__).parent


def check(folder: Path, name: str, samples: np.ndarray) -> None:
    channels = samples.shape[2]
    for suffix, icc in (("", None), ("-profile", SRGB)):
        photo = image_io.load(folder / f"{name}{suffix}.webp")
        assert photo.icc == icc
        np.testing.assert_array_equal(photo.rgb, samples[..., [0, 0, 0] if channels == 1 else [0, 1, 2]], name)
        alpha = photo.alpha if photo.alpha is not None else np.full(photo.size, 255, np.uint8)
        np.testing.assert_array_equal(alpha, samples[..., 3] if channels == 4 else 255, name)


def harder() -> Iterator[tuple[str, np.ndarray]]:
    """Pictures with repetitions at every distance, few colours, and codes that are as long as they may be."""
    random = np.random.default_rng(8)
    piece = random.integers(0, 256, (16, 50, 4), dtype=np.uint8)
    yield "tiled", np.tile(piece, (20, 9, 1))
    stripes = np.zeros((300, 333, 4), np.uint8)
    stripes[::7, :, 1] = stripes[:, ::11, 3] = 200
    yield "stripes", stripes
    yield "few-colours", random.choice(random.integers(0, 256, (3, 4), dtype=np.uint8), (90, 90))
    # how often a level occurs falls by half from each to the next: the code of the rarest would have 20 bits
    levels = np.minimum(random.geometric(0.5, (500, 900, 1)), 20).astype(np.uint8) * 11
    yield "long-codes", levels
    far = random.integers(0, 256, (1, 70_000 // 7, 3), dtype=np.uint8)
    yield "far", np.concatenate([far] * 30)
    yield "tall", np.repeat(random.integers(0, 256, (16383, 1, 1), dtype=np.uint8), 2, axis=1)


def test_every_sample_comes_back(run_node: Node, tmp_path: Path) -> None:
    held = pictures.write(tmp_path, pictures.pictures()) | pictures.write(tmp_path / "harder", harder())
    run_node(HERE / "webp.test.mjs", PICTURES=tmp_path)
    run_node(HERE / "webp.test.mjs", PICTURES=tmp_path / "harder")
    for name, samples in held.items():
        check(tmp_path if (tmp_path / f"{name}.webp").exists() else tmp_path / "harder", name, samples)


def test_photos_are_smaller_than_as_png(run_node: Node, tmp_path: Path) -> None:
    with Image.open(ROOT / "examples" / "astronaut.png") as image:
        photo = np.asarray(image.convert("RGB"))
    disc = np.hypot(*(np.indices(photo.shape[:2]) - 256)) < 200
    cutout = np.dstack([photo * disc[..., None], disc * np.uint8(255)])
    pictures.write(tmp_path, iter([("photo", photo), ("cutout", cutout)]))
    run_node(HERE / "webp.test.mjs", PICTURES=tmp_path)
    for name, samples in (("photo", photo), ("cutout", cutout)):
        check(tmp_path, name, samples)
        Image.fromarray(samples).save(tmp_path / "pillow.png", optimize=True)
        Image.fromarray(samples).save(tmp_path / "pillow.webp", lossless=True, exact=True)
        size, png, webp = ((tmp_path / each).stat().st_size for each in (f"{name}.webp", "pillow.png", "pillow.webp"))
        assert size < 0.9 * png
        assert size < 1.2 * webp
