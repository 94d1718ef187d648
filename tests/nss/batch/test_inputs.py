"""Which files a search takes for images, what it says of the others, and images of any name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.batch.inputs import IgnoredFiles
from nss.batch.planning import Job, plan
from nss.errors import ImageError
from nss.files import formats
from nss.photos import image_file, image_io
from tests.nss.conftest import Outcome, make
from tests.nss.images import encode

Command = Callable[..., Outcome]


def sources(jobs: list[Job]) -> list[str]:
    return [Path(job.name).as_posix() for job in jobs if job.error is None]


@pytest.fixture
def lines() -> list[str]:
    """What a plan says."""
    return []


KIN = (
    *("jfif", "jif", "jfi", "jpe", "pjpeg", "pjp", "JFIF"),
    *("j2k", "jpx", "jp2", "jpf", "jpc", "avifs", "heifs", "heics", "apng", "dib", "Dib", "webp", "tif"),
)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("extension", KIN)
def test_the_kin_of_an_extension_is_searched_for(extension: str, lines: list[str]) -> None:
    name = f"in/a.{extension}"
    make(name, "in/notes.txt")
    assert sources(plan(["in"], None)) == [name]
    assert sources(plan(["in/*"], None)) == [name]
    assert sources(plan(["in/*"], None, notify=lines.append)) == [name]
    assert lines == []  # a pattern has said itself what it means


def test_every_format_that_is_written_is_searched_for() -> None:
    assert formats.extensions() <= image_file.EXTENSIONS


@pytest.mark.usefixtures("folder")
def test_a_search_says_how_many_files_it_passed_over_and_why(lines: list[str]) -> None:
    make("in/a.png", "in/a.txt", "in/b.mp4", "in/IMG_0001", "in/a.cutout.png", "in/a.mask.webp", "in/a.cutout.png.json")
    make("in/.hidden.jpg", "in/.DS_Store", "in/sub/c.txt", "in/.git/d.png")
    Path("in/gone.png").symlink_to("nowhere.png")
    assert sources(plan(["in"], None, exists="overwrite", notify=lines.append)) == ["in/a.png"]
    expected = (
        f"in{os.sep}: passed over 8 files: 2 of no known image extension, 1 without extension, "
        "3 outputs of earlier runs, 1 hidden image, 1 no regular file"
    )
    assert lines == [expected]
    lines.clear()
    plan(["in"], None, recursive=True, exists="overwrite", notify=lines.append)
    assert lines[0].startswith(f"in{os.sep}: passed over 9 files: 3 of no known image extension, ")


@pytest.mark.usefixtures("folder")
def test_with_verbose_it_says_which(lines: list[str]) -> None:
    make("in/a.png", "in/IMG_0001", "in/a.cutout.png", "in/sub/notes.txt", "fine/b.png")
    plan(["in/", "fine"], None, recursive=True, exists="overwrite", verbose=True, notify=lines.append)
    assert lines == [
        f"in{os.sep}: passed over 3 files: 1 of no known image extension, 1 without extension, "
        "1 output of an earlier run",
        f"{Path('in/IMG_0001')}: passed over: without extension",
        f"{Path('in/a.cutout.png')}: passed over: an output of an earlier run",
        f"{Path('in/sub/notes.txt')}: passed over: of no known image extension",
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_each_reason_has_words_for_one_and_for_many(count: int) -> None:
    ignored = IgnoredFiles(Path("x"))
    for _ in range(count):
        ignored.add("content", Path("x/a"))
    words = {1: "file: 1 no image by its first bytes", 2: "files: 2 no images by their first bytes"}
    assert ignored.summary() == f"passed over {count} {words[count]}"


@pytest.mark.usefixtures("folder")
def test_a_directory_without_images_says_it_in_its_error(lines: list[str]) -> None:
    make("in/notes.txt")
    (job,) = plan(["in"], None, verbose=True, notify=lines.append)
    assert str(job.error).endswith("with --recursive); passed over 1 file: 1 of no known image extension")
    assert lines == [f"{Path('in/notes.txt')}: passed over: of no known image extension"]


@pytest.mark.usefixtures("folder")
def test_all_files_are_tried_by_their_first_bytes(lines: list[str]) -> None:
    image = Image.new("RGB", (8, 6), "teal")
    make("in/a.png", "in/notes.txt", "in/README", "in/BM notes", "in/P1 plan", "in/a.cutout.png", "in/.hidden")
    Path("in/BM notes").write_text("BM is what a bitmap begins with, and this text, which is longer than a header, too")
    Path("in/P1 plan").write_text("P1: everything else\nP2: the rest")
    Path("in/empty").touch()
    Path("in/b.bin").write_bytes(encode(image, "WEBP"))
    for format_ in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "AVIF"):
        Path(f"in/IMG_{format_}").write_bytes(encode(image, format_))
    os.mkfifo("in/pipe")
    paths = sources(plan(["in"], None, all_files=True, exists="overwrite", notify=lines.append))
    images = [f"in/IMG_{f}" for f in ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF")]
    assert paths == [*images, "in/a.png", "in/b.bin"]
    assert lines == [
        f"in{os.sep}: passed over 7 files: 6 no images by their first bytes, 1 output of an earlier run",
    ]
    assert sources(plan(["in/*"], None, all_files=True, exists="overwrite")) == paths
    assert sources(plan(["in/*"], None, exists="overwrite")) == ["in/a.png"]
    for name in images:
        assert (image_io.load(name).rgb[0, 0] != 0).any()


@pytest.mark.usefixtures("folder")
def test_only_the_first_bytes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a", "in/b.png")
    heads: list[bytes] = []
    monkeypatch.setattr(image_file, "has_signature", lambda head: heads.append(head) or False)
    Path("in/a").write_bytes(bytes(1000))
    plan(["in"], None, all_files=True)
    assert heads == [bytes(64)]


def test_a_dib_is_read_as_what_it_is(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.dib")
    assert (tmp_path / "a.dib").read_bytes()[:2] != b"BM"
    photo = image_io.load(tmp_path / "a.dib")
    assert np.array_equal(photo.rgb, rgb)
    assert photo.format == "DIB"
    with pytest.raises(ImageError, match="truncated or damaged DIB"):
        image_io.load((tmp_path / "a.dib").read_bytes()[:60])


def test_the_command_says_it_on_standard_error(command: Command, photo: Path) -> None:
    os.rename(photo, photo.with_name("photo.jfif"))  # noqa: PTH104
    photo.with_name("IMG_0001").write_bytes(photo.with_name("photo.jfif").read_bytes())
    outcome = command("remove", photo.parent, "--model", "u2netp", "--json")
    assert outcome.status == 0
    assert outcome.err == [f"nss-wgpu: {photo.parent}{os.sep}: passed over 1 file: 1 without extension"]
    assert len(outcome.out) == 1
    quiet = command("remove", photo.parent, "--model", "u2netp", "--quiet", "--overwrite")
    assert (quiet.status, quiet.out, quiet.err) == (0, [], [])
    both = command("remove", photo.parent, "--model", "u2netp", "--all-files", "--skip-existing", "--json")
    assert sorted(p.name for p in photo.parent.iterdir()) == [
        "IMG_0001",
        "IMG_0001.cutout.png",
        "photo.cutout.png",
        "photo.jfif",
    ]
    assert both.err == [
        f"nss-wgpu: {photo.parent}{os.sep}: passed over 1 file: 1 output of an earlier run",
        both.err[-1],
    ]


def test_verbose_says_which_files_and_what_ran(command: Command, photo: Path) -> None:
    photo.with_name("notes.txt").touch()
    outcome = command("remove", photo.parent, "--model", "u2netp", "-v")
    assert outcome.status == 0
    assert outcome.err[1] == f"nss-wgpu: {photo.with_name('notes.txt')}: passed over: of no known image extension"
    ran, coverage, times = outcome.err[2:]
    assert ran == f"nss-wgpu: {photo}: u2netp on auto, no device, f32: no reason"
    assert coverage.startswith(f"nss-wgpu: {photo}: the mask keeps ")
    assert [part.split()[0] for part in times.split(f"{photo}: ")[1].split(", ")][:2] == ["decode", "load_model"]
    assert command("remove", photo, "--verbose", "--quiet").err == [
        "nss-wgpu: --verbose and --quiet exclude each other"
    ]
