"""Make the picture that the README opens with: a photo beside its cut-out over a checkerboard.

python tools/readme_picture.py [PHOTO] [PICTURE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import nss

SQUARE = 16
"""Pixels on a side of one field of the checkerboard."""


def picture(photo: Path) -> Image.Image:
    """The photo, and to its right its cut-out with the built-in model, RGB."""
    cutout = Image.fromarray(nss.remove(photo, model="u2netp").rgba)
    fields = np.indices((cutout.height, cutout.width)) // SQUARE
    board = np.where(fields.sum(axis=0) % 2, 204, 242).astype(np.uint8)
    right = Image.fromarray(board).convert("RGBA")
    right.alpha_composite(cutout)
    both = Image.new("RGB", (2 * cutout.width, cutout.height))
    both.paste(Image.open(photo).convert("RGB"), (0, 0))
    both.paste(right.convert("RGB"), (cutout.width, 0))
    return both


def main() -> None:
    """Write the picture."""
    root = Path(__file__).resolve().parent.parent
    photo = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "examples" / "astronaut.png"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else root / "docs" / "astronaut.jpg"
    picture(photo).save(target, quality=85)


if __name__ == "__main__":
    main()
