"""The command: names, options, what it prints where, and its exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from nss.cli.progress import Progress
from tests.nss.child import run_child
from tests.project import ROOT
from tests.wall_clock import child_seconds, slowness, wait_until

Run = Callable[..., "object"]


def process(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own, with the built-in model only."""
    return run_child([sys.executable, "-m", "nss", *arguments], folder=cwd, timeout_s=120, **environment)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the whole command on the shipped photos, with the shipped network."""
    folder, photos = tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("photos")
    for name in ("astronaut.png", "chelsea.png"):  # without what someone who tried the README has left beside them
        shutil.copy(ROOT / "examples" / name, photos)
    return folder, process("remove", photos, "-o", folder, "--json", cwd=folder)


def test_the_whole_command_on_the_shipped_photos(real: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, outcome = real
    assert outcome.returncode == 0, outcome.stderr
    records = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [Path(r["input"]).name for r in records] == ["astronaut.png", "chelsea.png"]
    for record in records:
        source, output = Image.open(record["input"]), Image.open(record["output"])
        assert Path(record["output"]).parent == folder
        assert (record["width"], record["height"]) == source.size == output.size
        assert (record["model"], record["backend"], record["error"]) == ("u2netp", "numpy", None)
        assert record["device"]
        assert len(record["model_sha256"]) == 64
        assert list(record["milliseconds"])[-1] == "encode"
        assert all(t >= 0 for t in record["milliseconds"].values())
        rgba = np.asarray(output)
        assert np.array_equal(rgba[..., :3], np.asarray(source.convert("RGB")))
        assert output.info["icc_profile"] == source.info["icc_profile"]
        assert 0.2 < (rgba[..., 3] > 127).mean() < 0.8
    summary, line = outcome.stderr.splitlines()
    assert summary.startswith("nss-wgpu: 2 images: 2 written, 0 skipped, 0 failed, in ")
    assert "used the built-in U²-Netp" in line
    assert "rmbg-1.4" in line
    assert "licence" in line


def test_default_name_and_what_is_printed(command: Run, photo: Path) -> None:
    outcome = command("remove", photo)
    target = photo.with_name("photo.cutout.png")
    assert outcome.status == 0
    (line,) = outcome.out
    assert line.startswith(f"{photo} -> {target} (60 x 40, u2netp on auto, ")
    assert len(outcome.err) == 1
    assert "built-in" in outcome.err[0]
    assert Image.open(target).mode == "RGBA"


def test_quiet_prints_nothing(command: Run, photo: Path) -> None:
    assert command("remove", photo, "--quiet") == type(command("--version"))(0, [], [])


def test_no_hint_when_the_model_was_chosen(command: Run, photo: Path) -> None:
    assert command("remove", photo, "--model", "u2netp").err == []


def test_json_has_a_line_for_each_image_with_errors_in_it(command: Run, photo: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    outcome = command("remove", missing, photo, "--json", "--backend", "reference")
    assert outcome.status == 1
    failed, fine = (json.loads(line) for line in outcome.out)
    assert failed["input"] == str(missing)
    assert failed["error"] == f"{missing}: no such file"
    assert failed["output"] is failed["milliseconds"] is failed["model"] is None
    assert fine["error"] is None
    assert fine["backend"] == "reference"
    assert failed.keys() == fine.keys()
    assert outcome.err[0] == f"nss-wgpu: {missing}: no such file"


def test_directories_files_and_an_output_directory(command: Run, photo: Path, tmp_path: Path) -> None:
    folder, out = photo.parent, tmp_path / "out"
    out.mkdir()
    for name in ("b.JPG", "a.webp", "old.cutout.png", "notes.txt"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "deeper").mkdir()
    (folder / "deeper" / "c.png").write_bytes(photo.read_bytes())
    extra = tmp_path / "extra.bin"
    extra.write_bytes(photo.read_bytes())
    outcome = command("remove", folder, extra, "-o", f"{out}{os.sep}")
    assert outcome.status == 0
    assert [Path(line.split(" -> ")[0]).name for line in outcome.out] == ["a.webp", "b.JPG", "photo.png", "extra.bin"]
    assert sorted(p.name for p in out.iterdir()) == [f"{n}.cutout.png" for n in ("a", "b", "extra", "photo")]


def test_output_file(command: Run, photo: Path, tmp_path: Path) -> None:
    assert command("remove", photo, "-o", tmp_path / "named.png").status == 0
    assert (tmp_path / "named.png").is_file()


def test_own_outputs_are_not_inputs_of_the_next_run(
    command: Run, photo: Path, listing: Callable[[Path], list[str]]
) -> None:
    assert command("remove", photo.parent).status == 0
    assert command("remove", photo.parent, "--overwrite").status == 0
    assert listing(photo.parent) == ["photo.cutout.png", "photo.png"]


def test_notes_are_said_unless_quiet(command: Run, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    outcome = command("remove", tmp_path / "moving.gif")
    assert outcome.err[0] == f"nss-wgpu: {tmp_path / 'moving.gif'}: animated: first frame used"
    record = json.loads(command("remove", tmp_path / "moving.gif", "--overwrite", "--json", "--quiet").out[0])
    assert record["notes"][0] == "animated: first frame used"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove"], "Missing argument"),
        (["remove", "PHOTO", "--nonsense"], "--nonsense"),
        (["remove", "PHOTO", "--nonsense"], ". See `nss-wgpu remove --help`."),
        (["remove", "PHOTO", "--backend", "cuda"], "cuda"),
        (["remove", "PHOTO", "--backend", "numpy", "--require-gpu"], 'backend "numpy" runs on the processor'),
        (["remove", "PHOTO", "--mode", "slow"], "slow"),
        (["remove", "PHOTO", "--mode", "fast", "--model", "u2netp"], "--mode and --model exclude each other"),
        (["remove", "PHOTO", "-o", "FOLDER/photo.xyz"], ".xyz names no format"),
        (["remove", "PHOTO", "-o", "FOLDER/photo.webp", "--format", "png"], "its extension is that of webp"),
        (["remove", "PHOTO", "--quality", "90"], "png is lossless"),
        (["remove", "PHOTO", "--format", "webp", "--mask-only", "--mask-bits", "16"], "16 need png and tiff"),
        (["remove", "PHOTO", "--background", "nowhere.png"], "is no colour and no file"),
        (["remove", "PHOTO", "--mask", "nowhere.png"], "no such file"),
        (["remove", "PHOTO", "--feather", "-1"], "--feather -1: a number from 0 to 1000 pixels"),
        (["remove", "PHOTO", "--expand", "900"], "--expand 900"),
        (["remove", "PHOTO", "--black", "0.9", "--white", "0.1"], "0 <= black <= white <= 1"),
        (["remove", "PHOTO", "--overwrite", "--rename"], "exclude each other"),
        (["remove", "PHOTO", "--keep-gps"], "its EXIF must be kept too"),
        (["remove", "-", "-"], "standard input"),
        (["remove", "PHOTO", "OTHER", "-o", "-"], "takes a single image"),
        (["remove", "PHOTO", "-o", "-", "--json"], "cannot share standard output"),
        (["preview", "PHOTO", "-o", "-"], "a preview goes to a file"),
        (["remove", "PHOTO", "FOLDER/out.png"], "FOLDER/out.png: no such file; if it is to be the output, write -o"),
        (["remove", "PHOTO", "-o", "PHOTO/"], "the output is to be a directory, and PHOTO/ is a file"),
        (["remove", "PHOTO", "-o", "FOLDER/nowhere"], "no extension names no format"),
        (["remove", "PHOTO", "OTHER", "-o", "FOLDER/x.png"], "several images need a directory as output"),
        (["remove", "FOLDER", "-o", "FOLDER/x.png"], "several images need a directory as output"),
        (["remove", "PHOTO", "OTHER", "-o", "FOLDER/x"], "several images need a directory as output, and FOLDER/x"),
        (["remove", "PHOTO", "-o", "FOLDER/nowhere/x.png"], "the directory FOLDER/nowhere does not exist"),
        (["remove", "PHOTO", ""], "an input is an empty name"),
        (["remove", "PHOTO", "-o", ""], "-o is empty"),
        (["remove", "PHOTO", "--model", ""], "--model is empty"),
        (["remove", "PHOTO", "-o", "PHOTO", "--overwrite"], "which is never overwritten"),
        (["nonsense"], "No such command"),
    ],
)
def test_usage_errors_are_one_line_and_come_before_any_work(
    command: Run,
    photo: Path,
    arguments: list[str],
    message: str,
    network: type,
    listing: Callable[[Path], list[str]],
) -> None:
    other = photo.with_suffix(".jpg")
    other.write_bytes(photo.read_bytes())
    before = listing(photo.parent)
    names = {"PHOTO": str(photo), "OTHER": str(other), "FOLDER": str(photo.parent)}

    def fill(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    outcome = command(*map(fill, arguments))
    assert outcome.status == 2
    assert outcome.out == []
    (line,) = outcome.err
    assert line.startswith("nss-wgpu: ")
    assert fill(message) in line
    assert listing(photo.parent) == before
    assert network.opened == []  # type: ignore[attr-defined]


def test_unforeseen_errors_are_one_line_and_the_others_go_on(
    command: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nss.masks.photo_mask import PhotoMask

    second = photo.with_name("second.png")
    second.write_bytes(photo.read_bytes())
    calls = []

    def fail_once(_: np.ndarray, size: tuple[int, int], *__: object, **___: object) -> PhotoMask:
        calls.append(size)
        if len(calls) == 1:
            raise ZeroDivisionError("no\nreason")
        return PhotoMask.of_array(np.ones(size, np.float32))

    monkeypatch.setattr(PhotoMask, "enlarged", fail_once)
    outcome = command("remove", photo, second, "--jobs", 1)
    assert outcome.status == 1
    assert outcome.err[0].startswith(f"nss-wgpu: {photo}: unexpected ZeroDivisionError: no reason (NSS_DEBUG=1")
    assert second.with_name("second.cutout.png").is_file()


@pytest.mark.usefixtures("network")
def test_debug_shows_the_traceback(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nss.cli.main import main
    from nss.masks.photo_mask import PhotoMask

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PhotoMask, "enlarged", fail)
    monkeypatch.setenv("NSS_DEBUG", "1")
    assert main(["remove", str(photo)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_version_is_that_of_the_distribution(command: Run) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert command("--version").out == [f"nss-wgpu {project.get('version', nss.__version__)}"]


@pytest.mark.wall_clock
def test_help_answers_at_once_and_imports_nothing_heavy(tmp_path: Path) -> None:
    def show_help() -> None:
        outcome = process("--help", cwd=tmp_path)
        assert outcome.returncode == 0
        assert "remove" in outcome.stdout
        assert "models" in outcome.stdout

    assert min(child_seconds(show_help) for _ in range(3)) <= 0.3 * slowness()
    heavy = {"numpy", "PIL", "onnx", "rich", "huggingface_hub", "isal", "zlib_ng"}
    script = f"import sys, nss.cli.main; print(*sorted({heavy} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == ""


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_no_command_shows_the_help(command: Run, arguments: list[str]) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.out == []
    assert outcome.err[0].startswith(" ".join(["Usage: nss-wgpu", *arguments]))
    assert len(outcome.err) > 5


def test_a_usage_error_that_cannot_format_itself(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class BrokenError(Exception):
        def format_message(self) -> str:
            raise TypeError

    def fail(*_: object, **__: object) -> None:
        raise BrokenError("no such thing")

    monkeypatch.setattr("nss.cli.main.app", fail)
    outcome = command()
    assert (outcome.status, outcome.err) == (2, ["nss-wgpu: no such thing. See `nss-wgpu --help`."])


def test_a_file_named_twice_is_done_once(command: Run, photo: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    outcome = command("remove", photo, photo.parent, photo.parent / ".." / "photos" / "photo.png", link)
    assert outcome.status == 0
    assert len(outcome.out) == 1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_earlier_cut_out_is_no_input(command: Run, photo: Path, tmp_path: Path, elsewhere: bool) -> None:
    cutout = photo.with_name("photo.cutout.png")
    cutout.write_bytes(photo.read_bytes())
    output = ["-o", tmp_path] if elsewhere else []
    outcome = command("remove", *sorted(photo.parent.iterdir()), *output)
    assert outcome.status == 2
    assert outcome.err == [f"nss-wgpu: {cutout}: is an earlier cut-out of {photo}; leave it out"]


def test_progress_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nss.cli.progress.DELAY_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")

    def show(*, terminal: bool, quiet: bool) -> str:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        text = ""

        def is_there() -> bool:
            nonlocal text
            text += capsys.readouterr().err
            return "photo.png" in text

        with Progress(3, quiet=quiet) as progress:
            progress.update(1, "a [red] photo.png")
            if terminal and not quiet:
                wait_until(is_there)
            else:
                time.sleep(0.3)
            with progress.paused():
                print("a result")
            progress.update(2, "another.png")
        captured = capsys.readouterr()
        assert captured.out == "a result\n"
        return text + captured.err

    assert "a [red] photo.png" in show(terminal=True, quiet=False)
    assert show(terminal=False, quiet=False) == ""
    assert show(terminal=True, quiet=True) == ""
