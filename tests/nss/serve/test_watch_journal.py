"""The journal beside the folder of cut-outs: what it says, and what may become of it."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nss.errors import UsageError
from nss.serve.watch import journal as journals
from nss.serve.watch.journal import Entry, Journal, journal_path
from tests.nss.serve.watched import Watch

DONE = Entry("a.png", 7, 12345678901234567, "done", ".cutout.png", "a.cutout.png")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "j", tmp_path)


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.path, journal.path.parent)


def test_what_is_written_is_read(journal: Journal) -> None:
    entries = [
        DONE,
        replace(DONE, photo="below/ü\n\u2028 \udcff.png", event="failed", why='says "no"', output=""),
        replace(DONE, photo="c.png", event="writing", file=(3, 2**63), crashes=1, mtime_ns=0, size=0),
    ]
    for entry in entries:
        journal.write(entry, lasting=True)
    assert reopened(journal).all() == entries


def test_an_end_is_on_the_disk_before_it_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    entry = Entry(photo="a.jpg", size=1, mtime_ns=2, event="begun", kind=".cutout.png")
    journal.write(entry)
    assert not synced, "a beginning is told often, and a disk takes its time"
    journal.write(replace(entry, event="done"), lasting=True)
    assert len(synced) == 1


def test_the_last_line_of_a_photo_holds(journal: Journal) -> None:
    for event in ("begun", "writing", "done", "withdrawn", "failed"):
        journal.write(replace(DONE, event=event))
    journal.write(replace(DONE, photo="b.png", event="begun"))
    journal.write(replace(DONE, photo="b.png", event="withdrawn"))
    assert reopened(journal).all() == [replace(DONE, event="failed")]


def test_a_person_can_read_it(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    path = watch.photo("größe.png")
    path.write_bytes(b"no photo")
    watch.settle_and_work()
    line = watch.journal.read_text("utf-8").splitlines()[-1]
    assert '"photo": "größe.png"' in line
    assert f'"why": "{watch.inbox}/größe.png: is not an image (' in line
    assert line.startswith('{"time": "20')


GARBAGE = (
    b"\n", b"garbage\n", b"[1]\n", b"{}\n", b"\xff\xfe\0\n",
    b'{"photo": 3, "size": 1, "mtime_ns": 1, "event": "done"}\n',
    b'{"photo": "x", "size": "1", "mtime_ns": 1, "event": "done"}\n', b"[" * 5000 + b"\n", b"x" * 200_000 + b"\n",
    b'{"photo": "x", "size": 1, "mtime_ns": 1, "event": "eaten"}\n', b"null\n", b"\0" * 4096 + b"\n",
    b'{"photo": "x", "size": 1, "mtime_ns": 1, "event": "done", "file": [1]}\n',
    b'{"photo": "x", "size": 1, "mtime_ns": 1, "event": ["done"]}\n',
)  # fmt: skip


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    good = [replace(DONE, photo=f"{number}.png") for number in range(len(GARBAGE))]
    path = tmp_path / "j"
    path.write_bytes(b"".join(entry.line() + garbage for entry, garbage in zip(good, GARBAGE, strict=True)))
    journal = Journal(path, tmp_path)
    assert journal.all() == good
    assert journal.unreadable == len(GARBAGE) - 2  # an empty line and one of zeros say that a disk was slow


def test_half_a_last_line_is_that_of_a_kill(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"exists": "overwrite"}).start()
    watch.photo("a.png")
    watch.photo("b.png")
    watch.settle_and_work()
    watch.stop()
    watch.journal.write_bytes(watch.journal.read_bytes()[:-30])
    watch.start()
    assert len(watch.lines) == 2
    assert ": 1 done already, 0 failed before, 1 to do" in watch.lines[-1]
    assert watch.settle_and_work() == ["a.cutout.png", "b.cutout.png"]
    assert len(watch.entries()) == len(watch.journal.read_bytes().splitlines())


def test_garbage_in_the_journal_stops_no_server_and_is_said(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.journal.write_bytes(b"a\nb\nc")
    watch.photo()
    watch.start()
    assert watch.lines[0] == f"{watch.journal}: 2 lines cannot be read, and are passed over"
    assert watch.settle_and_work() == ["a.cutout.png"]


def test_it_is_written_anew_at_the_start_and_when_it_is_mostly_of_the_past(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SPARE", 10)
    for _ in range(13):
        journal.write(DONE)
    assert journal.mend() is None
    assert len(journal.path.read_bytes().splitlines()) == 1
    for _ in range(3):
        journal.write(DONE)
        assert journal.mend() is None
    assert len(journal.path.read_bytes().splitlines()) == 4
    assert journal.compact() is None
    assert len(journal.path.read_bytes().splitlines()) == 1
    assert sorted(path.name for path in journal.path.parent.iterdir()) == ["j"]


def test_one_that_was_removed_comes_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.settle_and_work()
    watch.journal.unlink()
    watch.poll()
    assert watch.events() == [("a.png", "done")]
    with pytest.raises(UsageError, match="another server"):
        Journal(watch.journal, watch.outbox)


def test_what_a_full_disk_does_not_take_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.poll(2)

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file: Any = watch.watcher.journal._file
    watch.watcher.journal._file = Stub(file, full)  # type: ignore[assignment]
    assert watch.work() == ["a.cutout.png"]
    assert watch.entries() == []
    assert watch.lines[1:] == []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: full(None))
        watch.poll(3)
    assert watch.lines[1:] == [f"{watch.journal}: cannot be written: No space left on device"]
    watch.poll()
    assert watch.events() == [("a.png", "done")]


class Stub:
    """A file that takes nothing."""

    def __init__(self, file: Any, write: Any) -> None:
        self.write, self.fileno, self.close = write, file.fileno, file.close


def test_where_nothing_may_be_written_beside_the_folder_it_lies_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(tmp_path)
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != tmp_path.resolve() and access(path, mode)
    )  # as nobody in a container
    watch.start()
    watch.photo()
    watch.settle_and_work()
    assert watch.outputs == [".nss-watch.jsonl", "a.cutout.png"]
    assert not watch.journal.exists()


def test_what_is_no_file_is_no_journal(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.journal.mkdir()
    with pytest.raises(UsageError, match=r"out.nss-watch.jsonl: what is known of .*out goes there, and .* directory"):
        watch.start()


def test_a_link_to_the_folder_has_the_same_journal(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    assert journal_path(tmp_path / "link") == journal_path(tmp_path / "out") == tmp_path / "out.nss-watch.jsonl"


def test_a_file_system_without_locks_is_one_server_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(journals.fcntl, "flock", refuse)
    Journal(tmp_path / "j", tmp_path)
    monkeypatch.setattr(journals, "fcntl", None)
    journal = Journal(tmp_path / "k", tmp_path)
    journal.write(DONE)
    assert journal.compact() is None
    journal.write(replace(DONE, photo="b.png"))
    assert [json.loads(line)["photo"] for line in journal.path.read_text().splitlines()] == ["a.png", "b.png"]
