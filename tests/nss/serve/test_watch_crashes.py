"""A server that is killed in the middle of its work, and what the next one makes of what it left."""

from __future__ import annotations

import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.removal.remover import Remover
from nss.serve.jobs.tasks import Task
from nss.serve.watch.leftovers import CRASHED, mark_of
from nss.serve.watch.watcher import Watcher
from tests.nss.serve.watched import Watch, run_task, write_photo
from tests.project import ROOT
from tests.wall_clock import wait_until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

PROGRAM = """
import os, queue, sys, threading, time
from pathlib import Path
from nss.serve.watch.settings import WatchSettings
from nss.serve.watch.watcher import Watcher
from tests.nss.serve.watched import BrightRemover, run_task

folder, exists, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
fsync, link = os.fsync, os.link

def hang():
    print("hangs", flush=True)
    time.sleep(600)

def half_written(descriptor):
    name = os.readlink(f"/proc/self/fd/{descriptor}")
    if where == "write" and os.path.basename(name).startswith(".nss-"):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        hang()
    fsync(descriptor)

def named(*arguments, **options):
    link(*arguments, **options)
    if where == "name":
        hang()

os.fsync, os.link = half_written, named
tasks = queue.Queue()
settings = WatchSettings(folder / "in", folder / "out", exists=exists, interval=0.05)
watcher = Watcher(settings, tasks.put, lambda line: print(line, file=sys.stderr, flush=True))
watcher.start()
remover = BrightRemover()
while True:
    run_task(tasks.get(), remover)
"""


def killed(folder: Path, exists: str, where: str) -> None:
    """Run a server in ``folder`` until it is in the middle of a file ("write"), or has named it ("name"); kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, exists, where],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "hangs\n"
        finally:
            process.kill()


def temporaries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".nss-"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of descriptors by /proc")
def test_a_server_that_is_killed_while_it_writes_leaves_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.photo("a.png")
    (watch.outbox / ".nss-0123456789abcdef.tmp").write_bytes(b"another's")
    killed(tmp_path, "skip", "write")
    assert len(temporaries(watch.outbox)) == 2
    assert not (watch.outbox / "a.cutout.png").exists()
    watch.start()
    assert temporaries(watch.outbox) == [".nss-0123456789abcdef.tmp"]
    assert watch.events() == [("a.png", "crashed")]
    assert watch.lines == [f"watching {watch.inbox}: 0 done already, 0 failed before, 1 to do"]
    watch.settle_and_work()
    with Image.open(watch.outbox / "a.cutout.png") as cutout:
        cutout.load()
    watch.stop()
    assert watch.start().events() == [("a.png", "done")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of descriptors by /proc")
def test_a_photo_at_which_the_server_was_killed_twice_is_left_alone(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.photo("a.png")
    for _ in range(2):
        killed(tmp_path, "skip", "write")
    watch.photo("b.png")
    watch.start()
    assert watch.lines == [
        f"{watch.inbox}/a.png: {CRASHED}; it is left alone until it changes",
        f"watching {watch.inbox}: 0 done already, 1 failed before ({watch.journal} says why), 1 to do",
    ]
    assert watch.settle_and_work() == ["b.cutout.png"]
    assert [entry["why"] for entry in watch.entries() if entry["photo"] == "a.png"] == [CRASHED]
    watch.photo("a.png", 5)
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of descriptors by /proc")
def test_a_cut_out_that_got_its_name_before_the_kill_is_done(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"exists": "rename"})
    watch.photo("a.png")
    killed(tmp_path, "rename", "name")
    assert watch.events()[-1] == ("a.png", "writing")
    watch.start()
    assert watch.lines == [f"watching {watch.inbox}: 1 done already, 0 failed before, 0 to do"]
    assert watch.settle_and_work() == ["a.cutout.png"]
    assert temporaries(watch.outbox) == []


def test_a_suspect_is_done_alone(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        watch.photo(name)
    assert watch.poll(2) == ["a.png", "b.png", "c.png", "d.png"]
    for task in watch.given[:2]:
        task.load(watch.remover)
    watch.kill()
    watch.start()
    assert watch.events() == [("a.png", "crashed"), ("b.png", "crashed")]
    assert watch.poll(2) == ["a.png"]  # of which the server may end again, and then no other is to blame
    assert watch.poll(3) == ["a.png"]
    run_task(watch.given.pop(), watch.remover)
    assert watch.poll() == ["b.png"]
    watch.given[0].load(watch.remover)
    watch.kill()
    watch.start()
    assert dict(watch.events()) == {"a.png": "done", "b.png": "failed"}
    assert watch.settle_and_work() == ["a.cutout.png", "c.cutout.png", "d.cutout.png"]


def test_a_suspect_that_has_changed_is_a_photo_like_others(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.poll(2)
    watch.given[0].load(watch.remover)
    watch.kill()
    watch.photo("a.png", 3)
    watch.photo("b.png")
    watch.start()
    assert sorted(watch.poll(2)) == ["a.png", "b.png"]
    watch.given[0].load(watch.remover)
    watch.given[1].load(watch.remover)
    watch.kill()
    watch.start()
    assert [entry["crashes"] for entry in watch.entries()] == [1, 1]
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png"]


def test_a_suspect_whose_cut_out_is_there_is_none(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.poll(2)
    watch.given[0].load(watch.remover)
    watch.kill()
    (watch.outbox / "a.cutout.png").write_bytes(b"by another way")
    watch.start()
    assert watch.entries() == []
    assert watch.poll(3) == []


def test_what_was_given_and_not_begun_is_no_suspect(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    assert watch.poll(2) == ["a.png"]
    watch.kill()
    assert watch.start().entries() == []


def test_temporary_files_are_removed_where_cut_outs_go_and_nowhere_else(tmp_path: Path) -> None:
    watch = Watch(tmp_path, recursive=True, options={"exists": "overwrite"})
    watch.photo("x/a.png")
    watch.photo("y/b.png")
    watch.start()
    watch.poll(2)
    (watch.outbox / "y").mkdir()
    (tmp_path / "linked").mkdir()
    (watch.outbox / "y" / "b.cutout.png").symlink_to(tmp_path / "linked" / "b.png")
    for task in watch.given:
        task.load(watch.remover)
    mark = f".nss-{mark_of(watch.outbox)}"
    (watch.outbox / "x").mkdir()
    (watch.outbox / "z").mkdir()
    ours = [folder / f"{mark}00.tmp" for folder in (watch.outbox, watch.outbox / "x", tmp_path / "linked")]
    others = [watch.outbox / "z" / f"{mark}00.tmp", watch.outbox / ".nss-00.tmp", watch.inbox / f"{mark}00.tmp"]
    for path in ours + others:
        path.touch()
    watch.kill()
    (watch.inbox / "y" / "b.png").unlink()
    watch.start()
    assert [path.exists() for path in ours] == [False] * 3
    assert [path.exists() for path in others] == [True] * 3


@contextmanager
def pipeline(remover: object, threads: int = 2) -> Iterator[queue.Queue[Task | None]]:
    """Threads that do tasks as they come."""
    tasks: queue.Queue[Task | None] = queue.Queue()

    def serve() -> None:
        while (task := tasks.get()) is not None:
            run_task(task, remover)

    running = [threading.Thread(target=serve) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield tasks
    finally:
        for _ in running:
            tasks.put(None)
        for thread in running:
            thread.join()


class Clock:
    """By which photos are of the future: three intervals they must rest. `held`, it stands behind two."""

    def __init__(self, interval: float) -> None:
        self._interval, self._lost, self._latest = interval, 0.0, math.inf

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return min(time.monotonic() - self._lost, self._latest)

    @contextmanager
    def held(self) -> Iterator[None]:
        """However long the block takes, what comes and goes in it does not settle."""
        self._latest = self.monotonic() + 2 * self._interval
        yield
        self._lost = time.monotonic() - self.monotonic()
        self._latest = math.inf


def test_photos_that_come_while_threads_are_at_work(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"interval": 0.02, "exists": "rename"})
    clock = Clock(0.02)
    rng = np.random.default_rng(3)
    names = [f"{number:02}.png" for number in range(60)]
    with pipeline(watch.remover, threads=3) as tasks:
        watcher = Watcher(watch.settings, tasks.put, watch.lines.append, at_once=4, clock=clock)
        watcher.start()
        for name in names:
            choice = rng.integers(4)
            write_photo(tmp_path / "whole.png")
            whole = (tmp_path / "whole.png").read_bytes()
            with clock.held():
                if choice == 0:
                    (tmp_path / "whole.png").rename(watch.inbox / name)
                elif choice == 1:
                    for start in range(0, len(whole), 30):
                        with (watch.inbox / name).open("ab") as file:
                            file.write(whole[start : start + 30])
                elif choice == 2:
                    (watch.inbox / name).write_bytes(whole)
                else:
                    (watch.inbox / name).write_bytes(whole)
                    (watch.inbox / f"gone-{name}").write_bytes(whole)
                    (watch.inbox / f"gone-{name}").unlink()
        wait_until(lambda: len(watch.outputs) >= len(names) and len(watcher.journal.entries) >= len(names))
        watcher.stop()
    assert watcher.journal._file is None
    assert watch.outputs == [name.replace(".png", ".cutout.png") for name in names]
    assert watch.lines[1:] == []


def test_the_built_in_model_does_the_photos_of_a_folder(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"interval": 0.05})
    with Remover("u2netp", backend="numpy", quiet=True) as remover, pipeline(remover) as tasks:
        watcher = Watcher(watch.settings, tasks.put, watch.lines.append)
        watcher.start()
        with Image.open(ROOT / "examples" / "chelsea.png") as photo:
            photo.convert("RGB").resize((160, 120)).save(tmp_path / "cat.jpg")
        (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff half a photo")
        for name in ("cat.jpg", "bad.jpg"):
            (tmp_path / name).rename(watch.inbox / name)
        wait_until(lambda: watch.outputs and len(watch.lines) == 2)
        watcher.stop()
        expected = remover.remove(watch.inbox / "cat.jpg").rgba
    assert watch.outputs == ["cat.cutout.png"]
    assert "bad.jpg" in watch.lines[1]
    with Image.open(watch.outbox / "cat.cutout.png") as cutout:
        assert (np.asarray(cutout) == expected).all()
