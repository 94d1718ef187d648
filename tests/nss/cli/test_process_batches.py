"""Batches by processes that are ended in the middle: whatever ends first, no process and no half file is left."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine
from nss.workers.process import supported
from tests.project import ROOT
from tests.wall_clock import wait_until, within

pytestmark = pytest.mark.skipif(not supported() or sys.platform != "linux", reason="reads /proc")

COUNT = 60
WORKERS = min(2, engine.available_cores())
OUT = "out" * 40
AHEAD = 8
"""No photo is in hand of which the number is as much larger than that of the files."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """So many that they take some seconds, in a folder of so long a name that a pipe has room for the lines of few."""
    folder = tmp_path / ("photos" * 20)
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)
    Image.fromarray(noise).save(folder / "00.png", compress_level=1)
    for number in range(1, COUNT):
        (folder / f"{number:02}.png").hardlink_to(folder / "00.png")
    Image.fromarray(noise[..., 0]).save(tmp_path / "mask.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    for number in range(COUNT):
        (masks / f"{number:02}.mask.png").hardlink_to(tmp_path / "mask.png")
    (tmp_path / OUT).mkdir()
    return folder


class Batch:
    """The command at work on the photos, by two processes, in a process group of its own.

    Where it ``waits``, it comes to no end by itself: nobody reads what it prints, which has little room.
    """

    def __init__(
        self,
        photos: Path,
        *options: object,
        file_limit: int | None = None,
        workers: str = "processes",
        waits: bool = False,
    ) -> None:
        self.out = photos.parent / OUT
        arguments = ("remove", photos, "-o", self.out, "-j", 2, *options)

        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        self.process = subprocess.Popen(
            [sys.executable, "-m", "nss", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NSS_BATCH_WORKERS": workers},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pipesize=4096 if waits else -1,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def wait_for_files(self, count: int) -> None:
        """Those of the first so many photos."""
        while not all((self.out / f"{number:02}.cutout.png").exists() for number in range(count)):
            assert self.process.poll() is None
            time.sleep(0.01)

    def read_lines(self, count: int) -> None:
        """Of so many further photos, which are written by then."""
        assert self.process.stdout is not None
        for _ in range(count):
            assert self.process.stdout.readline()

    def files(self) -> list[Path]:
        return sorted(path for path in self.out.iterdir() if not path.name.startswith("."))

    def end(self) -> tuple[int, list[str]]:
        """The status, and the lines on standard error."""
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.splitlines()

    def processes(self) -> list[int]:
        """Those of its session that run, itself among them."""
        running = []
        for path in Path("/proc").iterdir():
            try:
                state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if session == str(self.process.pid) and state not in "ZX":
                running.append(int(path.name))
        return running

    def wait_for_the_end(self) -> None:
        """Of all its processes."""
        wait_until(lambda: not self.processes())

    def assert_nothing_left(self) -> None:
        """No process, after a while, and no file that is not whole."""
        self.wait_for_the_end()
        assert [path.name for path in self.out.iterdir() if path.name.startswith(".")] == []
        for path in self.files():
            with Image.open(path) as image:
                image.load()


@pytest.fixture
def started() -> Iterator[list[Batch]]:
    batches: list[Batch] = []
    yield batches
    for batch in batches:
        for pid in batch.processes():
            os.kill(pid, signal.SIGKILL)
        batch.process.communicate()


@pytest.mark.parametrize("given", [True, False])
def test_ctrl_c_lets_what_is_in_hand_come_to_its_end(
    photos: Path, started: list[Batch], small: Path, given: bool
) -> None:
    """As with threads: the terminal sends it to the workers too, which do not hear it."""
    options = ("--mask", photos.parent / "masks") if given else ("--model", small, "--backend", "numpy")
    batch = Batch(photos, *options, waits=True)
    started.append(batch)
    batch.wait_for_files(2)
    assert len(batch.processes()) == 1 + WORKERS
    os.killpg(batch.process.pid, signal.SIGINT)
    status, err = batch.end()
    assert status == 130
    count = len(batch.files())
    assert err[-1].startswith(f"nss-wgpu: interrupted: {count} of {COUNT} images written")
    assert 2 <= count < COUNT
    batch.assert_nothing_left()


def test_a_second_ctrl_c_ends_it_at_once(photos: Path, started: list[Batch]) -> None:
    batch = Batch(photos, "--mask", photos.parent / "masks", waits=True)
    started.append(batch)
    batch.wait_for_files(1)
    for _ in range(2):
        os.killpg(batch.process.pid, signal.SIGINT)
        time.sleep(0.005)
    status, err = batch.end()
    assert status == 130
    assert re.match(rf"nss-wgpu: interrupted: \d+ of {COUNT} images written", err[-1])
    batch.assert_nothing_left()


@pytest.mark.wall_clock
@pytest.mark.parametrize("seed", range(2))
def test_soon_after_kill_9_at_any_moment_nothing_is_left(photos: Path, started: list[Batch], seed: int) -> None:
    batch = Batch(photos, "--mask", photos.parent / "masks")
    started.append(batch)
    generator = random.Random(seed)
    if seed:
        batch.wait_for_files(1)
    time.sleep(generator.uniform(0, 0.5))
    with within(20):
        batch.process.kill()
        batch.wait_for_the_end()
    batch.assert_nothing_left()


def test_workers_that_are_killed_cost_no_photo(photos: Path, started: list[Batch]) -> None:
    batch = Batch(photos, "--mask", photos.parent / "masks", waits=True)
    started.append(batch)
    batch.wait_for_files(1)
    told = 0
    for seed in range(2):
        workers = [pid for pid in batch.processes() if pid != batch.process.pid]
        os.kill(random.Random(seed).choice(workers), signal.SIGKILL)
        in_hand = len(batch.files()) + AHEAD
        assert in_hand < COUNT
        # what was in hand is written before the next one dies: of two deaths a photo fails
        batch.read_lines(in_hand - told)
        told = in_hand
    status, err = batch.end()
    assert (status, len(batch.files())) == (0, COUNT)
    assert err[-1].startswith(f"nss-wgpu: {COUNT} images: {COUNT} written, 0 skipped, 0 failed")
    batch.assert_nothing_left()


@pytest.mark.parametrize("workers", ["processes", "threads"])
def test_files_that_find_no_room_fail_one_by_one(photos: Path, started: list[Batch], workers: str) -> None:
    for path in list(photos.iterdir())[5:]:
        path.unlink()
    batch = Batch(photos, "--mask", photos.parent / "masks", file_limit=300_000, workers=workers)
    started.append(batch)
    status, err = batch.end()
    assert status == 1
    failures = [line for line in err if "cannot be written: File too large" in line]
    assert len(failures) == 5
    assert batch.files() == []
    batch.assert_nothing_left()


@pytest.mark.parametrize("workers", ["processes", "threads"])
def test_a_folder_that_goes_is_the_failure_of_what_was_to_come(
    photos: Path, started: list[Batch], workers: str
) -> None:
    batch = Batch(photos, "--mask", photos.parent / "masks", workers=workers, waits=True)
    started.append(batch)
    batch.wait_for_files(2)
    while batch.out.exists():  # a file may come into it meanwhile
        shutil.rmtree(batch.out, ignore_errors=True)
    status, err = batch.end()
    assert status == 1
    lines = [line for line in err if ".cutout.png: " in line]
    assert lines
    assert all(re.search("does not exist|was moved or removed|No such file", line) for line in lines), lines
    batch.out.mkdir(exist_ok=True)
    batch.assert_nothing_left()
