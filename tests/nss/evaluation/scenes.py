"""Photos of a disc on a ground whose cut-outs are known, as every kind of tool would make them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from nss.files import export
from nss.files.formats import Encoding
from nss.files.picture import Picture

HEIGHT, WIDTH = 120, 160
COLOURS = {
    "void": (0, 0, 0),
    "black": (3, 3, 3),
    "dark": (40, 35, 30),
    "mid": (120, 130, 110),
    "red": (200, 30, 30),
    "light": (225, 220, 230),
    "white": (253, 253, 253),
}
PNG = Encoding("png")


def disc(softness: float = 20) -> np.ndarray:
    """uint8 HxW: a disc whose rim takes so many pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.rint(255 * np.clip((42 - np.hypot(x - 80, y - 60)) / softness + 0.5, 0, 1)).astype(np.uint8)


def colour(name: str, noise: float = 8) -> np.ndarray:
    rng = np.random.default_rng(sorted(COLOURS).index(name))
    return np.clip(COLOURS[name] + rng.normal(0, noise, (HEIGHT, WIDTH, 3)), 0, 255)


class Scene:
    """A disc of one colour on another."""

    def __init__(self, foreground: str, background: str, alpha: np.ndarray | None = None, noise: float = 8) -> None:
        self.alpha = disc() if alpha is None else alpha
        self.opacity = self.alpha[..., None] / 255
        self.foreground = np.rint(colour(foreground, noise)).astype(np.uint8)
        pixels = self.opacity * colour(foreground, noise) + (1 - self.opacity) * colour(background, noise)
        self.photo = np.rint(pixels).astype(np.uint8)

    def kept_colours(self) -> np.ndarray:
        return np.dstack([self.photo, self.alpha])

    def zero(self) -> np.ndarray:
        return self.kept_colours() * np.uint8(self.opacity > 0)

    def freed_colours(self) -> np.ndarray:
        """Without the background's colour, and nothing hidden."""
        return np.dstack([self.foreground, self.alpha]) * np.uint8(self.opacity > 0)

    def rembg(self) -> np.ndarray:
        """As rembg's default makes it: every channel blended with transparent black."""
        photo = Image.fromarray(self.photo).convert("RGBA")
        return np.asarray(Image.composite(photo, Image.new("RGBA", photo.size, 0), Image.fromarray(self.alpha)))

    def photo_file(self) -> bytes:
        return encode(self.photo)


def encode(pixels: np.ndarray, encoding: Encoding = PNG) -> bytes:
    return export.encode(Picture(np.ascontiguousarray(pixels)), encoding)
