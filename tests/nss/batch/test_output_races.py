"""What happens to names and folders while the command works: other processes take them, people rename them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.batch import planning
from tests.nss.conftest import Outcome
from tests.project import ROOT

Command = Callable[..., Outcome]
Listing = Callable[[Path], list[str]]
COUNT = 40


@pytest.fixture
def mask(tmp_path: Path, rgb: np.ndarray) -> Path:
    """A mask of the photo."""
    Image.fromarray(rgb[..., 0]).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.fixture(params=[True, False], ids=["hard links", "no hard links"])
def taken_meanwhile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let other processes take names while the next file is written, on either kind of file system."""
    if not request.param:

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", fail)
    fsync = os.fsync

    def take(*paths: Path) -> None:
        def write(descriptor: int) -> None:
            for path in paths:
                path.write_bytes(b"theirs")
            monkeypatch.setattr(os, "fsync", fsync)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", write)

    return take


def test_a_name_taken_meanwhile_is_skipped(
    command: Command, photo: Path, mask: Path, taken_meanwhile: Callable[..., None], listing: Listing
) -> None:
    target = photo.with_name("photo.cutout.png")
    taken_meanwhile(target)
    outcome = command("remove", photo, "--mask", mask, "--skip-existing", "--sidecar")
    assert (outcome.status, outcome.err) == (0, [])
    assert outcome.out == [f"{photo} skipped: {target} exists"]
    assert target.read_bytes() == b"theirs"
    assert listing(photo.parent) == ["photo.cutout.png", "photo.png"]
    # without being asked it is an error as before
    target.unlink()
    taken_meanwhile(target)
    outcome = command("remove", photo, "--mask", mask)
    assert (outcome.status, outcome.out) == (1, [])
    assert outcome.err == [f"nss-wgpu: {target}: exists already; pass --exists overwrite to replace it"]
    assert target.read_bytes() == b"theirs"


def test_a_number_taken_meanwhile_gives_the_next_one_to_the_record_too(
    command: Command, photo: Path, mask: Path, taken_meanwhile: Callable[..., None], listing: Listing
) -> None:
    first, third = photo.with_name("photo.cutout.png"), photo.with_name("photo.cutout-3.png.json")
    third.write_bytes(b"of an output that is gone")
    taken_meanwhile(first, photo.with_name("photo.cutout-2.png"))
    outcome = command("remove", photo, "--mask", mask, "--rename", "--sidecar", "--json")
    assert (outcome.status, outcome.err) == (0, [])
    output = photo.with_name("photo.cutout-4.png")
    assert json.loads(outcome.out[0])["output"] == str(output)
    assert json.loads(output.with_name(f"{output.name}.json").read_text())["output"]["path"] == str(output)
    assert Image.open(output).mode == "RGBA"
    assert first.read_bytes() == b"theirs"
    assert listing(photo.parent) == [
        *("photo.cutout-2.png", third.name, output.name, f"{output.name}.json"),
        *(first.name, photo.name),
    ]
    # the next run knows it at once
    assert command("remove", photo, "--mask", mask, "--rename", "--sidecar", "-n").out[0].endswith("cutout-5.png")


def test_the_number_that_was_taken_is_said(
    command: Command, photo: Path, mask: Path, taken_meanwhile: Callable[..., None]
) -> None:
    taken_meanwhile(photo.with_name("photo.cutout.png"))
    outcome = command("remove", photo, "--mask", mask, "--rename")
    assert outcome.out[0].startswith(f"{photo} -> {photo.with_name('photo.cutout-2.png')} (")


def test_a_record_that_comes_into_being_between_the_checks_is_of_an_output_that_is_skipped(
    command: Command, photo: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nss.files import output_file

    target, check = photo.with_name("photo.cutout.png"), output_file.check

    def meanwhile(path: Path, **options: object) -> None:
        check(path, **options)  # type: ignore[arg-type]
        for name in (target.name, f"{target.name}.json"):
            target.with_name(name).write_bytes(b"theirs")

    monkeypatch.setattr(output_file, "check", meanwhile)
    outcome = command("remove", photo, "--mask", mask, "--skip-existing", "--sidecar")
    assert (outcome.status, outcome.out) == (0, [f"{photo} skipped: {target} exists"])


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_output_folder_that_is_renamed_gets_nothing_more(
    command: Command,
    photo: Path,
    mask: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listing: Listing,
    jobs: int,
) -> None:
    if os.link not in os.supports_dir_fd:
        pytest.skip("this system has no descriptors of directories")
    out, fsync = tmp_path / "out", os.fsync
    out.mkdir()
    photo.with_name("second.png").write_bytes(photo.read_bytes())

    def rename(descriptor: int) -> None:
        with suppress(OSError):  # the other thread's may have come first
            out.rename(tmp_path / "moved")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", rename)
    outcome = command("remove", photo.parent, "--mask", mask, "-o", out, "--jobs", jobs)
    assert (outcome.status, outcome.out) == (1, [])
    *errors, _ = outcome.err
    assert [line.split(": ")[1] for line in errors] == [str(out / f"{n}.cutout.png") for n in ("photo", "second")]
    if jobs == 1:
        assert errors[0].endswith(f": the directory {out} was moved or removed meanwhile")
        assert errors[1].endswith(f": the directory {out} does not exist; create it first")
    assert listing(tmp_path / "moved") == []
    assert not out.exists()


SCRIPT = """
    import sys
    import nss.batch.planning, nss.files.export, nss.removal.remover, nss.batch.sidecars, nss.batch.stages
    import PIL.PngImagePlugin
    from nss.cli.main import main

    print("ready", flush=True)
    sys.stdin.readline()
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("exists", ["--skip-existing", "--rename"])
def test_two_processes_into_one_folder(tmp_path: Path, listing: Listing, exists: str) -> None:
    photos, masks, out = (tmp_path / name for name in ("photos", "masks", "out"))
    for folder in (photos, masks):
        folder.mkdir()
        for number in range(COUNT):
            Image.new("RGB" if folder is photos else "L", (8, 6), 9 * number % 256).save(folder / f"{number:02}.png")
    arguments = ["remove", photos, "-o", f"{out}{os.sep}", "--mask", masks, exists, "--sidecar", "--json", "--quiet"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcome = [process.communicate(timeout=120) for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outcome, strict=True)] == [(0, "")] * 2
    records = [json.loads(line) for out_, _ in outcome for line in out_.splitlines()]
    assert len(records) == 2 * COUNT
    outputs = [record["output"] for record in records if not record["skipped"]]
    assert len(outputs) == (COUNT if exists == "--skip-existing" else 2 * COUNT)
    assert sorted([*outputs, *(f"{output}.json" for output in outputs)]) == [str(out / name) for name in listing(out)]
    for output in outputs:
        record = json.loads(Path(f"{output}.json").read_text())
        assert record["output"]["path"] == output
        assert Path(output).name.startswith(Path(record["input"]["path"]).stem)
        Image.open(output).load()


def test_a_name_that_is_taken_while_the_plan_is_made_is_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for a free name and the check of the place."""
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    number = planning._number

    def number_and_touch(jobs: dict[str, planning.Job], keys: object, sidecar: bool) -> None:
        number(jobs, keys, sidecar)  # type: ignore[arg-type]
        (tmp_path / "a.cutout.png").touch()

    monkeypatch.setattr(planning, "_number", number_and_touch)
    (job,) = planning.plan([str(tmp_path / "a.png")], None, exists="rename")
    assert (job.error, job.target) == (None, tmp_path / "a.cutout.png")
    assert next(job.alternatives()) == tmp_path / "a.cutout-2.png"
