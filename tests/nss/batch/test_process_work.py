"""Batches by processes: the same files and lines as by threads, and the same ends."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import engine
from nss.batch import processes
from nss.batch.outputs import CutoutWriter, OutputFiles
from nss.batch.planning import Exists, Job, plan
from nss.batch.process_work import ProcessWork
from nss.batch.processes import VARIABLE, can_cross, process_count
from nss.batch.stages import HostWork, Result, Work
from nss.cutouts.compose import ComposedPicture, Composition, Cutout
from nss.cutouts.run_info import RunInfo
from nss.errors import UsageError
from nss.files import output_file
from nss.files.formats import choose
from nss.files.output_file import InputFiles
from nss.interfaces.interface import FixedSize, complete
from nss.masks.refine import Refinement
from nss.removal.host_stages import HostStages, InferredMask, PreparedPhoto
from nss.workers import process
from tests.nss.conftest import Outcome

Command = Callable[..., Outcome]

pytestmark = pytest.mark.skipif(not process.supported(), reason="has no worker processes")

SECONDS = re.compile(r"\d+\.\d\d s")


@pytest.fixture
def photos(tmp_path: Path, rgb: np.ndarray) -> Path:
    """Photos of many kinds, and files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir(exist_ok=True)
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    image.save(folder / "a.jpg", exif=exif, quality=95)
    alpha = Image.fromarray(rgb[..., 0])
    alpha_photo = image.copy()
    alpha_photo.putalpha(alpha)
    alpha_photo.save(folder / "b.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(folder / "c.png")
    image.save(folder / "d.tif", compression="tiff_lzw")
    image.convert("CMYK").save(folder / "e.jpg")
    image.resize((9, 200)).save(folder / "f.webp", lossless=True)
    (folder / "g.jpg").write_bytes((folder / "a.jpg").read_bytes()[:500])
    (folder / "h.png").write_bytes(b"no image")
    Image.new("RGB", (30, 20)).save(folder / "i.png")  # in which nothing is found
    return folder


def outcome_by(
    how: str, command: Command, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object
) -> tuple[Outcome, dict[str, bytes]]:
    """The outcome, without its times, and the files in ``folder``."""
    monkeypatch.setenv(VARIABLE, how)
    outcome = command(*arguments)
    lines = []
    for line in outcome.out:
        if line.startswith("{"):
            record = json.loads(line)
            stages = list(record.pop("milliseconds") or ())
            lines.append(f"{record} {stages}")
        else:
            lines.append(SECONDS.sub("", line))
    err = [re.sub(r"in [\d.]+ s \(.*\)", "", line) for line in outcome.err]
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return Outcome(outcome.status, lines, err), files


@pytest.mark.parametrize(
    "options",
    [
        ("--json", "--sidecar", "--feather", 2, "--hidden", "bleed"),
        ("--mask-only", "--mask-bits", 16, "--exists", "skip", "--fail-empty"),
        ("--format", "jpeg", "--background", "#fed", "--keep-exif", "--exists", "rename", "--crop", 3),
    ],
)
def test_processes_make_the_same_files_and_say_the_same_as_threads(
    command: Command, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    outcomes = []
    for how in ("threads", "processes"):
        out = tmp_path / "out"
        out.mkdir()
        for name in ("a.mask.png", "b.cutout.png", "d.cutout.jpg"):
            (out / name).write_bytes(b"there already")
        outcomes.append(outcome_by(how, command, monkeypatch, out, "remove", photos, "-o", out, *options, "-j", 3))
        out.rename(tmp_path / how)
    (first, first_files), (second, second_files) = outcomes
    assert (second.status, second.out, second.err) == (first.status, first.out, first.err)
    assert second_files.keys() == first_files.keys()
    assert [name for name in first_files if first_files[name] != second_files[name]] == []
    assert len(first_files) > 6
    assert first.status == 1


def test_given_masks_and_sheets_by_processes(
    command: Command, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, rgb: np.ndarray
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in "acd":
        Image.fromarray(rgb[..., 0].T if name == "a" else rgb[..., 0]).save(masks / f"{name}.mask.png")
    for subcommand in ("remove", "preview"):
        results = []
        for how in ("threads", "processes"):
            out = tmp_path / how / subcommand
            out.mkdir(parents=True)
            arguments = (subcommand, photos, "--mask", masks, "-o", out, "-j", 2)
            outcome, files = outcome_by(how, command, monkeypatch, out, *arguments)
            lines = [line.replace(str(out), "out") for line in (*outcome.out, *outcome.err)]
            results.append((lines, files, outcome.status))
        assert results[0] == results[1]
        assert len(results[0][1]) == 3


def test_standard_output_and_pipes_stay_in_this_process(
    monkeypatch: pytest.MonkeyPatch, photo: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    jobs = [
        Job(photo, None),
        Job(None, tmp_path / "out.png"),
        Job(photo, Path("/dev/null")),
        Job(Path("/dev/stdin"), tmp_path / "out.png"),
        Job(tmp_path / "pipe", tmp_path / "out.png"),
    ]
    assert [job for job in jobs if can_cross(job)] == []
    monkeypatch.setenv(VARIABLE, "processes")
    assert process_count(jobs, 4, 1 << 30) == 0
    assert process_count([*jobs, Job(photo, tmp_path / "out.png")], 4, 1 << 30) == 1


def test_processes_are_for_many_cores_and_much_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(engine, "available_cores", lambda: 4)
    large = tmp_path / "large.jpg"
    large.touch()
    os.truncate(large, processes.BYTES_A_CORE)
    job = Job(large, tmp_path / "out.png")
    assert process_count([job] * 5, 4, 1 << 30) == 4
    assert process_count([job] * 5, None, 1 << 30) == 4
    assert process_count([job] * 5, 2, 1 << 30) == 2
    assert process_count([job] * 9, 8, 1 << 30) == 4
    assert process_count([job] * 5, 4, 12 * processes.BASE_BYTES) == 3, "what they take before they have photos"
    assert process_count([job] * 5, 4, 4 * processes.BASE_BYTES) == 0
    assert process_count([job] * 5, 1, 1 << 30) == 0, "-j 1 is this process alone"
    assert process_count([job] * 4, 4, 1 << 30) == 0, "no more photos than workers"
    assert process_count([job] * 4 + [replace(job, skipped=True)], 4, 1 << 30) == 0
    small = replace(job, source=tmp_path / "missing.jpg")
    assert process_count([job] * 3 + [small] * 100, 4, 1 << 30) == 0, "too little work"
    monkeypatch.setattr(engine, "available_cores", lambda: 2)
    assert process_count([job] * 5, 2, 1 << 30) == 0, "two cores"
    monkeypatch.setenv(VARIABLE, "processes")
    assert process_count([job], 2, 1 << 30) == 1
    monkeypatch.setenv(VARIABLE, "threads")
    assert process_count([job] * 50, 4, 1 << 30) == 0
    monkeypatch.setenv(VARIABLE, "fibres")
    with pytest.raises(UsageError, match=r'^NSS_BATCH_WORKERS="fibres": processes and threads are possible$'):
        process_count([job], 2, 1 << 30)


@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_a_photo_that_the_gpu_takes_as_it_is_crosses_with_its_pixels_and_its_levels_go_back(
    rgb: np.ndarray, tmp_path: Path, kind: str
) -> None:
    """The worker's file is that of this process, with levels that nothing but the GPU's could be."""
    image = Image.fromarray(rgb).convert(kind)
    if kind == "RGBA":
        image.putalpha(Image.fromarray(rgb[..., 1]))
    image.save(tmp_path / "photo.png")
    stages = HostStages(complete({"input": "x", "output": "y", "size": FixedSize(32, 32)}), fewest_gpu_pixels=0)
    files = OutputFiles(choose(Path("x.png")), InputFiles(), "overwrite")
    refinement = Refinement(feather=2)
    writer = CutoutWriter(files, refinement, Composition(mask_only=True))
    host = HostWork(stages, None, refinement, writer, level_bits=8)
    raw = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    levels = None if kind == "RGBA" else rgb[..., 2] // 2  # without alpha of its own, it decides alone
    contents = []
    with processes.start_pool(1, 1) as pool:
        local = Work(host, None)
        for number, work in enumerate([local, ProcessWork(local, pool)]):
            job = Job(tmp_path / "photo.png", tmp_path / f"{number}.png")
            prepared = work.load(job)
            assert isinstance(prepared, PreparedPhoto)
            assert prepared.network_input is None
            assert (prepared.refinement, prepared.mask_bits) == (refinement, 8)
            photo = prepared.photo
            assert np.array_equal(photo.rgb, rgb)
            assert (photo.alpha is not None) == (kind == "RGBA")
            assert photo.alpha is None or np.array_equal(photo.alpha, rgb[..., 1])
            info = RunInfo("model", None, "webgpu", "device", milliseconds=prepared.times)
            result = work.finish(job, InferredMask(photo, raw, ("noted",), info, levels, refinement))
            assert isinstance(result, Result)
            assert result.notes == ("noted",)
            assert list(result.info.milliseconds)[:3] == ["decode", "load_model", "preprocess"]
            contents.append((tmp_path / f"{number}.png").read_bytes())
            if levels is not None:
                assert np.array_equal(np.asarray(Image.open(tmp_path / f"{number}.png")), levels)
    assert contents[0] == contents[1]


@dataclass(frozen=True)
class DyingWriter:
    """Is killed in the middle of the first file, or as soon as that has its name, ``afterwards``."""

    writer: CutoutWriter
    folder: Path
    afterwards: bool

    def __call__(self, job: Job, cutout: Cutout) -> tuple[ComposedPicture, bytes | Path] | None:
        try:
            (self.folder / "once").touch(exist_ok=False)
        except FileExistsError:
            return self.writer(job, cutout)
        assert job.target is not None
        if self.afterwards:
            self.writer(job, cutout)
            os.kill(os.getpid(), signal.SIGKILL)

        def fill(file: Any) -> None:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

        output_file.place(fill, job.target)
        return None


@pytest.mark.parametrize(
    ("exists", "afterwards"), [("fail", False), ("fail", True), ("skip", True), ("rename", True), ("overwrite", True)]
)
def test_a_photo_whose_worker_is_killed_over_its_file_is_done_again(
    photo: Path, tmp_path: Path, exists: Exists, afterwards: bool
) -> None:
    """What the dead one has written, record and all, stands in nobody's way."""
    out = tmp_path / "out"
    out.mkdir()
    (job,) = plan([str(photo)], f"{out}{os.sep}", exists=exists)
    writer = CutoutWriter(
        OutputFiles(choose(Path("x.png")), InputFiles([photo]), exists, sidecar=True), Refinement(), Composition()
    )
    host = HostWork(None, photo, Refinement(), DyingWriter(writer, tmp_path, afterwards))
    Image.open(photo).convert("L").save(tmp_path / "mask.png")
    host = replace(host, masks=tmp_path / "mask.png")
    with processes.start_pool(1, 1) as pool:
        work = ProcessWork(Work(host, None), pool)
        result = work.finish(job, work.infer(job, work.load(job)))
    assert isinstance(result, Result)
    assert sorted(path.name for path in out.iterdir()) == ["photo.cutout.png", "photo.cutout.png.json"]
    assert (tmp_path / "once").exists()
