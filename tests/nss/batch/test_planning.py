"""The work list: which output each image gets, and what is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nss.batch import inputs, path_keys
from nss.batch.planning import Job, make_directories, plan
from nss.errors import UsageError
from tests.nss.batch.job_lists import errors, pairs, sources
from tests.nss.conftest import make


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
    with pytest.raises(UsageError) as failure:
        plan(names, output, exists=exists)
    assert message in str(failure.value)


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
    missing_file, directory = "gone.png: no such file", "c.cutout.png: is a directory; give the output another name"
    assert errors(plan(names, None))[1:] == [directory, missing_file]
    assert "a.cutout.png: exists already" in errors(plan(names, None))[0]
    for exists in ("overwrite", "skip"):
        jobs = plan(names, None, exists=exists)
        assert errors(jobs) == [directory, missing_file]
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
    explicit = plan(["in/a.cutout.png", "in/a.png"], None, exists="skip")
    assert [(job.name, job.skipped) for job in explicit] == [(str(Path("in/a.png")), True)]


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
