"""Photos that change while they are read are refused as that, and not called damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from nss.errors import ImageError
from nss.photos import image_io


class Decoder:
    """Does something to a file once its decoder has begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def meanwhile(self, act: object) -> None:
        load = ImageFile.ImageFile.load

        def result(image: ImageFile.ImageFile) -> object:
            act()  # type: ignore[operator]
            return load(image)

        self._patch.setattr(ImageFile.ImageFile, "load", result)


@pytest.mark.parametrize("load", [image_io.load, image_io.load_mask])
def test_a_file_that_grows_while_it_is_read_is_refused(
    photo: Path, monkeypatch: pytest.MonkeyPatch, load: object
) -> None:
    def grow() -> None:
        with photo.open("ab") as file:
            file.write(b"more")

    Decoder(monkeypatch).meanwhile(grow)
    with pytest.raises(ImageError, match=r"photo.png: changed while it was being read; run it again when it is compl"):
        load(photo)  # type: ignore[operator]


def test_a_file_that_is_overwritten_while_it_is_read_is_refused(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(photo, (1, 1))  # clocks are coarse
    content = photo.read_bytes()
    Decoder(monkeypatch).meanwhile(lambda: photo.write_bytes(content))
    with pytest.raises(ImageError, match="changed while it was being read"):
        image_io.load(photo)


def test_half_a_file_that_is_still_written_is_not_called_damaged(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = photo.read_bytes()
    photo.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="truncated or damaged"):
        image_io.load(photo)
    os.utime(photo, (1, 1))
    Decoder(monkeypatch).meanwhile(lambda: photo.write_bytes(content[: len(content) // 2 + 9]))
    with pytest.raises(ImageError, match="changed while it was being read"):
        image_io.load(photo)


def test_a_file_whose_name_goes_to_another_is_read_to_its_end(
    photo: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = photo.with_name("other.png")
    Image.new("RGB", (60, 40)).save(other)
    Decoder(monkeypatch).meanwhile(lambda: other.exists() and other.replace(photo))
    assert np.array_equal(image_io.load(photo).rgb, rgb)
    assert not image_io.load(photo).rgb.any()
