"""What fails, what is tried again, and folders that go away for a while."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nss.errors import GpuUnavailableError, ImageError, NssError, UsageError
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.serve.jobs.tasks import Cancelled
from nss.serve.problem import Problem
from nss.serve.watch import folders
from nss.serve.watch.retries import PAUSES_S, is_transient
from tests.nss.serve.watched import BrightRemover, Watch


class FailingRemover(BrightRemover):
    """Raises these, one a photo, and goes well afterwards."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)

    def infer(self, prepared: PreparedPhoto) -> InferredMask:
        if self.errors:
            raise self.errors.pop(0)
        return super().infer(prepared)


def damaged(watch: Watch, name: str = "bad.png") -> Path:
    path = watch.photo(name)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def test_a_damaged_photo_is_its_own_failure_and_left_alone(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("good.png")
    damaged(watch)
    assert watch.settle_and_work() == ["good.cutout.png"]
    (line,) = watch.lines[1:]
    assert line.startswith(f"{watch.inbox}/bad.png: truncated or damaged PNG image")
    (entry,) = (entry for entry in watch.entries() if entry["event"] == "failed")
    assert (entry["photo"], entry["why"]) == ("bad.png", line)
    for _ in range(2):
        assert watch.poll(9) == []
        watch.stop()
        watch.start()
        assert watch.lines[-1] == (
            f"watching {watch.inbox}: 1 done already, 1 failed before ({watch.journal} says why), 0 to do"
        )
    watch.photo("bad.png", 7)
    assert watch.settle_and_work() == ["bad.cutout.png", "good.cutout.png"]


def test_nothing_found_is_a_failure_where_it_is_to_be(tmp_path: Path) -> None:
    class Blind(BrightRemover):
        def infer(self, prepared: PreparedPhoto) -> InferredMask:
            inferred = super().infer(prepared)
            inferred.raw[:] = 0.1
            return inferred

    watch = Watch(tmp_path, options={"fail_empty": True}, remover=Blind()).start()
    watch.photo()
    assert watch.settle_and_work() == []
    assert watch.events()[-1] == ("a.png", "failed")
    assert len(watch.lines) == 2


@pytest.mark.parametrize(
    "error",
    [NssError("the GPU was lost"), GpuUnavailableError("no GPU"), MemoryError()],
    ids=["a lost GPU", "no GPU", "no memory"],
)
def test_what_is_not_the_photos_fault_is_tried_again_after_a_pause(tmp_path: Path, error: Exception) -> None:
    watch = Watch(tmp_path, remover=FailingRemover(error, error)).start()
    watch.photo()
    assert watch.poll(2) == ["a.png"]
    for pause_s in PAUSES_S[:2]:
        assert watch.work() == []
        assert watch.lines[-1].endswith(f"; it is tried again in {pause_s:.0f} s")
        assert watch.poll(int(pause_s) - 1) == []
        assert watch.poll(2) == ["a.png"]
    assert watch.work() == ["a.cutout.png"]
    assert watch.events()[-1] == ("a.png", "done")
    assert len(watch.lines) == 3


def test_what_fails_for_long_is_noted_and_others_go_one_at_a_time(tmp_path: Path) -> None:
    watch = Watch(tmp_path, remover=FailingRemover(*[MemoryError()] * 5)).start()
    for name in ("a.png", "b.png", "c.png"):
        watch.photo(name)
    assert watch.poll(2) == ["a.png", "b.png", "c.png"]
    watch.work()
    given = set()
    while not watch.outputs:
        watch.poll(200)
        given.add(len(watch.names))
        watch.work()
    assert max(given) == 1
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png", "c.cutout.png"]
    watch.stop()
    watch = Watch(tmp_path, remover=FailingRemover(*[MemoryError()] * 4)).start()
    watch.photo("d.png")
    for _ in range(4):
        assert watch.poll(200) == ["d.png"]
        watch.work()
    assert watch.poll(200) == []
    assert watch.lines[-1] == (
        f"{watch.inbox}/d.png: there is not enough memory for this photo now; try again later, or reduce it first"
    )
    assert watch.events()[-1] == ("d.png", "failed")


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path).start()
    watch.photo()
    assert watch.poll(2) == ["a.png"]
    fsync = os.fsync

    def full(_: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert watch.work() == []
    assert watch.lines[1:] == [
        f"{watch.inbox}/a.png: {watch.outbox}/a.cutout.png: cannot be written: No space left on device; "
        "it is tried again in 5 s"
    ]
    assert watch.poll(7) == ["a.png"]
    assert watch.work() == ["a.cutout.png"]


def error_with(cause: BaseException | None, kind: type[Exception] = ImageError) -> Exception:
    error = kind("x")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "stage", "transient"),
    [
        (error_with(OSError(errno.EIO, "")), "decode", True),
        (error_with(OSError("broken data stream")), "decode", False),
        (error_with(OSError(errno.EACCES, "")), "decode", False),
        (error_with(MemoryError()), "decode", True),
        (error_with(OSError("encoder error -2")), "finish", True),
        (error_with(OSError(errno.EDQUOT, "")), "finish", True),
        (error_with(OSError(errno.EACCES, "")), "finish", False),
        (error_with(OSError(errno.ENAMETOOLONG, "")), "finish", False),
        (error_with(None), "finish", False),
        (error_with(None, UsageError), "decode", False),
        (ValueError("a bug"), "network", False),
        (Problem(500, "the server's pipeline failed beside it"), "network", True),
        (Problem(422, "no photo"), "decode", False),
    ],
)
def test_which_failures_are_the_photos_own(error: Exception, stage: Any, transient: bool) -> None:
    assert is_transient(error, stage) is transient


def test_a_bug_fails_one_photo_in_one_line(tmp_path: Path) -> None:
    watch = Watch(tmp_path, remover=FailingRemover(ValueError("of a\nkind"))).start()
    watch.photo("a.png")
    watch.photo("b.png")
    assert watch.settle_and_work() == ["b.cutout.png"]
    assert watch.lines[1:] == [f"{watch.inbox}/a.png: unexpected ValueError: of a kind (please report it)"]


def test_a_cancelled_photo_comes_again(tmp_path: Path) -> None:
    watch = Watch(tmp_path, remover=FailingRemover(Cancelled())).start()
    watch.photo()
    assert watch.settle_and_work() == ["a.cutout.png"]
    assert watch.lines[1:] == []


@pytest.mark.parametrize("which", ["in", "out"])
@pytest.mark.parametrize("exists", ["skip", "overwrite", "rename"])
def test_a_folder_that_is_away_for_a_while(tmp_path: Path, which: str, exists: str) -> None:
    watch = Watch(tmp_path, options={"exists": exists}).start()
    watch.photo("a.png")
    watch.settle_and_work()
    watch.photo("b.png")
    assert watch.poll(2) == ["b.png"]
    folder, away = tmp_path / which, tmp_path / "away"
    folder.rename(away)
    watch.work()
    assert watch.poll(9) == []
    assert not folder.exists()
    assert watch.lines[1:] == [f"{folder}: is not there; waiting for it"]
    away.rename(folder)
    inode = (watch.outbox / "a.cutout.png").stat().st_ino
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png"]
    assert watch.lines[2:] == [f"{folder}: is back"]
    assert (watch.outbox / "a.cutout.png").stat().st_ino == inode
    assert sorted(watch.watcher.journal.entries) == ["a.png", "b.png"]


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The folders at which file systems are mounted; the root is one."""
    points = {"/"}
    monkeypatch.setattr(folders.os.path, "ismount", lambda path: str(path) in points)
    return points


@pytest.mark.parametrize("which", ["in", "out"])
def test_the_bare_folder_of_a_share_that_is_not_mounted(tmp_path: Path, mounts: set[str], which: str) -> None:
    watch = Watch(tmp_path, options={"exists": "overwrite"})
    folder, away = tmp_path / which, tmp_path / "away"
    mounts.add(str(folder.resolve()))
    watch.start()
    watch.photo("a.png")
    watch.settle_and_work()
    mounts.remove(str(folder.resolve()))
    folder.rename(away)
    folder.mkdir()
    if which == "out":
        watch.photo("b.png")
    assert watch.poll(9) == []
    assert watch.lines[1:] == [f"{folder}: is not mounted any more (at {folder.resolve()}); waiting for it"]
    assert list(folder.iterdir()) == []
    folder.rmdir()
    shutil.copytree(away, folder, copy_function=shutil.copy2)  # mounted again, it has other numbers
    mounts.add(str(folder.resolve()))
    watch.photo("b.png")
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png"]
    assert [event for event in watch.events() if event[1] == "done"] == [("a.png", "done"), ("b.png", "done")]


@pytest.mark.parametrize("which", ["in", "out"])
def test_a_share_that_is_mounted_after_the_start(tmp_path: Path, mounts: set[str], which: str) -> None:
    watch = Watch(tmp_path).start()
    folder = tmp_path / which
    watch.poll()
    (tmp_path / "share").mkdir()
    folder.rename(tmp_path / "bare")  # whose number no other folder gets as long as it is there
    (tmp_path / "share").rename(folder)
    mounts.add(str(folder.resolve()))
    watch.photo("a.png")
    assert watch.settle_and_work() == ["a.cutout.png"]
    assert watch.lines[1:] == []
    mounts.remove(str(folder.resolve()))
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert watch.poll(2) == []
    assert len(watch.lines) == 2


def test_an_empty_folder_makes_nothing_forgotten_and_one_that_is_not_does(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"exists": "overwrite"}).start()
    watch.photo("a.png")
    watch.settle_and_work()
    (watch.inbox / "a.png").rename(tmp_path / "a.png")
    watch.poll(9)
    watch.stop()
    watch.start().poll(9)
    assert list(watch.watcher.journal.entries) == ["a.png"]
    watch.photo("b.png")
    watch.poll(2)
    assert list(watch.watcher.journal.entries) == ["a.png"]
    watch.poll(2)
    assert list(watch.watcher.journal.entries) == []
    watch.work()
    watch.stop()
    watch.start()
    assert [photo for photo, _ in watch.events()] == ["b.png"]


def test_after_the_stop_nothing_is_given_and_what_was_is_finished(tmp_path: Path) -> None:
    watch = Watch(tmp_path, at_once=2).start()
    for name in ("a.png", "b.png", "c.png"):
        watch.photo(name)
    assert watch.poll(2) == ["a.png", "b.png"]
    watch.stop()
    watch.stop()
    assert watch.watcher.journal._file is not None
    assert watch.work() == ["a.cutout.png", "b.cutout.png"]
    assert watch.watcher.journal._file is None
    assert sorted(watch.events()) == [
        *(("a.png", "begun"), ("a.png", "done"), ("a.png", "writing")),
        *(("b.png", "begun"), ("b.png", "done"), ("b.png", "writing")),
    ]
    assert watch.start().settle_and_work() == ["a.cutout.png", "b.cutout.png", "c.cutout.png"]


def test_what_fails_by_the_stop_is_not_noted(tmp_path: Path) -> None:
    watch = Watch(tmp_path, remover=FailingRemover(UsageError("this Remover is closed; make a new one"))).start()
    watch.photo()
    watch.poll(2)
    watch.stop()
    watch.work()
    assert watch.lines[1:] == []
    assert watch.start().settle_and_work() == ["a.cutout.png"]


def test_a_look_that_goes_wrong_is_one_line_and_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nss.serve.watch import watcher
    from tests.wall_clock import wait_until

    watch = Watch(tmp_path, options={"interval": 0.01})
    watch.photo()
    real: Callable[..., Any] = watcher.scan

    def scan(*arguments: Any, **options: Any) -> Any:
        if not watch.lines:
            return real(*arguments, **options)
        if len(watch.lines) == 1:
            raise ValueError("odd")
        return real(*arguments, **options)

    monkeypatch.setattr(watcher, "scan", scan)
    running = watcher.Watcher(watch.settings, watch.given.append, watch.lines.append)
    running.start()
    try:
        wait_until(lambda: watch.given)
    finally:
        running.stop()
    assert watch.lines[1:] == [f"{watch.inbox}: unexpected ValueError: odd (please report it)"]
