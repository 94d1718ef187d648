"""Which format a file gets, and what is refused before anything is encoded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image, TiffImagePlugin, features

from nss.errors import UsageError
from nss.files import export, formats
from nss.files.formats import FORMATS, Encoding, choose
from nss.files.picture import Picture
from tests.nss.pictures import rgba


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.png", "png"), ("a.b.WebP", "webp"), ("a.avif", "avif"), ("a.tif", "tiff"), ("a.TIFF", "tiff")),
        *(("a.jpg", "jpeg"), ("a.jpeg", "jpeg"), ("a.jpe", "jpeg"), ("a.jfif", "jpeg")),
    ],
)
def test_the_extension_names_the_format(name: str, expected: str) -> None:
    assert choose(Path(name)) == Encoding(expected)


def test_an_option_names_it_where_the_extension_does_not() -> None:
    assert choose(Path("a"), "webp", 50, 3) == Encoding("webp", 50, 3)
    assert choose(Path("photo.v2"), "JPG").format == "jpeg"
    assert choose(Path("a.tif"), "TIFF").format == "tiff"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.webp", "png"), "a.webp: its extension is that of webp, and the format asked for is png"),
        (("a",), "a: no extension names no format; use .png, .webp, .avif, .jpg, .tif, or 'encoding'"),
        (("a.xyz",), ".xyz names no format"),
        (("a.png", "gif"), "'format' \"gif\": one of png, webp, avif, jpeg, tiff is possible"),
        (("a.png", ""), "'format' \"\": one of"),
        (("a.png", None, 90), "'quality' 90: png is lossless"),
        (("a.tif", None, 90), "'quality' 90: tiff is lossless"),
        (("a.webp", None, 0), "'quality' 0: 1 to 100 is possible"),
        (("a.avif", None, 101), "'quality' 101: 1 to 100 is possible"),
        (("a.jpg", None, None, 10), "'effort' 10: 0 to 9 is possible"),
        (("a.jpg", None, None, -1), "'effort' -1: 0 to 9 is possible"),
    ],
)
def test_what_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError) as failure:
        choose(Path(arguments[0]), *arguments[1:])
    assert message in str(failure.value)


def test_sixteen_bits() -> None:
    for name in ("png", "tiff"):
        formats.check_bits(Encoding(name), 16)
    for name in ("webp", "avif", "jpeg"):
        formats.check_bits(Encoding(name), 8)
        with pytest.raises(UsageError, match=f"{name} holds 8 bits; 16 need png and tiff"):
            formats.check_bits(Encoding(name), 16)


def test_a_build_without_the_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(features, "check", lambda _: False)
        for name in ("a.webp", "a.avif"):
            with pytest.raises(UsageError, match="this build of Pillow cannot write"):
                choose(Path(name))
        choose(Path("a.png"))
    monkeypatch.setattr(AvifImagePlugin, "get_codec_version", lambda _: None)
    with pytest.raises(UsageError, match="cannot write avif"):
        choose(Path("a.avif"))
    choose(Path("a.webp"))


def test_what_lossless_means() -> None:
    assert [name for name in FORMATS if Encoding(name).lossless] == ["png", "webp", "tiff"]
    assert not Encoding("webp", 100).lossless
    assert {name: Encoding(name).options().get("quality") for name in ("avif", "jpeg")} == {"avif": 90, "jpeg": 92}
    assert [name for name in FORMATS if not Encoding(name).has_alpha] == ["jpeg"]


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_usual_extension_gives_the_format_back(name: str) -> None:
    assert choose(Path("a" + formats.suffix_of(name))) == Encoding(name)
    assert formats.suffix_of("JPG") == ".jpg"
    assert formats.suffix_of("unknown") == ".png"


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_effort_can_be_written_and_the_last_is_smaller_than_the_first(name: str) -> None:
    # AVIF's speeds differ in more than size: on noise the slowest files may be larger
    picture = Picture(rgba(48, 64)[..., :3])
    sizes = [len(export.encode(picture, Encoding(name, None, effort))) for effort in (0, 2, 4, 5, 7, 9)]
    assert sizes[-1] < sizes[0] or name == "avif", sizes
    assert len(set(sizes)) >= 2


@pytest.mark.parametrize(("effort", "compression"), [(None, 5), (1, 5), (4, 5), (5, 8), (9, 8), (0, 1)])
def test_tiff_is_compressed_by_differences(effort: int | None, compression: int) -> None:
    with Image.open(io.BytesIO(export.encode(Picture(rgba()), Encoding("tiff", None, effort)))) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        assert image.tag_v2[259] == compression  # none, LZW, deflate
        assert image.tag_v2.get(317, 1) == (2 if effort != 0 else 1)
        assert image.tag_v2[338] == (2,)  # unassociated alpha: straight


def test_lossy_colour_is_not_subsampled_where_the_format_lets_it_be() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 255, 255
    for encoding in (Encoding("jpeg"), Encoding("jpeg", 50), Encoding("avif")):
        result = np.asarray(Image.open(io.BytesIO(export.encode(Picture(stripes), encoding)))).astype(int)
        assert result[:, ::2, 0].mean() - result[:, 1::2, 0].mean() > 200, encoding  # subsampled there is no difference
