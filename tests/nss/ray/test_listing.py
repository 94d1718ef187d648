"""Photos and the names of their outputs: those of a batch, whatever holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nss.batch import planning
from nss.errors import UsageError
from nss.ray import storage
from nss.ray.listing import list_inputs
from tests.nss.ray.stores import memory_store

TREE = [
    *(
        "b.jpg",
        "a.JPG",
        "same.png",
        "same.heic",
        "notes.txt",
        ".hidden.jpg",
        "a.cutout.png",
        "a.cutout.png.json",
        "bare",
    ),
    *(
        "sub/c.webp",
        "sub/a.jpg",
        "sub/.git/d.jpg",
        "sub/deep/e.tif",
        "long" + "g" * 230 + ".png",
        "é ü.jpg",
        "x#1?.jpg",
    ),
]


@pytest.mark.parametrize("recursive", [False, True])
def test_both_kinds_of_storage_give_what_a_batch_does(
    recursive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_store(monkeypatch)
    photos, target = tmp_path / "in", tmp_path / "out"
    for name in TREE:
        storage.put(f"memory://bucket/in/{name}", b"")
        storage.put(str(photos / name), b"")
    batch_notes: list[str] = []
    jobs = planning.plan([str(photos)], f"{target}/", recursive=recursive, notify=batch_notes.append)
    expected = [(str(job.source), str(job.target.relative_to(target)), job.error) for job in jobs if job.target]
    assert len(expected) == len(jobs) == (10 if recursive else 7)
    local_notes: list[str] = []
    pairs = list_inputs([str(photos)], str(target), recursive=recursive, notify=local_notes.append)
    assert [(p.input, p.output, p.error) for p in pairs] == expected
    assert local_notes[0] == batch_notes[0]
    assert local_notes[1].startswith(
        "2 photos have the stem of another one, and keep their extension: same.heic.cutout"
    )
    stored = list_inputs(["memory://bucket/in/"], "memory://bucket/out", recursive=recursive)
    assert {(p.input.removeprefix("memory://bucket/in/"), p.output) for p in stored} == {
        (str(Path(source).relative_to(photos)), output) for source, output, _ in expected
    }


def test_single_addresses_and_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory_store(monkeypatch)
    storage.put("memory://bucket/in/scan.raw", b"")
    storage.put("memory://bucket/in/out/a.jpg", b"")
    storage.put("memory://bucket/in/b.jpg", b"")

    def pairs(*inputs: str, recursive: bool = False) -> list[tuple[str, str, str]]:
        listed = list_inputs(inputs, "memory://bucket/in/out", recursive=recursive)
        return [(pair.input, pair.output, str(pair.error or "")) for pair in listed]

    assert pairs("https://host/a%20b.jpg?size=2", "memory://bucket/x.png", "memory://bucket/x.png") == [
        ("https://host/a%20b.jpg?size=2", "a b.cutout.png", ""),
        ("memory://bucket/x.png", "x.cutout.png", ""),
    ]
    assert pairs("memory://bucket/in/scan.raw") == [("memory://bucket/in/scan.raw", "scan.cutout.png", "")]
    assert [output for _, output, _ in pairs("memory://bucket/in", recursive=True)] == ["b.cutout.png"]
    (nothing,) = pairs("memory://bucket/none")
    assert nothing[2] == "memory://bucket/none: no images in this folder (sub-folders are searched with --recursive)"
    (missing,) = pairs(str(tmp_path / "none.jpg"))
    assert missing[2] == f"{tmp_path / 'none.jpg'}: no such file"


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_store(monkeypatch)
    for inputs, target in (
        ([], "s3://b"),
        (["-"], "s3://b"),
        (["a.jpg"], "https://host"),
        (["ftp://h/a.jpg"], "s3://b"),
    ):
        with pytest.raises(UsageError):
            list_inputs(inputs, target)
    with pytest.raises(UsageError, match=r"^s3://a/x.jpg and s3://b/x.jpg would both be written to x.cutout.png; "):
        list_inputs(["s3://a/x.jpg", "s3://b/x.jpg"], "memory://bucket")
