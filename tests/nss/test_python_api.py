"""What a program imports, what it may hand in, and what one call does."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import typing
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import engine
import nss
from nss.errors import ImageError
from nss.photos import image_io
from tests.project import ROOT

pytestmark = pytest.mark.usefixtures("network")


def test_every_name_is_exported_and_loaded_late() -> None:
    for name in nss.__all__:
        assert getattr(nss, name) is not None
    assert set(nss._MODULES) <= set(nss.__all__) <= set(dir(nss))
    program = "import sys, nss; nss.remove; print({'numpy', 'PIL', 'typing', 'engine'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["remove", "apply_mask", "Remover.__init__", "Remover.remove"])
def test_type_hints_can_be_asked_for_and_name_what_is_exported(name: str) -> None:
    member: Any = nss
    for part in name.split("."):
        member = getattr(member, part)
    hints = typing.get_type_hints(member)
    exports = [getattr(nss, name) for name in nss.__all__]
    for parameter, hint in hints.items():
        for kind in typing.get_args(hint) or (hint,):
            own = getattr(kind, "__module__", "").startswith("nss")
            assert not own or kind in exports or kind is image_io.Photo, parameter


def test_what_the_signatures_take_is_the_same() -> None:
    """But for what only a Remover has: it outlives the call, and a mask needs no network."""
    call, constructor = nss.remove.__kwdefaults__, nss.Remover.__init__.__kwdefaults__
    assert {k: v for k, v in constructor.items() if k in call} == {k: v for k, v in call.items() if k in constructor}
    assert set(call) - set(constructor) == {"model", "refinement", "composition"}
    assert set(constructor) - set(call) == {"stretch", "quiet"}


class Unseekable(io.RawIOBase):
    """Reads like a connection: no place, no way back."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(memoryview(buffer)[:1000])


def zip_member(data: bytes) -> typing.IO[bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photo.png", data)
    return zipfile.ZipFile(buffer).open("photo.png")


def spooled_file(data: bytes) -> typing.IO[bytes]:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - whoever gets it reads it
    file.write(data)
    file.seek(0)
    return file  # type: ignore[return-value]


FORMS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "path": Path,
    "bytes": lambda p: p.read_bytes(),
    "bytearray": lambda p: bytearray(p.read_bytes()),
    "memoryview": lambda p: memoryview(p.read_bytes()),
    "BytesIO": lambda p: io.BytesIO(p.read_bytes()),
    "file": lambda p: p.open("rb"),
    "raw file": lambda p: p.open("rb", buffering=0),
    "unseekable": lambda p: Unseekable(p.read_bytes()),
    "archive": lambda p: zip_member(p.read_bytes()),
    "spooled": lambda p: spooled_file(p.read_bytes()),
    "PIL": Image.open,
    "array": lambda p: np.asarray(Image.open(p)),
    "float array": lambda p: np.asarray(Image.open(p)) / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_photo_gives_the_same_cut_out(form: str, photo: Path) -> None:
    expected = nss.remove(photo).rgba
    before = photo.read_bytes()
    source = FORMS[form](photo)
    copy = source.copy() if isinstance(source, np.ndarray) else None
    assert np.array_equal(nss.remove(source).rgba, expected)
    assert photo.read_bytes() == before
    if copy is not None:
        assert np.array_equal(source, copy)
    if hasattr(source, "closed"):
        assert not source.closed
    with nss.Remover() as remover:
        assert np.array_equal(remover.remove(FORMS[form](photo)).rgba, expected)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_mask_gives_the_same_cut_out(form: str, photo: Path, tmp_path: Path) -> None:
    mask = np.arange(40 * 60).reshape(40, 60) % 256
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "mask.png")
    cutout = nss.apply_mask(FORMS[form](photo), FORMS[form](tmp_path / "mask.png"))
    assert np.array_equal(cutout.rgba[..., 3], mask)


def test_a_file_is_read_from_where_it_stands(photo: Path) -> None:
    file = io.BytesIO(b"header" + photo.read_bytes())
    file.seek(6)
    assert image_io.load(file).size == (40, 60)
    with pytest.raises(ImageError, match=r"<file object>: is at its end; take it back to the beginning with seek\(0\)"):
        image_io.load(file)


def test_the_photo_behind_a_file_object_is_never_overwritten(photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    with photo.open("rb") as file:
        cutout = nss.remove(file)
    assert cutout.path == photo
    with pytest.raises(nss.UsageError, match="never overwritten"):
        cutout.save(photo, overwrite=True)
    assert photo.read_bytes() == before
    (tmp_path / "other.png").write_bytes(b"")
    file_object = io.BytesIO(before)
    file_object.name = "other.png"  # type: ignore[attr-defined]
    assert nss.remove(file_object).path is None


class Broken:
    def __init__(self, result: object) -> None:
        self._result = result

    def read(self) -> object:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def awaited() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.open(encoding="latin-1"), "photo.png: is open for text; open it with 'rb'"),
        (lambda _: io.StringIO("x"), "<file object>: is open for text; open it with 'rb'"),
        (lambda _: Broken("x"), r"<file object>: its read\(\) gives text; give a binary file object"),
        (lambda _: Broken(None), r"its read\(\) gives NoneType, not bytes; give a binary file object"),
        (lambda _: Broken(awaited()), r"its read\(\) is asynchronous; give the bytes"),
        (lambda _: Broken(zipfile.BadZipFile("Bad CRC-32\nfor file")), "cannot be read: Bad CRC-32 for file"),
        (lambda _: Broken(OSError(5, "Input/output error")), "cannot be read: Input/output error"),
        (lambda _: Broken(b"nothing"), "<file object>: is not an image"),
        (lambda _: Broken(b""), r"<file object>: the file is empty \(0 bytes\)"),
        (
            lambda _: {"a": 1},
            "cannot read an image from dict: give a path, bytes, a binary file object, a PIL image or",
        ),
    ],
)
def test_file_objects_that_are_none_are_refused_in_words(
    make: Callable[[Path], Any], message: str, photo: Path
) -> None:
    with pytest.raises(ImageError, match=message) as failure:
        nss.remove(make(photo))
    assert "\n" not in str(failure.value)


def test_a_closed_file_is_refused_in_words(photo: Path) -> None:
    with photo.open("rb") as file:
        pass
    with pytest.raises(ImageError, match=r"cannot be read: .*closed file"):
        nss.remove(file)


@pytest.mark.parametrize("call", ["function", "method", "mask"])
def test_one_call_does_everything(call: str, photo: Path, rgb: np.ndarray, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "refinement": nss.Refinement(expand=2),
        "composition": nss.Composition(background="#102030"),
    }
    plain = nss.remove(photo)
    if call == "function":
        cutout = nss.remove(photo, **options)
    elif call == "method":
        with nss.Remover() as remover:
            cutout = remover.remove(photo, **options)
    else:
        cutout = nss.apply_mask(photo, plain.mask, **options)
    step_by_step = plain.refined(options["refinement"])
    assert np.array_equal(cutout.mask, step_by_step.mask)
    assert not np.array_equal(cutout.mask, plain.mask)
    expected = step_by_step.composed(options["composition"]).picture.pixels
    assert expected.shape == (40, 60, 3)
    assert np.array_equal(np.asarray(cutout), expected)
    assert np.array_equal(np.asarray(cutout.image), expected)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(cutout.to_bytes()))), expected)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(cutout._repr_png_()))), expected)
    assert np.array_equal(np.asarray(Image.open(cutout.save(tmp_path / "a.png"))), expected)
    file = io.BytesIO()
    cutout.save(file)
    assert file.getvalue() == cutout.to_bytes()
    # what one asks for wins
    bare = Image.open(io.BytesIO(cutout.to_bytes(composition=nss.Composition())))
    assert bare.mode == "RGBA"
    assert np.array_equal(np.asarray(bare), cutout.rgba)
    assert np.array_equal(cutout.rgba[..., :3], rgb)


def test_a_background_that_the_cut_out_remembers_is_not_overwritten(
    photo: Path, tmp_path: Path, rgb: np.ndarray
) -> None:
    behind = tmp_path / "behind.png"
    Image.fromarray(rgb[::-1]).save(behind)
    cutout = nss.remove(photo, composition=nss.Composition(background=str(behind)))
    with pytest.raises(nss.UsageError, match="never overwritten"):
        cutout.save(behind, overwrite=True)


def test_a_mask_alone_is_a_picture_an_array_and_shown(photo: Path) -> None:
    for bits, kind in ((8, np.uint8), (16, np.uint16)):
        cutout = nss.remove(photo, composition=nss.Composition(mask_only=True, mask_bits=bits))
        array = np.asarray(cutout)
        assert (array.dtype, array.shape) == (kind, (40, 60))
        assert np.array_equal(np.asarray(cutout.image), array)
        assert Image.open(io.BytesIO(cutout._repr_png_())).mode == "L"


def cutout_by_mask(photo: Path, **options: Any) -> nss.Cutout:
    return nss.apply_mask(photo, np.ones((40, 60)), **options)


def test_a_cut_out_is_one_line_in_a_console(photo: Path) -> None:
    cutout = nss.remove(photo)
    assert repr(cutout) == f"<Cutout 60 x 40, u2netp on {cutout.info.backend}, coverage {cutout.coverage:.3f}>"
    assert repr(cutout_by_mask(photo)) == "<Cutout 60 x 40, with a given mask, coverage 1.000>"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda photo: nss.remove(photo, model=5), "'model' is a name or a path, not int"),
        (lambda photo: nss.remove(photo, model=None), "'model' is a name or a path, not NoneType"),
        (lambda photo: nss.remove(photo, notify=3), "'notify' is a function that takes a line, not int"),
        (lambda photo: nss.remove(photo, max_pixels="many"), "'max_pixels' \"many\": a number is wanted"),
        (
            lambda photo: cutout_by_mask(photo, refinement={"feather": 1}),
            "'refinement' is an nss.Refinement, not",
        ),
        (
            lambda photo: cutout_by_mask(photo, composition="white"),
            "'composition' is an nss.Composition, not str",
        ),
        (lambda _: nss.Refinement(feather="much"), "'feather' \"much\": a number is wanted"),
        (lambda _: nss.Refinement(black=None), "'black' null: a number is wanted"),
        (lambda _: nss.Composition(decontaminate="yes"), "'decontaminate' \"yes\": a number is wanted"),
        (lambda _: nss.Composition(background=(1, 2, 3)), "'background' [1, 2, 3]: a CSS colour, the path"),
    ],
)
def test_an_argument_of_another_type_is_named(photo: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(nss.UsageError) as failure:
        call(photo)
    assert str(failure.value).startswith(message)


def test_engine_and_nss_have_one_version() -> None:
    assert nss.__version__ == engine.__version__
