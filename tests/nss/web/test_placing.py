"""Where a site may go: nothing is lost that the export did not write, and nothing half-made is left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nss
from nss.errors import NssError, UsageError
from nss.files.output_file import ExistsError
from nss.web import model_folder, placing

Tree = Callable[[Path], dict[str, bytes]]
Export = Callable[..., Path]


@pytest.fixture
def export(page: Path, small: Path, tmp_path: Path) -> Export:  # noqa: ARG001 - the page is put in its place
    """Export a small model to a folder, by default ``site`` in an empty one."""
    (tmp_path / "room").mkdir()

    def run(folder: str | Path = tmp_path / "room" / "site", model: Path = small, **options: Any) -> Path:
        return nss.export_web(model, folder, weights="f32", **options).folder

    return run


def hostile(room: Path, kind: str) -> str:
    """A path that can be no site, and what it needs to be there."""
    if kind == "a file":
        (room / "file").write_bytes(b"precious")
        return str(room / "file")
    if kind == "below a file":
        (room / "file").write_bytes(b"precious")
        return str(room / "file" / "site")
    if kind == "a link to itself":
        (room / "loop").symlink_to(room / "loop")
        return str(room / "loop")
    if kind == "a folder of others":
        (room / "photos").mkdir()
        (room / "photos" / "a.jpg").write_bytes(b"precious")
        return str(room / "photos")
    return {
        "nothing": "",
        "the root": "/",
        "no parent": str(room / "none" / "site"),
        "a NUL": f"{room}/a\0b",
        "too long": str(room / ("x" * 300)),
        "nobody's home": "~nobody-of-this-name/site",
    }[kind]


KINDS = {
    "a file": ExistsError,
    "below a file": UsageError,
    "a link to itself": NssError,
    "a folder of others": ExistsError,
    "nothing": UsageError,
    "the root": UsageError,
    "no parent": UsageError,
    "a NUL": UsageError,
    "too long": NssError,
    "nobody's home": UsageError,
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_cannot_be_is_refused_before_any_work(
    export: Export, tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch, kind: str, overwrite: bool
) -> None:
    monkeypatch.setattr(model_folder, "write_model", lambda *_, **__: pytest.fail("it began to work"))
    room = tmp_path / "room"
    folder = hostile(room, kind)
    before = tree(room)
    with pytest.raises(KINDS[kind]) as failure:
        export(folder, overwrite=overwrite)
    assert "\n" not in str(failure.value)
    assert tree(room) == before


def test_an_empty_folder_is_taken(export: Export, tmp_path: Path) -> None:
    (tmp_path / "room" / "site").mkdir()
    assert (export() / "site.json").is_file()


def test_a_link_is_kept_and_leads_to_the_site(export: Export, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "room" / "site"
    link.symlink_to(tmp_path / "disk" / "real")
    export()
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real" / "site.json").is_file()


def test_whoever_serves_it_can_read_it(export: Export) -> None:
    umask = os.umask(0o022)
    try:
        site = export()
    finally:
        os.umask(umask)
    assert site.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in site.rglob("*") if path.is_file()} == {0o644}


def test_a_site_stays_unless_it_may_be_replaced(export: Export, tree: Tree) -> None:
    site = export()
    before = tree(site)
    with pytest.raises(ExistsError, match="exists already; pass 'overwrite' to replace the site"):
        export()
    assert tree(site) == before


def test_over_a_site_only_what_is_others_stays(export: Export, tree: Tree, small: Path, tmp_path: Path) -> None:
    site = export()
    others = {"CNAME": b"example.org", "page/own.mjs": b"1", "models/small/notes.txt": b"2", "photos/a/b.jpg": b"3"}
    for path, content in others.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (site / "link").symlink_to("index.html")
    (site / "empty").mkdir()
    other = small.rename(small.with_name("other.onnx"))
    export(model=other, overwrite=True, page=False)
    (tmp_path / "fresh").mkdir()
    fresh = tree(export(tmp_path / "fresh" / "site", model=other, page=False))
    found = tree(site)
    assert found == {**fresh, **others}
    assert (site / "link").is_symlink()
    assert (site / "empty").is_dir()
    assert [path.name for path in site.parent.iterdir()] == ["site"]


def test_the_same_again_is_the_same(export: Export, tree: Tree) -> None:
    site = export()
    before = tree(site)
    assert tree(export(overwrite=True)) == before
    assert [path.name for path in site.parent.iterdir()] == ["site"]


def test_a_file_that_was_changed_is_not_lost(export: Export, tree: Tree) -> None:
    site = export()
    (site / "index.html").write_text("<!doctype html><p>with our logo", "utf-8")
    before = tree(site)
    with pytest.raises(ExistsError, match=r"index\.html: was changed since it was exported"):
        export(overwrite=True)
    assert tree(site) == before


def test_a_file_of_others_in_the_place_of_a_new_one_is_not_lost(export: Export, page: Path, tree: Tree) -> None:
    site = export(page=False)
    (site / "page").mkdir()
    (site / "page" / "own.mjs").write_text("mine", "utf-8")
    export(overwrite=True, page=False)
    (site / "page" / "app.mjs").write_text("mine", "utf-8")
    before = tree(site)
    with pytest.raises(ExistsError, match=r"page/app\.mjs: is not the site's"):
        export(overwrite=True)
    assert tree(site) == before
    assert [path.name for path in site.parent.iterdir()] == ["site"]
    (site / "page" / "app.mjs").unlink()
    export(overwrite=True)
    assert (site / "page" / "own.mjs").read_text("utf-8") == "mine"
    assert (site / "page" / "app.mjs").read_bytes() == (page / "page" / "app.mjs").read_bytes()


RECORDS = [
    b"",
    b"{",
    b"[]",
    b"[" * 100_000,
    b'{"format": 2, "files": [], "models": []}',
    b'{"format": 1}',
    b'{"format": 1, "files": [], "models": [{}]}',
    b'{"format": 1, "files": [{"path": 1, "bytes": 1, "sha256": ""}], "models": []}',
    b'{"format": 1, "files": [{"path": "../a.jpg", "bytes": 1, "sha256": ""}], "models": []}',
    b'{"format": 1, "files": [{"path": "/etc/passwd", "bytes": 1, "sha256": ""}], "models": []}',
    b'{"format": 1, "files": [{"path": "", "bytes": 1, "sha256": ""}], "models": []}',
]


@pytest.mark.parametrize("content", RECORDS, ids=range(len(RECORDS)))
def test_a_record_that_is_none_makes_no_site(export: Export, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "room" / "site"
    folder.mkdir()
    (folder / "site.json").write_bytes(content)
    (tmp_path / "room" / "a.jpg").write_bytes(b"precious")
    with pytest.raises(ExistsError, match="give the site another name"):
        export(overwrite=True)
    assert (folder / "site.json").read_bytes() == content
    assert (tmp_path / "room" / "a.jpg").read_bytes() == b"precious"


def test_a_record_through_a_link_deletes_nothing_elsewhere(export: Export, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"precious")
    site = export()
    record = json.loads((site / "site.json").read_bytes())
    from nss.web.site import SiteFile

    stolen = SiteFile.of("photos/a.jpg", outside / "a.jpg")
    record["files"].append({"path": stolen.path, "bytes": stolen.bytes, "sha256": stolen.sha256})
    (site / "site.json").write_text(json.dumps(record), "utf-8")
    (site / "photos").symlink_to(outside)
    with pytest.raises(ExistsError, match="was changed since"):
        export(overwrite=True)
    assert (outside / "a.jpg").read_bytes() == b"precious"


def test_of_two_at_once_one_gets_the_name(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing.place

    def late(folder: Path, target: Path, before: Any) -> None:
        target.mkdir()
        (target / "of another").write_bytes(b"precious")
        place(folder, target, before)

    monkeypatch.setattr(placing, "place", late)
    with pytest.raises(NssError):
        export()
    assert [path.name for path in (tmp_path / "room" / "site").iterdir()] == ["of another"]
    assert [path.name for path in (tmp_path / "room").iterdir()] == ["site"]


def test_what_stops_it_leaves_what_was_there(
    export: Export, tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = export()
    before = tree(site)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_folder, "write_model", stopped)
    with pytest.raises(KeyboardInterrupt):
        export(overwrite=True)
    assert tree(site) == before
    assert [path.name for path in (tmp_path / "room").iterdir()] == ["site"]
