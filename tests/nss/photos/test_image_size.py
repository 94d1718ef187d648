"""Pictures that their bytes can hardly hold, and the limit of pixels: said or refused before anything is decoded."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nss
from nss.errors import ImageError
from nss.evaluation.examine import examine
from nss.photos import codec_messages, image_io
from nss.photos.image_size import MAX_PIXELS, sparse_note

Command = Callable[..., Any]


def jpeg(width: int, height: int, image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG file whose frame declares another size than what follows."""
    file = io.BytesIO()
    (image or Image.new("RGB", (64, 64), "teal")).save(file, "JPEG", **options)
    data = bytearray(file.getvalue())
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def flat(format_: str, width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format_, **options)
    return file.getvalue()


@pytest.fixture
def never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it is decoded")

    monkeypatch.setattr("nss.photos.colour_modes.separate", fail)
    monkeypatch.setattr("nss.photos.colour_modes.as_mask", fail)


@pytest.mark.usefixtures("never_decoded")
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_bytes_cannot_hold_its_pixels_is_refused_before_it_is_decoded(
    command: Command, tmp_path: Path, progressive: bool
) -> None:
    """libjpeg would give 278 megapixels of grey for it, after many seconds and with gigabytes."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(jpeg(17000, 16384, progressive=progressive))
    least = "815,872" if progressive else "1,631,744"
    outcome = command("remove", bad)
    assert outcome.status == 1
    assert outcome.err == [
        f"nss-wgpu: {bad}: truncated or damaged JPEG image (17000 x 16384 pixels take at least {least} bytes, and it "
        f"has {bad.stat().st_size:,})"
    ]
    with pytest.raises(ImageError, match="truncated or damaged JPEG image"):
        image_io.load_mask(bad.read_bytes())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 1}, {"subsampling": 2}])
def test_the_plainest_jpegs_are_whole(options: dict[str, Any]) -> None:
    """The least that a block takes is less than what any encoder makes of it."""
    for size in ((1, 1), (8, 8), (17, 9), (640, 480), (3000, 2000)):
        for mode in ("L", "RGB", "CMYK"):
            data = flat("JPEG", *size, mode, **options)
            assert image_io.load(data).size == size[::-1]


def test_a_jpeg_cut_off_at_any_byte_is_no_other_error(rgb: np.ndarray) -> None:
    data = jpeg(60, 40, Image.fromarray(rgb))
    choose = random.Random(3)
    for _ in range(60):
        damaged = bytearray(data[: choose.randrange(4, len(data))])
        damaged[choose.randrange(3, len(damaged))] ^= choose.randrange(256)
        with suppress(ImageError):
            image_io.load(bytes(damaged))


@pytest.mark.parametrize(
    ("format_", "width", "height", "mode", "options"),
    [
        pytest.param("PNG", 6000, 5000, "RGB", {}, id="PNG"),
        pytest.param("JPEG", 4000, 3000, "RGB", {}, id="JPEG"),
        pytest.param("WEBP", 4000, 3000, "RGB", {"lossless": True}, id="WebP"),
        pytest.param("TIFF", 6000, 5000, "1", {"compression": "group4"}, id="fax"),
        pytest.param("GIF", 4000, 3000, "P", {}, id="GIF"),
    ],
)
def test_flat_pictures_of_a_usual_size_are_not_worth_a_word(
    format_: str, width: int, height: int, mode: str, options: dict[str, Any]
) -> None:
    data = flat(format_, width, height, mode, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert sparse_note(*image.size, len(data)) is None


def test_neither_are_large_ones_that_hold_something() -> None:
    assert sparse_note(12000, 16000, 2_400_000) is None  # an even photo at the lowest quality
    assert sparse_note(12000, 9000, 12000 * 9000 // 340) is None  # a sheet of one colour as PNG


def test_a_large_picture_of_few_bytes_is_said_before_it_is_decoded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = tmp_path / "blank.png"
    blank.write_bytes(flat("PNG", 8000, 8000, "1"))
    text = f"8000 x 8000 pixels in {blank.stat().st_size:,} bytes: a blank or damaged image, or one made to fill"
    order: list[str] = []
    separate = image_io.colour_modes.separate

    def decode(*_: Any) -> Any:
        order.append("decoded")
        image = Image.new("RGB", (8, 8))
        return separate(image, None)

    monkeypatch.setattr("nss.photos.colour_modes.separate", decode)
    with codec_messages.capture(lambda name, note: order.append(f"{name}: {note}")):
        photo = image_io.load(blank)
    assert order[0].startswith(f"{blank}: {text}")
    assert order[1:] == ["decoded"]
    assert photo.notes[0].startswith(text)
    # through the command it is said once, and stands in the record
    outcome = command("remove", blank, "--model", "u2netp", "--json")
    assert outcome.status == 0
    assert len([line for line in outcome.err if text in line]) == 1
    assert outcome.err[0].startswith(f"nss-wgpu: {blank}: {text}")
    assert json.loads(outcome.out[0])["notes"][0].startswith(text)
    assert command("remove", blank, "--model", "u2netp", "--quiet", "--overwrite").err == []


@pytest.mark.parametrize("name", ["remove", "preview", "check", "eval"])
def test_the_limit_is_an_option(command: Command, photo: Path, tmp_path: Path, name: str) -> None:
    if name == "eval":
        masks = tmp_path / "masks"
        masks.mkdir()
        Image.new("L", (60, 40), 9).save(masks / "photo.png")
        arguments: list[object] = [masks, masks]
    else:
        arguments = [photo]
    assert command(name, *arguments, "--max-pixels", 2400).status == 0
    outcome = command(
        name, *arguments, "--max-pixels", 2399, *(["--overwrite"] if name in ("remove", "preview") else [])
    )
    assert outcome.status == 1
    assert (
        "60 x 40 pixels are more than 0.002399 megapixels; reduce the image first, or raise the limit, --max-pixels"
        in outcome.err[0]
    )
    assert command(name, *arguments, "--max-pixels", 0).status == 2


def test_the_limit_holds_for_masks_and_for_the_photo_of_a_check(command: Command, photo: Path) -> None:
    for arguments in (["remove", photo, "--mask", photo], ["check", photo, "--photo", photo]):
        outcome = command(*arguments, "--max-pixels", 99)
        assert outcome.status == 1
        assert "are more than 9.9e-05 megapixels" in outcome.err[0]


@pytest.mark.usefixtures("network", "never_decoded")
def test_the_limit_is_a_parameter(photo: Path) -> None:
    refusal = pytest.raises(ImageError, match="60 x 40 pixels are more than")
    with refusal:
        nss.remove(photo, model="u2netp", max_pixels=2399)
    with nss.Remover("u2netp", max_pixels=2399) as remover, refusal:
        remover.remove(photo)
    for call in (
        lambda: nss.apply_mask(photo, photo, max_pixels=2399),
        lambda: image_io.load(photo, max_pixels=2399),
        lambda: image_io.load(np.zeros((40, 60), np.uint8), max_pixels=2399),
        lambda: image_io.load(Image.new("L", (60, 40)), max_pixels=2399),
        lambda: image_io.load_mask(photo, max_pixels=2399),
        lambda: image_io.load_mask(np.zeros((40, 60), np.uint8), max_pixels=2399),
        lambda: examine(photo, max_pixels=2399),
    ):
        with refusal:
            call()


def test_the_defaults_are_one() -> None:
    assert nss.remove.__kwdefaults__["max_pixels"] == nss.Remover.__init__.__kwdefaults__["max_pixels"] == MAX_PIXELS


@pytest.mark.parametrize("format_", ["TIFF", "WEBP", "PNG"])
def test_pillows_own_limit_goes_with_the_commands(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """It is that of the process, which a library leaves alone, and says so."""
    (tmp_path / "a").write_bytes(flat(format_, 60, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert command("check", tmp_path / "a").status == 0
    outcome = command("check", tmp_path / "a", "--max-pixels", 2399)
    assert outcome.status == 1
    assert "megapixels; reduce the image first, or raise the limit" in outcome.err[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    def load() -> object:
        try:
            return image_io.load(tmp_path / "a").size
        except ImageError as error:
            return str(error)

    refusal = (
        f"{tmp_path / 'a'}: has more than 0.0002 megapixels; reduce the image first, or raise the limit ('max_pixels', "
        "and in a program PIL.Image.MAX_IMAGE_PIXELS)"
    )
    # which plugins have it depends on Pillow's version
    assert load() in ((40, 60), refusal)
    assert Image.MAX_IMAGE_PIXELS == 100
