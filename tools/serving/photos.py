"""What a load sends, and what must come back: photos, what is asked for of each, and what the library gives for it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from nss.cutouts.compose import Composition
from nss.errors import ImageError
from nss.files.formats import Encoding
from nss.masks.refine import Refinement
from nss.pipes import OneTimeFile
from nss.removal.given_mask import apply_mask, with_settings
from nss.removal.host_stages import InferredMask
from nss.removal.remover import Remover
from tools.drawn_photos import draw

NETWORK_MASK = "application/x-nss-mask"
MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
MOST_PIXELS_SIDE = 30_000
"""Of a picture that is too large for any server: 900 megapixels."""


@dataclass(frozen=True)
class Order:
    """What is asked for: ``query`` and ``accept`` as a request has them, the rest as the library has it.

    Attributes:
        encoding: None for the network's own mask.
        ahead: what a file that is sent ahead is; its id stands behind the query.
    """

    query: str
    encoding: Encoding | None = field(default_factory=lambda: Encoding("png"))
    refinement: Refinement = field(default_factory=Refinement)
    composition: Composition = field(default_factory=Composition)
    accept: str | None = None
    ahead: Literal["", "mask", "background"] = ""


ORDERS = (
    Order(""),
    Order("format=png&effort=9&invert=true", Encoding("png", effort=9), composition=Composition(invert=True)),
    Order("format=webp", Encoding("webp")),
    Order("format=webp&quality=80&background=%23ff880080", Encoding("webp", 80), composition=Composition("#ff880080")),
    Order("format=jpeg&background=white&quality=90", Encoding("jpeg", 90), composition=Composition("white")),
    Order("format=tiff&hidden=zero", Encoding("tiff"), composition=Composition(hidden="zero")),
    Order("mask-only=true", composition=Composition(mask_only=True)),
    Order("mask-only=1&mask-bits=16", composition=Composition(mask_only=True, mask_bits=16)),
    Order("crop=8&guided=4&feather=1.5", refinement=Refinement(guided=4, feather=1.5), composition=Composition(crop=8)),
    Order(
        "threshold=0.5&drop-islands=50&fill-holes=50&expand=-1.5&smooth=2",
        refinement=Refinement(black=0.5, white=0.5, drop_islands=50, fill_holes=50, expand=-1.5, smooth=2),
    ),
    Order("decontaminate=0.8&hidden=bleed", composition=Composition(decontaminate=0.8, hidden="bleed")),
    Order(
        "background=blur:6&black=0.1&white=0.9",
        refinement=Refinement(black=0.1, white=0.9),
        composition=Composition("blur:6"),
    ),
    Order("", Encoding("webp"), accept="image/webp"),
    Order("mask-only", Encoding("jpeg"), composition=Composition(mask_only=True), accept="image/jpeg;q=0.9, text/css"),
    Order("", None, accept=NETWORK_MASK),
    Order("feather=2", refinement=Refinement(feather=2), ahead="mask"),
    Order("format=jpeg", Encoding("jpeg"), ahead="background"),
)  # fmt: skip
"""One of each way through the server."""


@dataclass(frozen=True)
class Photo:
    """A photo as a file."""

    content: bytes
    media_type: str


def photos(seed: int, count: int, sides: tuple[int, int] = (120, 400)) -> list[Photo]:
    """So many different ones, of sides between these, in turn as JPEG, PNG and WebP."""
    rng = random.Random(f"photos {seed}")
    made = []
    for index in range(count):
        size = (rng.randint(*sides), rng.randint(*sides))
        kind = list(MEDIA_TYPES)[index % len(MEDIA_TYPES)]
        file = io.BytesIO()
        draw(seed * 1000 + index, size).save(file, kind, **({"quality": 92} if kind != "png" else {}))
        made.append(Photo(file.getvalue(), MEDIA_TYPES[kind]))
    return made


def damaged(sound: Sequence[Photo], seed: int) -> Iterator[Photo]:
    """Photos whose files have lost their ends, or are noise behind their first bytes; some of them are still photos."""
    rng = random.Random(f"damaged {seed}")
    while True:
        photo = rng.choice(sound)
        whole = photo.content
        if rng.random() < 0.5:
            yield Photo(whole[: rng.randint(1, len(whole) // 2)], photo.media_type)
        else:
            yield Photo(whole[:16] + rng.randbytes(rng.randint(16, 2000)), photo.media_type)


@cache
def too_many_pixels(side: int = MOST_PIXELS_SIDE) -> Photo:
    """A PNG of few bytes that says that it has ``side`` x ``side`` pixels, and holds a part of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return Photo(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""), "image/png")


def sent_ahead(photo: Photo) -> Photo:
    """A mask for a photo, and a background for any: an ellipse on black."""
    with Image.open(io.BytesIO(photo.content)) as image:
        width, height = image.size
    ellipse = Image.new("L", (width, height))
    ImageDraw.Draw(ellipse).ellipse((width // 6, height // 6, width * 5 // 6, height * 5 // 6), fill=255)
    file = io.BytesIO()
    ellipse.save(file, "PNG")
    return Photo(file.getvalue(), "image/png")


class Library:
    """What the library gives, computed once for each photo and order."""

    def __init__(self, remover: Remover, sound: Sequence[Photo]) -> None:
        self._remover, self._photos = remover, sound
        self._results: dict[tuple[int, int], bytes] = {}

    def compute(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Make the results of these pairs of photo and order ready; the network runs once for each photo."""
        missing: dict[int, list[int]] = {}
        for photo, number in sorted(set(pairs) - self._results.keys()):
            missing.setdefault(photo, []).append(number)
        for photo, numbers in missing.items():
            inferred = self._remover.infer(self._remover.prepare(self._photos[photo].content))
            for number in numbers:
                self._results[photo, number] = self._made(ORDERS[number], self._photos[photo], inferred)

    def _made(self, order: Order, photo: Photo, inferred: InferredMask) -> bytes:
        if order.encoding is None:
            return np.ascontiguousarray(inferred.raw, "<f4").tobytes()
        refinement, composition = order.refinement, order.composition
        if order.ahead == "background":
            background = OneTimeFile(Path("background"), sent_ahead(photo).content)
            composition = replace(composition, background=background)
        if order.ahead == "mask":
            mask = sent_ahead(photo).content
            cutout = apply_mask(photo.content, mask, refinement=refinement, composition=composition)
        else:
            cutout = with_settings(self._remover.finish(inferred), refinement, composition)
        return cutout.to_bytes(order.encoding)

    def result(self, photo: int, order: int) -> bytes:
        """The bytes of a pair that was made ready."""
        return self._results[photo, order]

    def refuses(self, photo: Photo) -> bool:
        """Whether the library cannot read it."""
        try:
            self._remover.prepare(photo.content)
        except ImageError:
            return True
        return False
