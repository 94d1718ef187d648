"""Photos of any size and number, drawn from a seed: a subject, blurred colours, and grain as a sensor gives it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

GRAIN = 1 << 22
"""Values of grain that a photo's are taken from."""


def draw(seed: int, size: tuple[int, int]) -> Image.Image:
    """A photo: a subject before a background, both of blurred colours, with grain as a sensor gives it."""
    rng = np.random.default_rng(seed)
    width, height = size

    def colours() -> np.ndarray:
        patches = Image.fromarray(rng.integers(40, 215, (6, 8, 3), np.uint8))
        return np.asarray(patches.resize(size, Image.Resampling.BICUBIC))

    body, photo = colours(), colours().astype(np.int16)
    rows, columns = np.ogrid[:height, :width]
    middle, radii = rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.35, 2)
    is_body = ((columns / width - middle[0]) / radii[0]) ** 2 + ((rows / height - middle[1]) / radii[1]) ** 2 < 1
    photo[is_body] = body[is_body]
    grain = rng.normal(0, 4, GRAIN).astype(np.int8)
    for row in photo:  # in another place of the grain for each row: drawing all of it anew takes ten times as long
        first = int(rng.integers(0, GRAIN - width)) if width < GRAIN else 0
        row += grain[first : first + width, None]
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8))


def _save(folder: Path, size: tuple[int, int], quality: int, seed: int) -> Path:
    path = folder / f"photo{seed:05}.jpg"
    draw(seed, size).save(path, quality=quality)
    return path


def photos(folder: Path, count: int, size: tuple[int, int], quality: int = 92) -> list[Path]:
    """So many different photos as files."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in range(count) if not (folder / f"photo{seed:05}.jpg").exists()]
    if len(missing) > 2:
        with ProcessPoolExecutor() as pool:
            list(pool.map(partial(_save, folder, size, quality), missing, chunksize=max(1, len(missing) // 256)))
    else:
        for seed in missing:
            _save(folder, size, quality, seed)
    return [folder / f"photo{seed:05}.jpg" for seed in range(count)]
