"""A page of a few files, which stands for the real one: what becomes of it is what counts here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nss.web import page_files
from tests.project import ROOT

PAGE = {
    "index.html": "<!doctype html>",
    "style.css": "body {}",
    "sw.mjs": "export {};",
    "page/app.mjs": "export {};",
    "runner/index.mjs": "export {};",
    "image/png.mjs": "export {};",
}
"""What a visitor asks for, by its path."""

NOT_FOR_VISITORS = ("README.md", "runner/README.md", "runner/package.json", "examples/index.html", ".hidden.mjs")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the tree, or for the package of a wheel."""
    base = tmp_path / "base"
    for path, text in {**PAGE, **dict.fromkeys(NOT_FOR_VISITORS, "no")}.items():
        file = base / "web" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    (base / "LICENSE").write_text((ROOT / "LICENSE").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(page_files, "base", lambda: base)
    return base / "web"


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder, by its path in it."""

    def files(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return files
