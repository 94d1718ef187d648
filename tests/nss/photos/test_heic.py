"""HEIC through the extra ``heic``: the photo turned once, alpha, profile and EXIF kept; one line without the extra."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.errors import ImageError
from nss.photos import exif, image_io
from tests.nss.images import SRGB, STORED, in_container, oriented

HEAD = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


@pytest.fixture
def heif() -> Any:
    """The package ``pillow_heif``."""
    return pytest.importorskip("pillow_heif", reason="HEIC IS NOT TESTED: pip install 'nss-wgpu[heic]'")


def encode(heif: Any, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    heif.from_pillow(image).save(file, **{"quality": 95, "chroma": 444, **options})
    return file.getvalue()


@pytest.fixture
def scene() -> np.ndarray:
    """uint8 64x96x3 of three flat colours, without symmetry."""
    scene = np.zeros((64, 96, 3), np.uint8)
    scene[:32, :64] = 220
    scene[48:, 80:] = (200, 24, 24)
    return scene


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError) as failure:
        image_io.load(HEAD[:8] + brand + HEAD[12:], "a.heic")
    assert str(failure.value) == "a.heic: HEIC images need one more package: pip install 'nss-wgpu[heic]'"


def test_the_signature_decides_and_pixels_profile_and_exif_are_kept(
    heif: Any, scene: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(heif, Image.fromarray(scene), icc_profile=SRGB, exif=oriented(None).tobytes()))
    photo = image_io.load(path)
    assert np.abs(photo.rgb.astype(int) - scene).mean() < 1
    assert (photo.format, photo.icc, photo.alpha, photo.notes) == ("HEIF", SRGB, None, ())
    assert photo.exif == oriented(None).tobytes().removeprefix(b"Exif\0\0")
    assert ".heic" in image_io.EXTENSIONS
    # the profile is that of the file, not one that is always there
    assert image_io.load(encode(heif, Image.fromarray(scene))).icc is None


def test_all_orientations_give_the_same_photo(heif: Any, scene: np.ndarray) -> None:
    for orientation, store in STORED.items():
        image = Image.fromarray(np.ascontiguousarray(store(scene)))
        photo = image_io.load(encode(heif, image, exif=oriented(orientation).tobytes()))
        assert photo.size == (64, 96)
        assert np.abs(photo.rgb.astype(int) - scene).mean() < 1
        assert photo.exif is not None
        assert exif.clean(photo.exif) == exif.clean(oriented(None).tobytes().removeprefix(b"Exif\0\0"))


@pytest.mark.parametrize(("container", "block"), [(6, None), (None, 6), (6, 6), (6, 8)])
def test_the_container_turns_the_photo_once(
    heif: Any, scene: np.ndarray, container: int | None, block: int | None
) -> None:
    image = Image.fromarray(np.ascontiguousarray(STORED[container or 1](scene)))
    photo = image_io.load(in_container(lambda exif: encode(heif, image, exif=exif), container, block))
    assert photo.size == (64, 96)
    assert np.abs(photo.rgb.astype(int) - scene).mean() < 1


def test_alpha_is_kept_apart_from_straight_colour(heif: Any, scene: np.ndarray) -> None:
    alpha = np.tile(np.arange(96, dtype=np.uint8) * 2, (64, 1))
    photo = image_io.load(encode(heif, Image.fromarray(np.dstack([scene, alpha])), quality=-1))
    assert photo.alpha is not None
    assert np.abs(photo.alpha.astype(int) - alpha).max() <= 1
    assert np.abs(photo.rgb.astype(int) - scene).mean() < 1
    mask = image_io.load_mask(encode(heif, Image.fromarray(np.dstack([scene, alpha])), quality=-1))
    assert np.abs(mask * 255 - alpha).max() <= 1


def test_ten_bits_become_eight(heif: Any) -> None:
    levels = np.tile(np.linspace(0, 65535, 128).astype(np.uint16)[None, :, None], (64, 1, 3))
    file = io.BytesIO()
    heif.encode("RGB;16", (128, 64), levels.tobytes(), file, quality=-1, chroma=444)
    assert heif.open_heif(file.getvalue(), convert_hdr_to_8bit=False).info["bit_depth"] == 10
    photo = image_io.load(file.getvalue())
    assert np.abs(photo.rgb - levels / 257).max() <= 1.5


def test_of_several_pictures_the_main_one_is_used(heif: Any) -> None:
    images = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    photo = image_io.load(encode(heif, images[0], append_images=list(heif.from_pillow(images[1])), primary_index=1))
    assert (photo.rgb[..., 2] > 200).all()
    assert photo.notes == ("several pictures: the main one used",)


def test_a_truncated_one_is_refused(heif: Any) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(heif, Image.fromarray(noise))
    for content in (data[: len(data) * 2 // 3], HEAD):
        with pytest.raises(ImageError, match="truncated or damaged HEIF image"):
            image_io.load(content)


@pytest.mark.usefixtures("heif")
def test_nothing_is_registered_and_only_heic_loads_the_extra(photo: Path) -> None:
    script = (
        "import sys, nss\n"
        "from nss.photos import image_io\n"
        "image_io.load(sys.argv[1])\n"
        "assert 'pillow_heif' not in sys.modules\n"
        f"try: image_io.load({HEAD!r})\n"
        "except nss.ImageError: pass\n"
        "from PIL import Image\n"
        "assert 'pillow_heif' in sys.modules\n"
        "assert 'HEIF' not in Image.OPEN\n"
    )
    subprocess.run([sys.executable, "-c", script, photo], check=True)


def test_neither_exif_nor_xmp_turns_what_the_container_has_turned() -> None:
    image = Image.new("RGB", (8, 4))
    image.info["exif"] = oriented(6).tobytes()
    assert exif.orientation(image) == 6
    image = image.copy()
    image.format = "HEIF"
    assert exif.orientation(image) == 1
