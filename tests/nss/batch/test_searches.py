"""What directories and patterns stand for in the work list."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from nss.batch import inputs
from nss.batch.planning import make_directories, plan
from nss.errors import ImageError, UsageError
from tests.nss.batch.job_lists import errors, pairs, sources
from tests.nss.conftest import make


@pytest.mark.usefixtures("folder")
def test_directories_are_searched_in_order_without_outputs_and_hidden_files() -> None:
    photos = ["a.png", "b.JPG", "c.cutouts.png", "mask.png"]
    outputs = ["a.cutout.png", "a.cutout.webp", "a.cutout-2.png", "b.MASK.tiff", "b.mask-12.png", "b.preview.png"]
    make(*(f"in/{n}" for n in [*photos, *outputs, ".hidden.png", "._a.png", "notes.txt", "sub/d.png"]))
    assert sources(plan(["in"], None, exists="overwrite")) == [f"in/{n}" for n in photos]


@pytest.mark.usefixtures("folder")
def test_the_tree_is_kept_below_the_output_directory() -> None:
    make("in/b.png", "in/sub/a.png", "in/sub/deep er/c.png", "in/.git/x.png", "in/empty/notes.txt", "other/b2.png")
    Path("out/sub").mkdir(parents=True)
    jobs = plan(["in", "other/b2.png"], "out", recursive=True)
    assert pairs(jobs) == [
        ("in/b.png", "out/b.cutout.png"),
        ("in/sub/a.png", "out/sub/a.cutout.png"),
        ("in/sub/deep er/c.png", "out/sub/deep er/c.cutout.png"),
        ("other/b2.png", "out/b2.cutout.png"),
    ]
    assert [job.new_directory for job in jobs] == [None, None, Path("out/sub/deep er"), None]
    assert not Path("out/sub/deep er").exists()
    for job in jobs:
        make_directories(job)
        make_directories(job)  # another image's may have come first
    assert Path("out/sub/deep er").is_dir()
    assert pairs(plan(["in"], None, recursive=True))[1] == ("in/sub/a.png", "in/sub/a.cutout.png")


@pytest.mark.usefixtures("folder")
def test_a_directory_that_cannot_be_made_is_an_error_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a.png", "in/sub/b.png", "in/tree/c.png", "out/sub")
    (first, second, third) = plan(["in"], "out", recursive=True)
    assert first.error is third.error is None
    assert str(second.error) == f"{Path('out/sub/b.cutout.png')}: {Path('out/sub')} is no directory"
    make("out/tree")  # meanwhile
    with pytest.raises(ImageError, match="cannot be created"):
        make_directories(third)
    Path("out/tree").unlink()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "out" and access(path, mode))
    message = f"{Path('out/tree/c.cutout.png')}: the directory out is not writable"
    assert message in errors(plan(["in"], "out", recursive=True))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("recursive", [False, True])
def test_a_directory_without_images_says_so(recursive: bool) -> None:
    make("in/notes.txt", "in/a.cutout.png", "in/sub/b.png")
    if recursive:
        Path("in/sub/b.png").unlink()
    (message,) = errors(plan(["in"], None, recursive=recursive))
    assert message.startswith("in: no images in this directory")
    assert ("--recursive" in message) != recursive


@pytest.mark.usefixtures("folder")
def test_own_outputs_and_the_output_directory_are_no_inputs_of_the_next_run() -> None:
    make("in/a.png", "in/sub/b.png", "in/out/a.cutout.png", "in/out/sub/b.cutout.png", "in/out/kept.png")
    assert sources(plan(["in"], "in/out", recursive=True, exists="skip")) == ["in/a.png", "in/sub/b.png"]
    # without it, or named itself, only the outputs are passed over
    assert sources(plan(["in"], None, recursive=True)) == ["in/a.png", "in/out/kept.png", "in/sub/b.png"]
    assert sources(plan(["in/out"], "in/out", recursive=True)) == ["in/out/kept.png"]
    assert sources(plan(["in"], "in", recursive=True, exists="overwrite"))[0] == "in/a.png"


@pytest.mark.usefixtures("folder")
def test_no_directory_is_searched_twice() -> None:
    make("in/sub/a.png", "in/z.png")
    assert sources(plan(["in/sub", "in", "in/../in", "in/sub"], None, recursive=True)) == ["in/sub/a.png", "in/z.png"]
    Path("in/z.png").unlink()
    assert errors(plan(["in/sub", "in"], None, recursive=True)) == []


@pytest.mark.usefixtures("folder")
def test_links_to_directories_are_followed_only_where_they_are_named() -> None:
    make("in/a.png", "in/sub/b.png", "outside/c.png")
    Path("in/loop").symlink_to(".")
    Path("in/sub/up").symlink_to("../..")
    Path("in/away").symlink_to("../outside")
    Path("in/link.png").symlink_to("../outside/c.png")
    Path("named").symlink_to("in")
    names = ["a.png", "link.png", "sub/b.png"]
    assert sources(plan(["in"], None, recursive=True)) == [f"in/{n}" for n in names]
    assert sources(plan(["named"], None, recursive=True)) == [f"named/{n}" for n in names]
    assert sources(plan(["in/away"], None)) == ["in/away/c.png"]
    # with patterns it is the same
    assert sources(plan(["in/**/*.png"], None)) == ["in/a.png", "in/link.png", "in/sub/b.png"]


@pytest.mark.usefixtures("folder")
def test_directory_loops_that_are_no_links_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As bind mounts and junctions make them."""
    make("in/a.png", "in/sub/b.png")
    Path("in/sub/loop").symlink_to("..")
    monkeypatch.setattr(
        inputs,
        "_sub_directories",
        lambda directory, entries: [directory / e.name for e in reversed(entries) if e.is_dir()],
    )
    assert sources(plan(["in"], None, recursive=True)) == ["in/a.png", "in/sub/b.png"]
    assert sources(plan(["in/**/*.png"], None)) == ["in/a.png", "in/sub/b.png"]


@pytest.mark.usefixtures("folder")
def test_links_that_lead_nowhere() -> None:
    make("in/a.png")
    Path("in/b.png").symlink_to("b.png")
    Path("in/c.png").symlink_to("nowhere.png")
    assert sources(plan(["in"], None, recursive=True)) == ["in/a.png"]
    assert sources(plan(["in/b.png"], None)) == ["in/b.png"]  # reading it will say what is wrong


@pytest.mark.usefixtures("folder")
def test_a_sub_directory_that_cannot_be_read_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a.png", "in/locked/b.png", "in/z/c.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    jobs = plan(["in"], None, recursive=True)
    assert errors(jobs) == [f"{Path('in/locked')}: cannot be read: Permission denied"]
    assert sources(jobs) == ["in/a.png", "in/z/c.png"]
    assert errors(plan(["in/locked"], None)) == [f"{Path('in/locked')}: cannot be read: Permission denied"]


@pytest.mark.usefixtures("folder")
def test_a_tree_deeper_than_pythons_stack() -> None:
    photo = Path(*["d"] * 200) / "a.png"
    make(str(photo))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        plans = [plan([name], None, recursive=True) for name in ("d", "d/**/*.png")]
    finally:
        sys.setrecursionlimit(limit)
    assert [job.source for (job,) in plans] == [photo, photo]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("?.PNG", []),
        ("[ac].*", ["a.png", "c.jpg"]),
        ("*", ["a.png", "b.png", "c.jpg", "in/d.png"]),  # a directory counts as named
        ("in/*", ["in/d.png", "in/sub/e.png"]),
        ("*/*.png", ["in/d.png"]),
        ("**/*.png", ["a.png", "b.png", "in/d.png", "in/sub/e.png", "in/sub/x[1]/f.png"]),
        ("**", ["a.png", "b.png", "c.jpg", "in/d.png", "in/sub/e.png", "in/sub/x[1]/f.png"]),
        ("in/**/e.*", ["in/sub/e.png"]),
        ("**/sub/**/f.png", ["in/sub/x[1]/f.png"]),
        ("in/sub/x[1]/*.png", ["in/sub/x[1]/f.png"]),
        (".h*.png", [".hidden.png"]),
        ("*.bin", ["raw.bin"]),  # the extension is asked for
    ],
)
def test_patterns(pattern: str, paths: list[str]) -> None:
    names = ["a.png", "b.png", "c.jpg", "raw.bin", "notes.txt", "a.cutout.png", ".hidden.png"]
    make(
        *names,
        "in/d.png",
        "in/d.mask.png",
        "in/sub/e.png",
        "in/.secret/g.png",
        "in/sub/x[1]/f.png",
        "in/read.me",
        "in/sub/none/read.me",
    )
    jobs = plan([pattern], None, exists="overwrite")
    assert sources(jobs) == paths
    assert errors(jobs) == ([] if paths else [f"{pattern}: matches no file"])
    absolute = plan([str(Path.cwd() / pattern)], None, exists="overwrite")
    assert sources(absolute) == [(Path.cwd() / n).as_posix() for n in paths]


@pytest.mark.usefixtures("folder")
def test_a_pattern_without_a_match_fails_alone() -> None:
    make("a.png", "b.cutout.png")
    jobs = plan(["*.webp", "a.png", "b*.png", "no/**/*.png"], None)
    assert errors(jobs) == [
        "*.webp: matches no file",
        "b*.png: matches no image, only earlier outputs or other files",
        "no/**/*.png: matches no file",
    ]
    assert sources(jobs) == ["a.png"]


@pytest.mark.usefixtures("folder")
def test_a_pattern_with_one_match_is_one_image() -> None:
    make("a.png", "b.jpg")
    assert pairs(plan(["*.png"], "x.png")) == [("a.png", "x.png")]
    assert pairs(plan(["*.png"], "-")) == [("a.png", "<standard output>")]
    with pytest.raises(UsageError, match="several images need a directory"):
        plan(["*"], "x.png")
