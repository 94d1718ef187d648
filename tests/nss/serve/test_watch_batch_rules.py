"""What the watch takes and how it names things: as the batch does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.cutouts.compose import Composition
from nss.errors import UsageError
from nss.files.formats import Encoding
from nss.serve.watch.journal import Journal
from nss.serve.watch.settings import WatchSettings, check
from tests.nss.serve.watched import Watch


def test_cut_outs_are_those_of_the_batch(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo()
    assert watch.settle_and_work() == ["a.cutout.png"]
    with Image.open(watch.outbox / "a.cutout.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (32, 24))
        alpha = np.asarray(cutout)[..., 3]
    assert alpha[12, 16] == 255
    assert alpha[1, 1] == 0


def test_what_is_no_photo_is_passed_over(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    for name in (".hidden.png", "b.cutout.png", "c.mask.tiff", "d.cutout-2.png", ".git/e.png", "below/f.png"):
        watch.photo(name)
    for name in ("notes.txt", "g.png.part", "h.jpg.crdownload", "b.cutout.png.json", "bare"):
        (watch.inbox / name).write_bytes(b"x")
    (watch.inbox / "folder.png").mkdir()
    (watch.inbox / "nowhere.png").symlink_to("nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(watch.inbox / "pipe.png")
    assert watch.settle_and_work() == []
    assert len(watch.lines) == 1


def test_the_tree_is_kept(tmp_path: Path) -> None:
    watch = Watch(tmp_path, recursive=True).start()
    for name in ("a.png", "x/a.png", "x/y/b.png", ".hidden/c.png", "z.png/d.png"):
        watch.photo(name)
    (watch.inbox / "link").symlink_to(watch.inbox / "x")
    assert watch.settle_and_work() == ["a.cutout.png", "x/a.cutout.png", "x/y/b.cutout.png", "z.png/d.cutout.png"]


def test_a_directory_that_cannot_be_read_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path, recursive=True).start()
    watch.photo("x/a.png")
    watch.settle_and_work()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    watch.photo("b.png")
    watch.settle_and_work()
    assert watch.lines[1:] == [f"{watch.inbox}/x: cannot be read: Permission denied; it is passed over"]
    (watch.inbox / "b.png").unlink()
    watch.photo("c.png")
    watch.settle_and_work()
    watch.poll(9)
    assert sorted(watch.watcher.journal.entries) == ["c.png", "x/a.png"]


def test_photos_of_one_stem_keep_their_extensions(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.photo("a.webp")
    watch.photo("a.png.png")
    assert watch.settle_and_work() == ["a.png.cutout.png", "a.png.png.cutout.png", "a.webp.cutout.png"]


def test_a_photo_that_comes_later_takes_no_name_of_an_earlier_one(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.settle_and_work()
    watch.photo("a.webp")
    assert watch.settle_and_work() == ["a.cutout.png", "a.webp.cutout.png"]
    watch.stop()
    watch.start()
    assert watch.settle_and_work() == ["a.cutout.png", "a.webp.cutout.png"]
    assert ": 2 done already, 0 failed before, 0 to do" in watch.lines[-1]


def test_of_a_photo_that_came_meanwhile_the_name_does_not_hide_it(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.settle_and_work()
    watch.stop()
    watch.photo("a.webp")
    watch.start()
    assert ": 1 done already, 0 failed before, 1 to do" in watch.lines[-1]
    assert watch.settle_and_work() == ["a.cutout.png", "a.webp.cutout.png"]


def test_what_has_a_cut_out_is_skipped_and_a_new_photo_of_its_name_said(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.photo("a.png")
    (watch.outbox / "a.cutout.png").write_bytes(b"theirs")
    (watch.outbox / "b.cutout.png").write_bytes(b"theirs")
    watch.start()
    assert ": 1 done already, 0 failed before, 0 to do" in watch.lines[-1]
    watch.photo("b.png")
    assert watch.poll(4) == []
    assert watch.lines[1:] == [f"{watch.inbox}/b.png skipped: {watch.outbox}/b.cutout.png exists"]
    assert (watch.outbox / "b.cutout.png").read_bytes() == b"theirs"


def test_with_fail_an_output_that_exists_is_a_failure(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"exists": "fail"})
    watch.photo("a.png")
    (watch.outbox / "a.cutout.png").write_bytes(b"theirs")
    watch.start().poll(3)
    assert watch.lines[1:] == [
        f"{watch.inbox}/a.png: {watch.outbox}/a.cutout.png: exists already; pass 'overwrite' to replace it"
    ]
    assert (watch.outbox / "a.cutout.png").read_bytes() == b"theirs"


@pytest.mark.parametrize("exists", ["overwrite", "rename"])
def test_a_photo_is_not_done_twice_by_looks_or_starts(tmp_path: Path, exists: str) -> None:
    watch = Watch(tmp_path, options={"exists": exists}).start()
    watch.photo("a.png")
    assert watch.settle_and_work() == ["a.cutout.png"]
    for _ in range(2):
        assert watch.poll(5) == []
        watch.stop()
        watch.start()
        assert ": 1 done already" in watch.lines[-1]
    before = (watch.outbox / "a.cutout.png").stat().st_ino
    watch.photo("a.png", 40)
    outputs = watch.settle_and_work()
    assert outputs == (["a.cutout.png"] if exists == "overwrite" else ["a.cutout-2.png", "a.cutout.png"])
    assert ((watch.outbox / "a.cutout.png").stat().st_ino != before) == (exists == "overwrite")


def test_with_other_outputs_photos_are_done_once_more(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    watch.settle_and_work()
    watch.stop()
    watch.options = {"composition": Composition(mask_only=True), "encoding": Encoding("tiff")}
    watch.start()
    assert watch.settle_and_work() == ["a.cutout.png", "a.mask.tif"]


def test_records_lie_beside_the_cut_outs(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"sidecar": True, "encoding": Encoding("webp"), "words": str.upper}).start()
    watch.photo("a.png")
    assert watch.settle_and_work() == ["a.cutout.webp", "a.cutout.webp.json"]
    record = json.loads((watch.outbox / "a.cutout.webp.json").read_text())
    assert record["input"]["path"] == str(watch.inbox / "a.png")
    assert watch.entries()[-1]["output"] == "a.cutout.webp"


def test_links_to_photos_are_done_and_those_within_the_folder_once(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    watch.photo("a.png")
    (watch.inbox / "b.png").symlink_to("a.png")
    watch.photo("../elsewhere.png")
    (watch.inbox / "c.png").symlink_to(tmp_path / "elsewhere.png")
    assert watch.settle_and_work() == ["a.cutout.png", "c.cutout.png"]


def test_a_link_among_the_cut_outs_leads_to_no_photo_that_is_overwritten(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"exists": "overwrite"}).start()
    content = watch.photo("a.png").read_bytes()
    watch.photo("b.png")
    (watch.outbox / "b.cutout.png").symlink_to(watch.inbox / "a.png")
    (watch.outbox / "a.cutout.png").mkdir()
    watch.settle_and_work()
    assert (watch.inbox / "a.png").read_bytes() == content
    assert sorted(watch.lines[1:]) == [
        f"{watch.inbox}/a.png: {watch.outbox}/a.cutout.png: is a directory; give the output another name",
        f"{watch.inbox}/b.png: {watch.outbox}/b.cutout.png: leads to a photo of the watched folder, which is never "
        "overwritten; remove the link",
    ]


def test_written_photos_are_said_where_it_is_verbose(tmp_path: Path) -> None:
    watch = Watch(tmp_path, options={"verbose": True}).start()
    watch.photo("a.png")
    watch.settle_and_work()
    line = f"{watch.inbox}/a.png -> {watch.outbox}/a.cutout.png (32 x 24, bright on numpy, "
    assert watch.lines[1].startswith(line)
    assert len(watch.lines) == 2


@pytest.mark.parametrize(
    ("inbox", "outbox", "recursive", "error"),
    [
        ("in", "in/out", False, "lies in .*in, which is watched; give cut-outs a folder outside of it"),
        ("in", "in", False, "is the folder that is watched; give cut-outs a folder of their own"),
        ("in", "link", False, "is the folder that is watched"),
        ("in", "link/out", False, "lies in .*in, which is watched"),
        ("in/out", "in", True, "lies in .*in, where its own folders are kept"),
        ("none", "in", False, "no such folder, and one is to be watched; create it first, or mount its share"),
        ("in", "none", False, "no such folder, and one is to take cut-outs; create it first"),
        ("file", "in", False, "is no folder, and one is to be watched"),
        ("in", "a\0b", False, "no such folder"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, inbox: str, outbox: str, recursive: bool, error: str) -> None:
    (tmp_path / "in" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=error):
        check(WatchSettings(tmp_path / inbox, tmp_path / outbox, recursive))


def test_photos_may_lie_in_a_folder_within_that_of_the_cut_outs(tmp_path: Path) -> None:
    (tmp_path / "out" / "in").mkdir(parents=True)
    check(WatchSettings(tmp_path / "out" / "in", tmp_path / "out"))


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1"])
def test_an_interval_that_is_no_time(tmp_path: Path, interval: float) -> None:
    with pytest.raises(UsageError, match="'interval'"):
        check(WatchSettings(tmp_path, tmp_path, interval=interval))


def test_a_mask_that_the_format_cannot_hold(tmp_path: Path) -> None:
    composition = Composition(mask_only=True, mask_bits=16)
    with pytest.raises(UsageError, match="webp holds 8 bits"):
        check(WatchSettings(tmp_path, tmp_path, composition=composition, encoding=Encoding("webp")))


def test_two_servers_do_not_share_a_folder_of_cut_outs(tmp_path: Path) -> None:
    watch = Watch(tmp_path).start()
    other = WatchSettings(tmp_path, watch.outbox / ".." / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match=r"another server puts cut-outs there, and holds .*out.nss-watch.jsonl"):
        check(WatchSettings(tmp_path / "other", other.outbox))
    watch.watcher.journal.compact()
    with pytest.raises(UsageError, match="another server"):
        Journal(watch.journal, watch.outbox)
    watch.stop()
    check(WatchSettings(tmp_path / "other", other.outbox))
