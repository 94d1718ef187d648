"""What goes wrong on the page: each a sentence, and the page goes on."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT
from tests.web.conftest import Node, lacks, require
from tests.web.models import RED_INTERFACE, write_red_network

HERE = Path(__file__).parent


def split_photo(width: int, height: int) -> Image.Image:
    """Red on the left and blue on the right."""
    photo = Image.new("RGB", (width, height), (20, 40, 230))
    photo.paste((230, 40, 20), (0, 0, width // 2, height))
    return photo


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it has that size, and has next to nothing in it."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(64))),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture(scope="module")
def red_site(tmp_path_factory: pytest.TempPathFactory, command: list[str]) -> Path:
    """A site of the network that finds what is red."""
    require(lacks("harness.mjs"))
    folder = tmp_path_factory.mktemp("faults")
    model = write_red_network(folder / "red.onnx")
    arguments = [*command, "export-web", model, "-o", folder / "site", "--quiet", *RED_INTERFACE]
    subprocess.run(arguments, cwd=folder if os.environ.get("NSS_TEST_COMMAND") else ROOT, check=True, timeout=200)
    return folder / "site"


def run_faults(run_node: Node, site: Path, folder: Path, large: tuple[int, int]) -> None:
    photos = folder / "photos"
    photos.mkdir()
    (folder / "downloads").mkdir()
    split_photo(96, 64).save(photos / "good.png")
    split_photo(96, 64).save(photos / "good.jpg")
    split_photo(600, 400).save(photos / "larger.png")
    Image.new("RGB", (1, 1), (230, 40, 20)).save(photos / "pixel.png")
    split_photo(*large).save(photos / "large.png")
    (photos / "vast.png").write_bytes(png_of_size(20000, 20000))
    run_node(HERE / "faults.test.mjs", NSS_SITE=site, NSS_PHOTOS=photos, NSS_FOLDER=folder)

    good = np.asarray(Image.open(folder / "good.cutout.png"))
    assert np.array_equal(good[..., :3], np.asarray(split_photo(96, 64)))
    assert good[:, :40, 3].min() == 255
    assert good[:, 56:, 3].max() == 0
    pixel = Image.open(folder / "pixel.cutout.png")
    assert (pixel.size, pixel.getpixel((0, 0))) == ((1, 1), (230, 40, 20, 255))
    with Image.open(folder / "large.cutout.png") as image:
        assert image.size == large
        left, right = (image.getpixel((large[0] * part // 4, large[1] // 2)) for part in (1, 3))
    assert (left, right) == ((230, 40, 20, 255), (20, 40, 230, 0))


@pytest.mark.long(reason="half a minute; words are in page/notices.test.mjs, most faults in runner/faults.test.mjs")
def test_faults(run_node: Node, red_site: Path, tmp_path: Path) -> None:
    run_faults(run_node, red_site, tmp_path, (3000, 2000))


@pytest.mark.long(reason="takes half a minute and 2 GB")
def test_faults_with_100_megapixels(
    run_node: Node, red_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    run_faults(run_node, red_site, tmp_path, (10000, 10000))
