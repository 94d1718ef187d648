"""ZIP files written by web/image, opened by Python's zipfile."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.web.conftest import Node

HERE = Path(__file__).parent


def test_archives(run_node: Node, tmp_path: Path) -> None:
    run_node(HERE / "zip.test.mjs", ARCHIVES=tmp_path)
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert archive.testzip() is None
        names = ["a.png", "empty", "a (2).png", "Größe 写真.png", ".._folder_long.bin"]
        assert archive.namelist() == names
        assert [archive.read(name) for name in names[:4]] == [b"one", b"", b"two", b"third"]
        assert archive.read(names[4]) == b"x" * 200_000
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 11, 29, 13, 5, 42)}
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert archive.namelist() == [str(number) for number in range(65_536)]
        assert archive.read("65535") == b""
    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert [entry.file_size for entry in archive.infolist()] == [5 << 30, 12]
        assert archive.read("small") == b"behind 5 GiB"
        with archive.open("large") as large:
            assert large.read(1000) == bytes(1000)
    (tmp_path / "large.zip").unlink()  # pytest keeps folders
    with zipfile.ZipFile(tmp_path / "empty.zip") as archive:
        assert archive.namelist() == []
