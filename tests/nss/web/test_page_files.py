"""The real page: it goes into a site whole, and is small."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import nss
from nss.web.page_files import base, page_files
from tests.project import ROOT

MOST = 6_000_000
"""Bytes of the page and U²-Netp, each file compressed by itself as hosts do."""


def test_the_page_with_the_built_in_model_is_less_than_six_megabytes(tmp_path: Path) -> None:
    site = nss.export_web(folder=tmp_path / "site").folder
    files = [path for path in site.rglob("*") if path.is_file()]
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in files) < MOST
    assert len(files) > 40


def test_the_page_is_that_of_the_tree() -> None:
    assert base() == ROOT
    files = page_files()
    assert {"index.html", "style.css", "sw.mjs", "runner/index.mjs"} <= set(files)
    assert {path: file.relative_to(ROOT / "web").as_posix() for path, file in files.items()} == {p: p for p in files}
    assert set(page_files(page=False)) == {path for path in files if path.startswith(("runner/", "image/"))}


def test_whatever_a_module_imports_is_in_the_site() -> None:
    files = page_files()
    missing = []
    for path, file in files.items():
        if file.suffix != ".mjs":
            continue
        for name in re.findall(r"""(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]""", file.read_text("utf-8")):
            target = (file.parent / name).resolve()
            if not target.is_relative_to(ROOT / "web") or target.relative_to(ROOT / "web").as_posix() not in files:
                missing.append(f"{path} imports {name}")
    assert missing == []


def test_whatever_the_page_names_is_in_the_site() -> None:
    text = (ROOT / "web" / "index.html").read_text("utf-8")
    names = [name for name in re.findall(r"""(?:href|src)="([^"#:]+)["#]""", text) if name]
    assert [name for name in names if name not in page_files()] == []
    assert len(names) > 3


def test_the_policy_of_the_page_is_that_of_the_docs() -> None:
    (policy,) = re.findall(r"`Content-Security-Policy: ([^`]+)`", (ROOT / "docs" / "web.md").read_text("utf-8"))
    page = (ROOT / "web" / "index.html").read_text("utf-8")
    (meta,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy == f"{meta}; frame-ancestors 'none'"
