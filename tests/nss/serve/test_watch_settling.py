"""When a photo that appears has settled, and is given to the pipeline."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nss.serve.watch.scan import scan
from nss.serve.watch.settling import DOUBT, PATIENCE
from tests.nss.serve.watched import LONG_AGO_NS, Watch, write_photo
from tests.wall_clock import computed_within


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path).start()


def now_ns(watch: Watch, ahead_s: float = 0) -> int:
    """A time of modification by the clock of the watch."""
    return int((watch.clock.time() + ahead_s) * 1e9)


def test_a_photo_renamed_into_place_is_given_at_the_second_look(watch: Watch) -> None:
    write_photo(watch.folder / "a.png")
    os.utime(watch.folder / "a.png", ns=(LONG_AGO_NS, LONG_AGO_NS))
    (watch.folder / "a.png").rename(watch.inbox / "a.png")
    assert watch.poll() == []
    assert watch.poll() == ["a.png"]
    assert watch.work() == ["a.cutout.png"]


def test_two_looks_in_one_interval_are_not_enough(watch: Watch) -> None:
    watch.photo()
    assert watch.poll(5, seconds=0.2) == []
    assert watch.poll(1, seconds=0.3) == ["a.png"]


def test_a_photo_that_is_copied_in_slowly_is_given_once_it_is_whole(watch: Watch) -> None:
    write_photo(watch.folder / "whole.png")
    content = (watch.folder / "whole.png").read_bytes()
    step = len(content) // 5 + 1
    for start in range(0, len(content), step):
        with (watch.inbox / "a.png").open("ab") as file:
            file.write(content[start : start + step])
        os.utime(watch.inbox / "a.png", ns=(LONG_AGO_NS, LONG_AGO_NS + start))
        assert watch.poll() == []
    assert watch.poll() == ["a.png"]
    assert watch.work() == ["a.cutout.png"]
    assert watch.lines[1:] == []


def test_a_photo_whose_size_is_set_first_and_whose_content_comes_later(watch: Watch) -> None:
    write_photo(watch.folder / "whole.png")
    content = (watch.folder / "whole.png").read_bytes()
    for part in (0, len(content) // 2, len(content)):
        (watch.inbox / "a.png").write_bytes(content[:part].ljust(len(content), b"\0"))
        os.utime(watch.inbox / "a.png", ns=(LONG_AGO_NS, LONG_AGO_NS + part))
        assert watch.poll() == []
    assert watch.poll() == ["a.png"]


def test_a_photo_written_in_two_bursts_is_done_as_it_is_at_last(watch: Watch) -> None:
    whole = watch.photo("whole.png").read_bytes()
    (watch.inbox / "whole.png").unlink()
    half = watch.inbox / "a.png"
    half.write_bytes(whole[: len(whole) // 2])
    assert watch.poll(2) == ["a.png"]
    assert watch.work() == []  # half a photo, which rested for too long
    assert "damaged" in watch.lines[-1]
    assert watch.events()[-1] == ("a.png", "failed")
    assert watch.poll(5) == []
    with half.open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    assert watch.poll() == []
    assert watch.poll() == ["a.png"]
    assert watch.work() == ["a.cutout.png"]
    assert watch.events()[-1] == ("a.png", "done")


def test_a_second_burst_after_the_photo_was_given_is_no_failure(watch: Watch) -> None:
    whole = watch.photo("whole.png").read_bytes()
    (watch.inbox / "whole.png").unlink()
    (watch.inbox / "a.png").write_bytes(whole[: len(whole) // 2])
    assert watch.poll(2) == ["a.png"]
    (watch.inbox / "a.png").write_bytes(whole[: -len(whole) // 4])
    assert watch.work() == []
    assert watch.lines[1:] == []
    (watch.inbox / "a.png").write_bytes(whole)
    assert watch.settle_and_work() == ["a.cutout.png"]


def test_a_photo_that_vanishes_between_looks_or_before_its_turn_is_no_failure(watch: Watch) -> None:
    watch.photo("a.png")
    watch.poll()
    (watch.inbox / "a.png").unlink()
    assert watch.poll(3) == []
    watch.photo("b.png")
    assert watch.poll(2) == ["b.png"]
    (watch.inbox / "b.png").unlink()
    assert watch.work() == []
    assert watch.poll(3) == []
    assert watch.lines[1:] == []
    watch.photo("b.png")
    assert watch.settle_and_work() == ["b.cutout.png"]


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -0.5], ids=["now", "a share's clock an hour ahead", "just now"])
def test_a_photo_of_now_or_of_the_future_has_to_rest_longer(watch: Watch, ahead_s: float) -> None:
    watch.photo(mtime_ns=now_ns(watch, ahead_s + DOUBT if ahead_s <= 0 else ahead_s))
    assert watch.poll(DOUBT) == []
    assert watch.poll() == ["a.png"]


def test_a_share_whose_clock_is_behind_needs_two_looks(watch: Watch) -> None:
    watch.photo(mtime_ns=now_ns(watch, -3600))
    assert watch.poll(2) == ["a.png"]


def test_an_empty_photo_is_waited_for_and_fails_at_last(watch: Watch) -> None:
    (watch.inbox / "a.png").touch()
    assert watch.poll(PATIENCE) == []
    assert watch.poll() == ["a.png"]
    watch.work()
    assert watch.lines[1:] == [f"{watch.inbox}/a.png: the file is empty (0 bytes)"]


def test_a_photo_that_cannot_be_opened_is_waited_for(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.photo()

    def refuse(*_: object) -> int:  # as Windows and Samba do while another program writes
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert watch.poll(5) == []
    assert watch.poll() == ["a.png"]


def test_what_a_share_remembers_of_a_photo_is_not_taken_for_its_state(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.photo()
    monkeypatch.setattr("nss.serve.watch.watcher.opens", lambda *_: False)  # opened, it is another one
    assert watch.poll(5) == []
    monkeypatch.undo()
    assert watch.poll() == ["a.png"]


def test_a_photo_that_changes_while_it_waits_for_room_settles_once_more(tmp_path: Path) -> None:
    watch = Watch(tmp_path, at_once=1).start()
    watch.photo("a.png")
    watch.photo("b.png")
    assert watch.poll(2) == ["a.png"]
    watch.photo("b.png", 3)
    assert watch.work() == ["a.cutout.png"]
    assert watch.poll() == []
    assert watch.poll() == ["b.png"]


def test_there_are_never_more_in_work_than_there_is_room_for(tmp_path: Path) -> None:
    watch = Watch(tmp_path, at_once=3).start()
    for number in range(10):
        watch.photo(f"{number}.png")
    assert watch.poll(5) == ["0.png", "1.png", "2.png"]
    assert len(watch.work()) == 10
    assert watch.given == []


def test_a_pipeline_without_room_gets_the_photo_once_more(tmp_path: Path) -> None:
    refusals = 2
    given = []

    def put(task: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RuntimeError("the queue is full")
        given.append(task)

    watch = Watch(tmp_path, put=put).start()
    watch.photo("a.png")
    watch.photo("b.png")
    watch.poll(3)
    assert given == []
    watch.poll()
    assert len(given) == 2
    assert watch.lines[1:] == []


@pytest.mark.wall_clock
def test_a_look_at_ten_thousand_known_photos_is_quick(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    for number in range(10_000):
        (watch.inbox / f"IMG_{number:05}.jpg").touch()
    for photo, state in scan(watch.inbox, recursive=False).photos.items():
        watch.watcher._hands.deal_with(photo, state)
    watch.poll()
    with computed_within(0.5):
        watch.poll()
    assert watch.given == []
