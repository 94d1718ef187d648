"""What a photo is thought to take follows its header."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from nss.files.formats import FORMATS
from nss.pipeline import photo_bytes
from nss.pipeline.photo_bytes import EACH, FINISHING, UNKNOWN, finishing_bytes, source_bytes
from tools import photo_memory


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


def test_what_is_done_counts(tmp_path: Path) -> None:
    plain = finishing_bytes(nss.Refinement(), nss.Composition(), "png")
    others = [
        finishing_bytes(nss.Refinement(feather=2), nss.Composition(), "png"),
        finishing_bytes(nss.Refinement(), nss.Composition(decontaminate=0.5), "png"),
        finishing_bytes(nss.Refinement(), nss.Composition(background="blur"), "png"),
        *(finishing_bytes(nss.Refinement(), nss.Composition(), name) for name in FORMATS if name != "png"),
    ]
    assert plain < min(others)
    assert finishing_bytes(nss.Refinement(feather=2), nss.Composition(), "avif") > max(others)
    Image.new("RGB", (100, 80)).save(tmp_path / "photo.png")
    assert source_bytes(tmp_path / "photo.png", finishing=100.0) == EACH + 800000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not say a process's peak")
def test_it_is_what_a_photo_takes(tmp_path: Path) -> None:
    """At 4 megapixels, and what each core takes counts; ``python -m tools.photo_memory`` measures larger ones."""
    photo = photo_memory.make(4, "JPEG", tmp_path)
    taken = photo_memory.child(photo, {})
    finishing = finishing_bytes(nss.Refinement(), nss.Composition(), "png")
    most = max(taken[stage] for stage in ("decoding", "preparing", "finishing"))
    assert 0.4 < most / source_bytes(photo, finishing=finishing) < 1.4


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
