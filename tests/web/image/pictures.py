"""Pictures that web/image writes, as raw samples in a folder, and what Pillow makes of the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.web.image.photo_files import SRGB, alpha, scene


def pictures(bits: tuple[int, ...] = (8,), channels: tuple[int, ...] = (1, 3, 4)) -> Iterator[tuple[str, np.ndarray]]:
    """A name and samples HxWxC, uint8 or uint16: a photo, noise, flat ones, rows longer than a band, single pixels."""
    random = np.random.default_rng(5)
    photo = np.dstack([np.asarray(scene()), alpha()])
    sizes = {"noise": (37, 29), "pixel": (1, 1), "row": (1, 300), "column": (300, 1)}
    for depth in bits:
        dtype = np.uint8 if depth == 8 else np.uint16
        for count in channels:
            end = f"-{count}-{depth}"
            part = photo[..., -count:] if count != 3 else photo[..., :3]
            low = random.integers(0, 256, part.shape) if depth == 16 else 0
            yield f"photo{end}", (part.astype(np.uint16) * (256 if depth == 16 else 1) + low).astype(dtype)
            for name, size in sizes.items():
                yield f"{name}{end}", random.integers(0, 1 << depth, (*size, count)).astype(dtype)
            yield f"flat{end}", np.full((64, 300, count), 77, dtype)
            yield f"zero{end}", np.zeros((5, 7, count), dtype)
            wave = np.sin(np.arange(400)[None, :, None] / 9 + np.arange(300)[:, None, None] / 7)
            yield f"wave{end}", ((wave + 1) / 2 * ((1 << depth) - 1) + np.zeros((1, 1, count))).astype(dtype)


def write(folder: Path, chosen: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """NAME.raw, little-endian, of each, pictures.json with their sizes, and profile.icc."""
    folder.mkdir(parents=True, exist_ok=True)
    held = dict(chosen)
    sizes = {}
    for name, samples in held.items():
        (folder / f"{name}.raw").write_bytes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
        height, width, channels = samples.shape
        sizes[name] = {"width": width, "height": height, "channels": channels, "bits": 8 * samples.itemsize}
    (folder / "pictures.json").write_text(json.dumps(sizes), encoding="utf-8")
    (folder / "profile.icc").write_bytes(SRGB)
    return held
