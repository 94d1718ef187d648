"""What a photo is thought to take follows its header."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.pipeline import photo_bytes
from nss.pipeline.photo_bytes import EACH, FINISHING, UNKNOWN, source_bytes


def test_it_grows_with_the_pixels(tmp_path: Path) -> None:
    sizes = []
    for i, size in enumerate([(100, 80), (1000, 800)]):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
        sizes.append(source_bytes(tmp_path / f"{i}.png") - EACH)
    assert sizes == [round(FINISHING * 8000), round(FINISHING * 800000)]


def test_formats_that_take_more_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(photo_bytes.DECODING, "WEBP", 100.0)
    file = io.BytesIO()
    Image.new("RGB", (50, 40)).save(file, "WEBP")
    assert source_bytes(file.getvalue()) == EACH + 100 * 2000


def test_what_cannot_be_known() -> None:
    assert source_bytes(io.BytesIO(b"anything")) == UNKNOWN


def test_what_is_no_photo(tmp_path: Path) -> None:
    assert source_bytes(tmp_path / "missing.png") == EACH
    assert source_bytes(b"no image") == EACH
    assert source_bytes(np.zeros((100, 100, 3), np.uint8), max_pixels=9999) == EACH + round(FINISHING * 10000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes by name")
def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"whole",))
    writer.start()
    assert source_bytes(pipe) == source_bytes(str(pipe)) == UNKNOWN
    assert pipe.read_bytes() == b"whole"
    writer.join()
