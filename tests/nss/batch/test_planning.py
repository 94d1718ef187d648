"""The work list: what the arguments stand for, which output each image gets, and what is refused before any work."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nss.batch import inputs, path_keys
from nss.batch.planning import Job, make_directories, plan
from nss.errors import ImageError, UsageError
from tests.nss.conftest import make

Listing = Callable[[Path], list[str]]


def pairs(jobs: list[Job]) -> list[tuple[str, str]]:
    """Source and target of jobs that are fit to be done."""
    assert [job for job in jobs if job.error or job.skipped] == []
    return [(job.name, Path(job.target_name).as_posix()) for job in jobs]


def sources(jobs: list[Job]) -> list[str]:
    return [Path(job.name).as_posix() for job in jobs if job.error is None]


def errors(jobs: list[Job]) -> list[str]:
    return [str(job.error) for job in jobs if job.error]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "name",
    [
        "two words.png",
        "naïve 写真 📷.png",
        "-leading.png",
        "new\nline.png",
        ".hidden.png",
        "photo[1].png",
        "a*b.png",
        "photo[1]",
    ],
)
def test_odd_names(name: str) -> None:
    make(name)
    assert pairs(plan([name], None)) == [(name, f"{Path(name).stem}.cutout.png")]


@pytest.mark.usefixtures("folder")
def test_directories_are_searched_in_order_without_outputs_and_hidden_files() -> None:
    kept = ["a.png", "b.JPG", "c.cutouts.png", "mask.png"]
    outputs = ["a.cutout.png", "a.cutout.webp", "a.cutout-2.png", "b.MASK.tiff", "b.mask-12.png", "b.preview.png"]
    make(*(f"in/{n}" for n in [*kept, *outputs, ".hidden.png", "._a.png", "notes.txt", "sub/d.png"]))
    assert sources(plan(["in"], None, exists="overwrite")) == [f"in/{n}" for n in kept]


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
    found = ["a.png", "link.png", "sub/b.png"]
    assert sources(plan(["in"], None, recursive=True)) == [f"in/{n}" for n in found]
    assert sources(plan(["named"], None, recursive=True)) == [f"named/{n}" for n in found]
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
        found = [plan([name], None, recursive=True) for name in ("d", "d/**/*.png")]
    finally:
        sys.setrecursionlimit(limit)
    assert [job.source for (job,) in found] == [photo, photo]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pattern", "found"),
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
def test_patterns(pattern: str, found: list[str]) -> None:
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
    assert sources(jobs) == found
    assert errors(jobs) == ([] if found else [f"{pattern}: matches no file"])
    absolute = plan([str(Path.cwd() / pattern)], None, exists="overwrite")
    assert sources(absolute) == [(Path.cwd() / n).as_posix() for n in found]


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


@pytest.mark.usefixtures("folder")
def test_standard_input_and_output() -> None:
    make("a.png", "./-", "in/b.png")
    Path("out").mkdir()
    (job,) = plan(["-"], None)
    assert job == Job(None, None)
    assert job.to_standard_output
    assert pairs(plan(["-"], "-")) == [("<standard input>", "<standard output>")]
    assert pairs(plan(["-"], "x.webp")) == [("<standard input>", "x.webp")]
    assert pairs(plan(["a.png", "-"], None)) == [("a.png", "a.cutout.png"), ("<standard input>", "<standard output>")]
    assert pairs(plan(["./-"], None, exists="rename")) == [("-", "-.cutout.png")]
    (missing,) = plan(["nowhere.png"], "-")
    assert errors([missing]) == ["nowhere.png: no such file"]
    assert not missing.to_standard_output


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("names", "output", "message"),
    [
        (["-", "a.png", "-"], None, "standard input (-) can be read only once"),
        (["a.png", "b.png"], "-", "standard output (-o -) takes a single image"),
        (["in"], "-", "standard output (-o -) takes a single image"),
        (["-"], "in", "standard input has no name to use in in; give -o a file name"),
        (["a.png", ""], None, "an input is an empty name"),
        (["a.png"], "", "-o is empty"),
        (["a.png", "in/a.png"], "out", "a.cutout.png; run them one at a time with -o, or number the outputs"),
        (["in", "in3"], "out", "would both be written to out"),
        (["a.png"], "a.png", "which is never overwritten"),
        (["a.png", "a.cutout.png"], None, "a.cutout.png: is an earlier cut-out of a.png; leave it out"),
        (["a.png", "a.mask-2.webp"], None, "a.mask-2.webp: is an earlier cut-out of a.png; leave it out"),
    ],
)
@pytest.mark.parametrize("exists", ["fail", "overwrite"])
def test_what_is_refused_before_any_work(names: list[str], output: str | None, message: str, exists: str) -> None:
    make("a.png", "b.png", "a.jpg", "in/a.png", "in/b.png", "in3/b.png", "a.cutout.png", "a.mask-2.webp")
    Path("out").mkdir()
    with pytest.raises(UsageError) as refused:
        plan(names, output, exists=exists)
    assert message in str(refused.value)


@pytest.mark.usefixtures("folder")
def test_an_output_that_is_an_input_through_a_link_is_refused() -> None:
    make("in/a.png", "b.png")
    Path("out").mkdir()
    Path("out/b.cutout.png").symlink_to("../in/a.png")
    with pytest.raises(UsageError, match="is an input itself"):
        plan(["in/a.png", "b.png"], "out", exists="overwrite")


@pytest.mark.usefixtures("folder")
def test_existing_outputs() -> None:
    make("a.png", "b.png", "c.png", "a.cutout.png", "b.cutout.webp", "x.png")
    Path("c.cutout.png").mkdir()
    names = ["a.png", "b.png", "c.png", "gone.png"]
    gone, directory = "gone.png: no such file", "c.cutout.png: is a directory; give the output another name"
    assert errors(plan(names, None))[1:] == [directory, gone]
    assert "a.cutout.png: exists already" in errors(plan(names, None))[0]
    for exists in ("overwrite", "skip"):
        jobs = plan(names, None, exists=exists)
        assert errors(jobs) == [directory, gone]
        assert [job.skipped for job in jobs] == [exists == "skip", False, False, False]
    assert plan(["-"], "x.png", exists="skip") == [Job(None, Path("x.png"), skipped=True)]
    assert [job.skipped for job in plan(["b.png"], None, exists="skip", suffix=".cutout.webp")] == [True]


@pytest.mark.usefixtures("folder")
def test_a_second_run_continues() -> None:
    make("in/a.png", "in/sub/b.png", "in/sub/c.png")
    Path("out").mkdir()
    for number, job in enumerate(plan(["in"], "out", recursive=True, exists="skip")):
        if number < 2:
            make_directories(job)
            make(str(job.target))
    jobs = plan(["in"], "out", recursive=True, exists="skip")
    assert [job.skipped for job in jobs] == [True, True, False]
    # with a pattern that the shell expands, outputs are among the names
    make("in/a.cutout.png")
    named = plan(["in/a.cutout.png", "in/a.png"], None, exists="skip")
    assert [(job.name, job.skipped) for job in named] == [(str(Path("in/a.png")), True)]


@pytest.mark.usefixtures("folder")
def test_rename_gives_the_first_free_number() -> None:
    make("a.png", "a.jpg", "a.webp", "in/a.gif", "a.cutout.png", "a.cutout-3.png")
    jobs = plan(["a.png", "a.jpg", "a.webp"], None, exists="rename")
    assert [job.target_name for job in jobs] == ["a.cutout-2.png", "a.cutout-4.png", "a.cutout-5.png"]
    Path("out").mkdir()
    jobs = plan(["a.png", "a.jpg", "in"], "out", exists="rename")
    assert [Path(job.target_name).name for job in jobs] == ["a.cutout.png", "a.cutout-2.png", "a.cutout-3.png"]
    assert pairs(plan(["a.png"], "a.webp", exists="rename")) == [("a.png", "a-2.webp")]


@pytest.mark.usefixtures("folder")
def test_rename_never_takes_the_name_of_an_input() -> None:
    make("a.png")
    (job, other, _) = plan(["a.png", "a-2.png", "-"], None, exists="rename", suffix=".png")
    assert job.target == Path("a-3.png")  # a-2.png is none yet, but is meant to be an input
    assert errors([other]) == ["a-2.png: no such file"]


@pytest.mark.usefixtures("folder")
def test_names_that_differ_in_case_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/Photo.png", "in2/PHOTO.png", "in/sub/x.png", "in2/Sub/X.png")
    Path("out").mkdir()
    make("probe")
    folds = Path("PROBE").exists()
    assert path_keys.folds_case(str(Path.cwd())) == folds
    assert path_keys.folds_case(str(Path("out").resolve())) == folds
    both = (["in", "in2"], "out")
    if not folds:
        with monkeypatch.context() as patch:
            patch.setattr(os.path, "samefile", lambda a, b: Path(a).exists() and a.lower() == b.lower())
            assert path_keys.folds_case(str(Path.cwd()))
            assert path_keys.folds_case(str(Path("out").resolve()))
        assert len(pairs(plan(*both, recursive=True))) == 4
    monkeypatch.setattr(path_keys, "folds_case", lambda folder: "out" in folder)
    with pytest.raises(UsageError, match="would both be written"):
        plan(*both)
    for directory in ("in", "in2"):
        next(Path(directory).glob("*.png")).unlink()
    with pytest.raises(UsageError, match="would both be written"):  # below directories that are still to be made
        plan(*both, recursive=True)
    names = [Path(job.target_name).as_posix() for job in plan(*both, recursive=True, exists="rename")]
    assert names == ["out/sub/x.cutout.png", "out/Sub/X.cutout-2.png"]


@pytest.mark.usefixtures("folder")
def test_accents_that_are_written_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/caf\u00e9.png", "in2/cafe\u0301.png")
    Path("out").mkdir()
    assert len(pairs(plan(["in", "in2"], "out"))) == 2
    monkeypatch.setattr(path_keys, "folds_case", lambda folder: "out" in folder)
    with pytest.raises(UsageError, match="would both be written"):
        plan(["in", "in2"], "out")


@pytest.mark.usefixtures("folder")
def test_an_impossible_name_is_an_error_of_its_own() -> None:
    make("a.png")
    jobs = plan(["x" * 300 + ".png", "a.png", "y" * 300 + "*"], None)
    assert len(errors(jobs)) == 2
    assert sources(jobs) == ["a.png"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.cutout.png", "a"),
        ("a.b.mask-17.AVIF", "a.b"),
        ("a.cutout.cutout.webp", "a.cutout"),
        ("new\nline.preview.png", "new\nline"),
        ("cutout.png", None),
        (".cutout.png", None),
        ("a.cutout-.png", None),
        ("a.cutoutx.png", None),
        ("my.mask", None),
    ],
)
def test_outputs_are_known_by_their_name(name: str, stem: str | None) -> None:
    assert inputs.earlier_stem(name) == stem
