"""PNG files as they are written: Pillow reads the picture, and they are no larger than its own."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from itertools import pairwise
from typing import IO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nss.errors import ImageError
from nss.files import export, png
from nss.files.deflate import Compressor
from nss.files.formats import Encoding
from nss.files.picture import Picture
from tests.nss.pictures import SRGB, exif, pixels, texture
from tests.nss.png_bytes import chunks, decoded, header, joined
from tests.nss.png_pictures import KINDS, small_pictures, written
from tests.project import ROOT

ISAL = Compressor("isal", 1)


def by_pillow(picture: Picture, **options: object) -> bytes:
    file = io.BytesIO()
    export._as_image(picture.pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("effort", [None, *range(10)])
@pytest.mark.parametrize("kind", KINDS)
def test_pillow_reads_the_pixels(kind: str, effort: int | None) -> None:
    reference = pixels(kind)
    result = decoded(written(Picture(reference), effort))
    assert result is not None
    assert result.dtype == reference.dtype
    assert np.array_equal(result, reference)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chunks_are_those_that_pillow_writes(kind: str) -> None:
    for icc, block in ((None, None), (SRGB, exif()), (None, exif(">"))):
        picture = Picture(pixels(kind), icc, block)
        options = {"icc_profile": icc} | ({"exif": b"Exif\0\0" + block} if block else {})
        ours, theirs = (
            [chunk for chunk in chunks(file) if chunk[0] != b"IDAT"]
            for file in (written(picture), by_pillow(picture, **options))
        )
        assert ours == theirs


@settings(max_examples=150, deadline=None, derandomize=True)
@given(small_pictures(), st.sampled_from([png.NONE, png.SUB, png.UP, png.AVERAGE, png.PAETH]), st.integers(1, 20))
def test_every_filter_in_any_bands(picture: np.ndarray, kind: int, rows: int) -> None:
    bands = [png.filtered(picture, top, min(top + rows, len(picture)), kind) for top in range(0, len(picture), rows)]
    assert all((band[:, 0] == kind).all() for band in bands)
    stream = zlib.compress(np.concatenate(bands).tobytes())
    result = decoded(joined([header(picture), (b"IDAT", stream), (b"IEND", b"")]))
    assert result is not None
    assert np.array_equal(result, picture)


def test_large_pictures_are_written_in_bands_of_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pixels("rgba")
    monkeypatch.setattr(png, "BAND", 10 * 192 * 4 + 100)
    file = written(Picture(reference))
    parts = [data for kind, data in chunks(file) if kind == b"IDAT"]
    assert len(parts) == 10
    rows = [len(zlib.decompressobj(-15).decompress(part)) / (192 * 4 + 1) for part in (parts[0][2:], *parts[1:])]
    assert rows == [10] * 9 + [6]
    assert np.array_equal(decoded(file), reference)
    monkeypatch.setattr(png, "BAND", 100)  # less than a row
    assert np.array_equal(decoded(written(Picture(reference))), reference)


def test_one_filter_is_chosen_by_what_is_smallest() -> None:
    steps = np.random.default_rng(0).integers(-3, 4, (256, 256))
    every = [png.NONE, png.SUB, png.UP, png.AVERAGE, png.PAETH]
    along, down = (np.cumsum(steps, axis=axis).astype(np.uint8) for axis in (1, 0))
    assert png.best_filter(np.zeros((256, 256), np.uint8), ISAL, every) == png.NONE
    assert png.best_filter(along, ISAL, every) == png.SUB
    assert png.best_filter(down, ISAL, every) == png.UP
    assert png.best_filter(down, ISAL, [png.NONE, png.SUB]) == png.NONE
    y, x = np.mgrid[:256, :256]
    plane = (x * 7 + y * 5 + steps).astype(np.uint8)
    assert png.best_filter(plane, ISAL, every) in (png.AVERAGE, png.PAETH)


def photos() -> dict[str, np.ndarray]:
    """Different ones: of examples and made, with and without alpha, and masks."""
    with Image.open(ROOT / "examples" / "astronaut.png") as image:
        astronaut = np.asarray(image.convert("RGB"))
    with Image.open(ROOT / "examples" / "chelsea.png") as image:
        chelsea = np.asarray(image.convert("RGB"))
        large = np.asarray(image.convert("RGB").resize((902, 600), Image.Resampling.LANCZOS))
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:600, :902]
    soft = np.clip((1 - ((x - 451) / 280) ** 2 - ((y - 300) / 200) ** 2) * 4 + 0.5 + 0.2 * np.sin(x / 40), 0, 1)
    mask = np.rint(soft * 255).astype(np.uint8)
    grain = np.clip(large + rng.normal(0, 5, large.shape), 0, 255).astype(np.uint8)
    return {
        "astronaut": astronaut,
        "chelsea": chelsea,
        "enlarged": large,
        "grain": np.dstack([grain, mask]),
        "cut-out": np.dstack([large * (mask > 0)[..., None], mask]),
        "mask": mask,
        "16 bits": np.rint(soft * 65535).astype(np.uint16),
        "hard mask": (mask > 127) * np.uint8(255),
        "texture": texture(600, 902),
        "flat": np.full((600, 902), 200, np.uint8),
    }


def test_files_are_about_as_small_as_pillows() -> None:
    """At the same effort, from Pillow's level 1 to 3."""
    for name, image in photos().items():
        for effort in (1, None, 2, 3):
            if effort is not None:  # by default level 1
                theirs = len(by_pillow(Picture(image), compress_level=effort))
            assert len(written(Picture(image), effort)) <= 1.1 * theirs + 200, (name, effort)


def test_more_effort_makes_smaller_files() -> None:
    for name, image in photos().items():
        sizes = [len(written(Picture(image[:300]), effort)) for effort in (1, 3, 6, 8)]
        assert all(later <= 1.01 * earlier + 1000 for earlier, later in pairwise(sizes)), (
            name,
            sizes,
        )


class Sink(io.RawIOBase):
    """Takes all, and keeps nothing."""

    def write(self, data: object) -> int:
        return len(memoryview(data))  # type: ignore[arg-type]


def test_no_second_copy_of_the_picture_is_held() -> None:
    image = np.random.default_rng(0).integers(0, 16, (2000, 3000, 4), dtype=np.uint8)
    sink: IO[bytes] = Sink()  # type: ignore[assignment]
    for reference in (image, image[..., :3], image[:, ::-1]):
        tracemalloc.start()
        try:
            png.write(Picture(reference), sink, None)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < reference.nbytes / 2


def test_what_is_no_picture_is_refused() -> None:
    for shape in ((0, 5), (5, 0, 3)):
        with pytest.raises(ValueError, match="pixels are no PNG"):
            written(Picture(np.zeros(shape, np.uint8)))
        with pytest.raises(ImageError, match="<standard output>: png could not be encoded"):
            export.encode(Picture(np.zeros(shape, np.uint8)), Encoding("png"))


def test_settings_say_what_deflates() -> None:
    assert Encoding("png").settings()["options"] == {"deflate": "isal", "level": 1}
    assert Encoding("png", None, 9).settings()["options"] == {"deflate": "zlib-ng", "level": 8}
