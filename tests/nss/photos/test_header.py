"""What is said of a photo before it is decoded is what it turns out to be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.errors import ImageError
from nss.photos import codec_messages, image_io
from nss.photos.header import Header, read_header
from tests.nss.images import png


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "format_", "expected"),
    [
        ("RGB", "JPEG", Header(30, 20, "JPEG")),
        ("L", "PNG", Header(30, 20, "PNG")),
        ("RGBA", "PNG", Header(30, 20, "PNG", transparent=True)),
        ("I;16", "PNG", Header(30, 20, "PNG", deep=True)),
        ("F", "TIFF", Header(30, 20, "TIFF", deep=True)),
        ("RGBA", "WEBP", Header(30, 20, "WEBP", transparent=True)),
        ("RGB", "BMP", Header(30, 20, "BMP")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_of_files(mode: str, format_: str, expected: Header, tmp_path: Path) -> None:
    data = encoded(Image.new(mode, (30, 20)), format_)
    path = tmp_path / "photo"
    path.write_bytes(data)
    assert read_header(data) == read_header(path) == read_header(str(path)) == expected
    photo = image_io.load(data)
    assert photo.size == (expected.height, expected.width)
    assert (photo.alpha is not None) == expected.transparent
    assert any("reduced" in note for note in photo.notes) == expected.deep or mode == "F"


def test_deep_colour() -> None:
    assert read_header(png(5, 4, depth=16, colour=2)) == Header(5, 4, "PNG", deep=True)


def test_of_pixels() -> None:
    assert read_header(Image.new("LA", (3, 2))) == Header(3, 2, "PIL", transparent=True)
    assert read_header(np.zeros((2, 3), np.uint8)) == Header(3, 2, "array")
    assert read_header(np.zeros((2, 3, 4), np.float32)) == Header(3, 2, "array", deep=True, transparent=True)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_header(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="megapixels"):
        read_header(encoded(Image.new("RGB", (30, 20)), "PNG"), max_pixels=599)


def test_a_file_object_is_left_where_it_stands() -> None:
    file = io.BytesIO(encoded(Image.new("RGB", (30, 20)), "PNG"))
    assert read_header(file) is None
    assert file.tell() == 0


def test_notes_are_left_to_whoever_loads_it() -> None:
    told: list[str] = []
    blank = encoded(Image.new("1", (8000, 5000)), "PNG")
    with codec_messages.capture(lambda _, note: told.append(note)):
        assert read_header(blank) == Header(8000, 5000, "PNG")
    assert told == []
