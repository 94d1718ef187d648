"""What outputs are called: shortened where a name is too long, with the extension where the stem is not enough."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nss.batch import output_names
from nss.batch.output_names import LONGEST, OutputName, fit, shorten
from nss.batch.planning import Job, plan
from nss.batch.sidecars import path_for
from nss.batch.stages import mask_for
from nss.errors import UsageError
from tests.nss.conftest import make

Listing = Callable[[Path], list[str]]


pytestmark = pytest.mark.usefixtures("folder")


def pairs(jobs: list[Job]) -> dict[str, str]:
    assert [job for job in jobs if job.error or job.skipped] == []
    return {Path(job.name).as_posix(): Path(job.target_name).as_posix() for job in jobs}


@pytest.mark.parametrize("character", ["n", "é", "写", "📷"])
def test_a_name_at_the_limit_is_shortened_and_can_be_made(character: str) -> None:
    photo = character * ((LONGEST - 4) // len(character.encode())) + ".png"
    make(photo)
    for suffix, exists, sidecar in (
        (".cutout.png", "fail", False),
        (".mask.tiff", "fail", True),
        (".cutout.webp", "rename", True),
    ):
        for _ in range(2):  # with "rename" the second has a number
            (job,) = plan([photo], None, suffix=suffix, exists=exists, sidecar=sidecar)  # type: ignore[arg-type]
            assert job.error is None
            assert job.target is not None
            name = job.target.name
            assert job.notes(job.target) == (
                f"its name and {suffix} are longer than the file system takes: shortened to {name}",
            )
            make(name)
            if sidecar:
                path_for(job.target).write_bytes(b"record")
            assert name.startswith(character * 40)
            assert "\ufffd" not in name
            if exists != "rename":
                job.target.unlink()
                path_for(job.target).unlink(missing_ok=True)


def test_a_name_that_fits_is_kept_to_the_byte() -> None:
    ending = ".cutout.png"
    for length, fits in ((LONGEST - len(ending), True), (LONGEST - len(ending) + 1, False)):
        photo = "n" * length + ".png" if length + 4 <= LONGEST else "n" * length
        make(photo)
        (job,) = plan([photo], None)
        assert job.target is not None
        assert (job.target.name == "n" * length + ending) == fits
        assert (job.notes(job.target) == ()) == fits
    (job,) = plan(["n" * (LONGEST - len(ending)) + ".png"], None, sidecar=True)
    assert job.target is not None
    assert len(path_for(job.target).name) <= LONGEST
    # a number makes it too long
    make("n" * (LONGEST - len(ending)) + ending)
    (job,) = plan(["n" * (LONGEST - len(ending)) + ".png"], None, exists="rename")
    assert job.target is not None
    assert job.target.name.endswith(".cutout-2.png")
    assert job.notes(job.target)


def test_long_names_that_differ_at_their_end_stay_apart_and_the_same_in_every_run() -> None:
    names = ["n" * 249 + end + ".png" for end in "ab"]
    make(*names)
    targets = pairs(plan(names, None))
    assert len(set(targets.values())) == 2
    assert pairs(plan(names[1:], None)) == {names[1]: targets[names[1]]}
    make(*targets.values())
    assert all(job.skipped for job in plan(["."], None, exists="skip"))
    # by which an output is known to be one
    with pytest.raises(UsageError, match="is an earlier cut-out of"):
        plan([names[0], targets[names[0]]], None)


def test_a_limit_of_the_file_system_that_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "pathconf"):
        pytest.skip("this system tells no limit")
    monkeypatch.setattr(os, "pathconf", lambda path, _: 143 if Path(path).name == "out" else 1530)
    Path("out").mkdir()
    make("n" * 140 + ".png", "n" * 244 + ".png")
    (job, other) = plan(["."], "out")
    assert job.target is not None
    assert other.target is not None
    assert max(len(target.name) for target in (job.target, other.target)) <= 143
    assert output_names.name_limit(Path("out/new")) == LONGEST  # one that says more than any takes


def test_an_output_that_was_asked_for_keeps_its_name() -> None:
    make("a.png")
    (job,) = plan(["a.png"], "n" * 252 + ".png")
    assert "File name too long" in str(job.error)


def test_a_mask_of_a_long_name_is_found() -> None:
    photo = Path("n" * 250 + ".png")
    Path("masks").mkdir()
    mask = Path("masks") / fit(photo.stem, ".mask.png", LONGEST)
    assert shorten(photo.stem, LONGEST) in mask.name
    make(str(mask))
    assert mask_for(Job(photo, None), Path("masks")) == mask


def test_numbers_come_before_the_extension() -> None:
    paths = [OutputName(Path(), "a", ending).path(3).name for ending in (".cutout.png", ".png", "")]
    assert paths == ["a.cutout-3.png", "a-3.png", "a-3"]


def test_photos_of_one_stem_keep_their_extension_and_the_others_do_not() -> None:
    make("in/IMG_1.heic", "in/IMG_1.jpg", "in/IMG_2.jpg", "in/IMG_3.PNG", "in/IMG_3.jpg")
    Path("out").mkdir()
    for output, folder in ((None, "in"), ("out", "out")):
        notices: list[str] = []
        assert pairs(plan(["in"], output, notify=notices.append)) == {
            "in/IMG_1.heic": f"{folder}/IMG_1.heic.cutout.png",
            "in/IMG_1.jpg": f"{folder}/IMG_1.jpg.cutout.png",
            "in/IMG_2.jpg": f"{folder}/IMG_2.cutout.png",
            "in/IMG_3.PNG": f"{folder}/IMG_3.PNG.cutout.png",
            "in/IMG_3.jpg": f"{folder}/IMG_3.jpg.cutout.png",
        }
        example = Path(folder) / "IMG_1.heic.cutout.png"
        assert notices == [f"4 photos have the stem of another one, and keep their extension: {example}"]
    # what came out is no input of the next run
    make("in/IMG_1.heic.cutout.png")
    assert "in/IMG_1.heic.cutout.png" not in pairs(plan(["in"], None, exists="overwrite"))
    with pytest.raises(UsageError, match="is an earlier cut-out of"):
        plan(["in/IMG_1.heic", "in/IMG_1.heic.cutout.png"], None)
    # numbers are numbers, and what is not there shares nothing
    assert pairs(plan(["in/IMG_3.PNG", "in/IMG_3.jpg"], "out", exists="rename")) == {
        "in/IMG_3.PNG": "out/IMG_3.cutout.png",
        "in/IMG_3.jpg": "out/IMG_3.cutout-2.png",
    }
    (job, missing) = plan(["in/IMG_2.jpg", "in/IMG_2.bin"], "out")
    assert job.target == Path("out/IMG_2.cutout.png")
    assert str(missing.error) == "in/IMG_2.bin: no such file"


def test_a_name_with_the_extension_may_be_taken_as_well() -> None:
    make("a.jpg", "a.png", "a.jpg.webp")
    assert pairs(plan(["."], None)) == {
        "a.jpg": "a.jpg.cutout.png",
        "a.png": "a.png.cutout.png",
        "a.jpg.webp": "a.jpg.webp.cutout.png",
    }


def test_photos_of_one_name_from_two_folders_are_refused_with_the_usual_name() -> None:
    make("in/a.png", "in2/a.png", "in/b.png", "in2/b.jpg")
    Path("out").mkdir()
    with pytest.raises(UsageError, match=r"would both be written to out.a\.cutout\.png; .* number the outputs"):
        plan(["in", "in2"], "out")
    assert len(plan(["in", "in2"], "out", exists="rename")) == 4
    # nor do photos whose outputs are links to one file share a stem
    for name in ("a", "b"):
        Path(f"out/{name}.cutout.png").symlink_to("one.png")
    with pytest.raises(UsageError, match="would both be written to"):
        plan(["in/a.png", "in/b.png"], "out", exists="overwrite")


def test_masks_of_photos_of_one_stem() -> None:
    make("masks/a.jpg.mask.png", "masks/a.mask.png", "masks/b.mask.png")
    names = [mask_for(Job(Path(name), None), Path("masks")).name for name in ("a.jpg", "a.png", "b.jpg")]
    assert names == ["a.jpg.mask.png", "a.mask.png", "b.mask.png"]
