"""Photos whose alpha, foreground and background are known exactly, and masks such as a network would make of them.

python tools/synthetic.py OUT [--seed N] [--count N] [--size WxH]

writes OUT/photos/x.png, OUT/truth/x.png (alpha, 16-bit greyscale), OUT/truth/x.foreground.png (true colours), and
OUT/masks-320/x.png and OUT/masks-1024/x.png (16-bit greyscale). The same arguments give the same pixels.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nss.arrays.resample import resize_bilinear
from nss.removal.preprocess import mask_to_photo

SCALE = 8
"""Shapes are drawn at this many times the size and averaged."""

NETWORK_SIDES = (320, 1024)
SIZE = (1024, 1536)
COUNT = 8

STRONG = ("green", "red")
"""The backgrounds of one saturated colour."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo and what it is made of.

    Attributes:
        name: number, shape and background.
        photo: uint8 HxWx3, ``alpha * foreground + (1 - alpha) * background``, rounded once.
        alpha: uint16 HxW; 65535 is opaque.
        foreground: uint8 HxWx3, known everywhere.
        background: uint8 HxWx3.
    """

    name: str
    photo: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    background: np.ndarray


class Canvas:
    """A sheet to draw coverage on, in pixels of the photo and in fractions of them."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = size
        self._image = Image.new("L", (self.width * SCALE, self.height * SCALE))
        self._draw = ImageDraw.Draw(self._image)
        self._draw.fontmode = "1"  # letters without soft edges: a sample is inside or outside

    def disc(self, x: float, y: float, radius: float, fill: int = 1) -> None:
        """A disc, or with fill 0 a hole."""
        box = [round(v * SCALE) for v in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.ellipse(box, fill=fill)

    def stroke(self, points: np.ndarray, widths: np.ndarray) -> None:
        """A line through ``points`` (Nx2, x and y), of a width that changes along it."""
        places = [(int(x), int(y)) for x, y in np.rint(points * SCALE)]
        for start, end, width in zip(places, places[1:], np.rint(widths * SCALE), strict=False):
            self._draw.line([start, end], fill=1, width=max(1, int(width)))
            radius = int(width) // 2
            self._draw.ellipse([end[0] - radius, end[1] - radius, end[0] + radius, end[1] + radius], fill=1)

    def text(self, x: float, y: float, text: str, size: float) -> None:
        """Text in Pillow's own font, its upper left corner at a place."""
        place = (round(x * SCALE), round(y * SCALE))
        self._draw.text(place, text, fill=1, font=ImageFont.load_default(size * SCALE))

    def coverage(self) -> np.ndarray:
        """What part of each pixel is covered, float64 HxW: whole 64ths."""
        samples = np.asarray(self._image).reshape(self.height, SCALE, self.width * SCALE)
        columns = samples.sum(axis=1, dtype=np.uint8).reshape(self.height, self.width, SCALE)
        return columns.sum(axis=2, dtype=np.uint8) / SCALE**2


def hair(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A round body with thin curved strokes standing out, a third of a pixel wide at their ends."""
    canvas = Canvas(size)
    height, width = size
    x, y, radius = width * (0.45 + 0.1 * rng.random()), height * 0.52, height * 0.24
    canvas.disc(x, y, radius)
    t = np.linspace(0, 1, 24)[:, None]
    for _ in range(150):
        angle = rng.random() * 2 * math.pi
        bend, length = rng.random() * 1.6 - 0.8, height * (0.05 + 0.15 * rng.random())
        root = np.array([x, y]) + 0.97 * radius * np.array([math.cos(angle), math.sin(angle)])
        turned = angle + bend * t
        points = root + length * t * np.hstack([np.cos(turned), np.sin(turned)])
        canvas.stroke(points, (0.6 + 2.4 * rng.random()) * (1 - t[:, 0]) + 0.33)
    return canvas.coverage()


def discs(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Discs of many sizes, some with a hole."""
    canvas = Canvas(size)
    height, width = size
    for index in range(14):
        radius = height * (0.02 + 0.16 * rng.random() ** 2)
        x, y = radius + rng.random() * (width - 2 * radius), radius + rng.random() * (height - 2 * radius)
        canvas.disc(x, y, radius)
        if index % 3 == 0:
            canvas.disc(x, y, radius * 0.4, fill=0)
    return canvas.coverage()


def glass(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A bowl: an opaque rim and foot, and between them walls that let more through, the farther from the edge."""
    outer, inner, foot = Canvas(size), Canvas(size), Canvas(size)
    height, width = size
    x, y, radius = width * (0.4 + 0.2 * rng.random()), height * 0.48, height * 0.36
    outer.disc(x, y, radius)
    inner.disc(x, y, radius * 0.95)
    foot.disc(x, y + radius, radius * 0.35)
    rows, columns = np.indices(size)
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y) / radius
    sheen = 0.06 * np.sin(columns / width * 17 + rng.random() * 6) * np.sin(rows / height * 11)
    walls = np.clip(0.18 + 0.55 * distance**3 + sheen, 0, 1)
    within = inner.coverage()
    body = outer.coverage() * (1 - within) + within * walls
    return np.maximum(body, foot.coverage())


def letters(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lines of text from headline to small print."""
    canvas = Canvas(size)
    height, width = size
    y = height * 0.05
    for share in (0.19, 0.12, 0.08, 0.055, 0.04, 0.028, 0.02, 0.014):
        canvas.text(width * (0.04 + 0.06 * rng.random()), y, "Quick wafting zephyrs vex bold Jim", height * share)
        y += height * share * 1.35
    return canvas.coverage()


def mixed(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """All of them on one sheet, one over the other."""
    through = np.ones(size)
    for shape in (hair, letters, glass):
        through *= 1 - shape(size, rng)
    return 1 - through


SHAPES: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "hair": hair,
    "discs": discs,
    "glass": glass,
    "text": letters,
    "mixed": mixed,
}
BACKGROUNDS = ("green", "noise", "red", "gradient", "low-contrast")


def waves(size: tuple[int, int], rng: np.random.Generator, octaves: range) -> np.ndarray:
    """Noise of several scales, float64 HxW in 0..1; octave n has 2**n + 1 cells a side."""
    total = np.zeros(size)
    for octave in octaves:
        cells = rng.random((2**octave + 1, 2**octave + 1)).astype(np.float32)
        total += resize_bilinear(cells, size, antialias=False) / 2 ** (octave / 2)
    total -= total.min()
    return total / total.max()


def between(first: tuple[int, int, int], second: tuple[int, int, int], share: np.ndarray) -> np.ndarray:
    """Colours from one to the other, uint8 HxWx3."""
    a, b = np.array(first, np.float64), np.array(second, np.float64)
    return np.rint(a + (b - a) * share[..., None]).astype(np.uint8)


def textured(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A foreground's colours: from brown to cream, in patches and fine grain."""
    return between((70, 45, 35), (225, 195, 160), waves(size, rng, range(2, 10)))


def backdrop(kind: str, foreground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The background of that kind, uint8 HxWx3."""
    size = foreground.shape[:2]
    if kind == "green":
        return between((20, 170, 40), (40, 215, 70), waves(size, rng, range(1, 3)))
    if kind == "red":
        return between((185, 15, 25), (225, 40, 45), waves(size, rng, range(1, 3)))
    if kind == "noise":
        channels = [waves(size, rng, range(4, 10)) for _ in range(3)]
        return np.rint(255 * np.stack(channels, axis=2)).astype(np.uint8)
    if kind == "gradient":
        slope = np.linspace(0, 1, size[0])[:, None] * np.ones(size)
        return between((120, 170, 225), (95, 120, 70), np.clip(0.8 * slope + 0.2 * waves(size, rng, range(1, 5)), 0, 1))
    # near the foreground's mean colour, and with a grain of its own
    return between((115, 90, 70), (180, 150, 125), waves(size, rng, range(2, 8)))


def sample(index: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Sample:
    """Photo number ``index`` of the set, at ``size`` = (height, width)."""
    rng = np.random.default_rng([seed, index])
    shape, kind = _parts(index)
    alpha = np.rint(SHAPES[shape](size, rng) * 65535).astype(np.uint16)
    foreground = textured(size, rng)
    background = backdrop(kind, foreground, rng)
    photo = np.rint(composed(alpha, foreground, background)).astype(np.uint8)
    return Sample(named(index), photo, alpha=alpha, foreground=foreground, background=background)


def named(index: int) -> str:
    """The name of photo number ``index``."""
    shape, kind = _parts(index)
    return f"{index:02}-{shape}-{kind}"


def _parts(index: int) -> tuple[str, str]:
    """Its shape and its background; after each round through the shapes they meet the next background."""
    return list(SHAPES)[index % len(SHAPES)], BACKGROUNDS[(index + index // len(SHAPES)) % len(BACKGROUNDS)]


def composed(alpha: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The photo before it is rounded, float64 HxWx3."""
    share = (alpha / 65535)[..., None]
    return share * foreground + (1 - share) * background


def degrade(alpha: np.ndarray, network_side: int, rng: np.random.Generator) -> np.ndarray:
    """What a network would find where the truth is ``alpha`` (uint16 HxW): float32 HxW in 0..1 at the photo's size.

    The truth is reduced to a square of ``network_side``, its contours moved to and fro by up to half a pixel of that
    square, blurred with the weights 1 2 1, given six specks and six pinholes, and enlarged. Nothing is rounded.
    """
    size = (network_side, network_side)
    mask = resize_bilinear(alpha.astype(np.float32), size, antialias=True) / 65535
    shifts = [waves(size, rng, range(4, 6)) - 0.5 for _ in range(2)]
    slopes = np.gradient(mask)
    mask = np.clip(mask + sum(shift * slope for shift, slope in zip(shifts, slopes, strict=True)), 0, 1)
    for _ in range(2):
        padded = np.pad(mask, ((1, 1), (0, 0)), mode="edge")
        mask = ((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4).T
    speckled = 1 - specked(1 - specked(mask, rng, 6), rng, 6)
    return mask_to_photo(speckled.astype(np.float32), (alpha.shape[0], alpha.shape[1]))


def specked(mask: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """The mask with soft specks of one to two pixels' radius where nothing is."""
    places = np.argwhere(mask < 1e-3)
    mask = mask.copy()
    for place in places[rng.integers(len(places), size=count)] if len(places) else ():
        speck(mask, place, 1 + rng.random(), 0.5 + 0.5 * rng.random())
    return mask


def speck(mask: np.ndarray, place: np.ndarray, radius: float, value: float = 1.0) -> None:
    """Put a disc of at most ``value`` into the mask, its centre at ``place`` (row, column)."""
    reach = math.ceil(radius + 0.5)
    rows, columns = (
        np.arange(max(0, at - reach), min(at + reach + 1, length)) for at, length in zip(place, mask.shape, strict=True)
    )
    distance = np.hypot(rows[:, None] - place[0], columns - place[1])
    area = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.maximum(area, value * np.clip(radius + 0.5 - distance, 0, 1), out=area, casting="same_kind")


def save_grey(path: Path, mask: np.ndarray) -> None:
    """Write a mask, uint16 HxW or float HxW in 0..1, as 16-bit greyscale PNG."""
    levels = mask if mask.dtype == np.uint16 else np.rint(mask.astype(np.float64) * 65535).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, compress_level=1)


def save_rgb(path: Path, rgb: np.ndarray) -> None:
    """Write uint8 HxWx3 (or HxWx4) as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, compress_level=1)


def write(out: Path, *, seed: int = 0, count: int = COUNT, size: tuple[int, int] = SIZE) -> list[str]:
    """Write the whole set; returns the names."""
    names = []
    for index in range(count):
        item = sample(index, seed, size)
        save_rgb(out / "photos" / f"{item.name}.png", item.photo)
        save_grey(out / "truth" / f"{item.name}.png", item.alpha)
        save_rgb(out / "truth" / f"{item.name}.foreground.png", item.foreground)
        for side in NETWORK_SIDES:
            mask = degrade(item.alpha, side, np.random.default_rng([seed, index, side]))
            save_grey(out / f"masks-{side}" / f"{item.name}.png", mask)
        names.append(item.name)
    return names


def dimensions(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as (height, width)."""
    width, height = (int(part) for part in text.lower().split("x"))
    if width < 1 or height < 1:
        raise ValueError(text)
    return height, width


def main() -> None:
    """Write the set that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--size", type=dimensions, default=SIZE, metavar="WxH")
    options = parser.parse_args()
    for name in write(options.out, seed=options.seed, count=options.count, size=options.size):
        print(name)


if __name__ == "__main__":
    main()
