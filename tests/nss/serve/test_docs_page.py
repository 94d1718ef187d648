"""The page for people who write programs: what it holds, what its policy lets it, and that its examples run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nss.serve.api import docs_page
from nss.serve.api.calls import CALLS
from nss.serve.api.docs_examples import BASE, EXAMPLES, Example
from nss.serve.api.field_table import FIELDS, REFUSED
from nss.serve.api.openapi_schemas import PROBLEMS
from tests.nss.serve import example_server
from tests.nss.serve.example_server import TOKEN, Records
from tests.project import ROOT

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a page consists of.

    Attributes:
        tags: each with its attributes, in their order.
        texts: of each code element.
        text: all of it.
        open: elements that have not ended.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "code":
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "code" in self.open:
            self.texts[-1] += data


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(docs_page.page())


def test_its_elements_end_where_they_ought_to(page: Page) -> None:
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("h1") == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert [link for link in links if not link.startswith("#")] == ["openapi.json"]


def test_it_needs_nothing_that_the_policy_forbids(page: Page) -> None:
    assert {"script", "style", "form", "iframe", "base"} & {tag for tag, _ in page.tags} == set()
    names = {name for _, attributes in page.tags for name in attributes}
    assert {name for name in names if name == "style" or name.startswith("on")} == set()
    loaded = [attributes["href"] or "" for tag, attributes in page.tags if tag == "link"]
    assert loaded == ["page/icon.svg", "docs.css"]
    assert (ROOT / "web" / "page" / "icon.svg").is_file()
    style = (docs_page.FOLDER / docs_page.STYLE).read_text("utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_it_is_readable_on_a_telephone_and_in_the_dark(page: Page) -> None:
    viewports = [attributes["content"] for _, attributes in page.tags if attributes.get("name") == "viewport"]
    assert viewports == ["width=device-width, initial-scale=1"]
    style = (docs_page.FOLDER / docs_page.STYLE).read_text("utf-8")
    assert "color-scheme: light dark" in style
    assert "@media (prefers-color-scheme: dark)" in style


def test_it_has_all_fields_calls_and_errors(page: Page) -> None:
    codes = set(page.texts)
    assert codes >= {*FIELDS, *REFUSED}
    assert codes >= {f"{call.method.upper()} {call.path}" for call in CALLS if call.needs_token}
    words = " ".join(page.text.split())
    for status, text in PROBLEMS.items():
        assert f"{status}{text}" in words.replace(f"{status} ", str(status))
    for field in FIELDS.values():
        assert field.possible in words
    assert "300 megapixels" in words


def test_its_examples_are_those_that_run(page: Page) -> None:
    assert [text for text in page.texts if text in {example.code for example in EXAMPLES}] == [
        example.code for example in EXAMPLES
    ]
    assert all(BASE in example.code for example in EXAMPLES)


def test_whatever_stands_in_a_table_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_page, "REFUSED", {"<script>alert(1)</script>": "'a' <b onclick=x> `<i>` & {{ 7 }}"})
    page = Page(docs_page.page())
    assert {"script", "b", "i"} & {tag for tag, _ in page.tags} == set()
    assert "<script>alert(1)</script>" in page.texts
    assert "<i>" in page.texts


def test_the_routes_give_page_style_and_document() -> None:
    client = TestClient(Starlette(routes=docs_page.routes()))
    types = {path: client.get(path).headers["content-type"] for path in ("/docs", "/docs.css", "/openapi.json")}
    assert types == {
        "/docs": "text/html; charset=utf-8",
        "/docs.css": "text/css; charset=utf-8",
        "/openapi.json": "application/json",
    }
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert client.get("/docs").text == docs_page.page()
    assert client.post("/docs").status_code == 405


@pytest.fixture(scope="module")
def server() -> Iterator[Records]:
    with example_server.running() as records:
        yield records


def program_of(example: Example) -> list[str]:
    """What runs it; the test is skipped where that is not there."""
    if example.suffix == ".py":
        if ", requests\n" in example.code and find_spec("requests") is None:
            pytest.skip("NOT TESTED HERE: requests is not installed")
        return [sys.executable]
    wanted = ["bash", "curl", "sed"] if example.suffix == ".sh" else ["node"]
    if missing := [name for name in wanted if shutil.which(name) is None]:
        pytest.skip(f"NOT TESTED HERE: {' and '.join(missing)} not on this machine")
    return [str(shutil.which(wanted[0])), *(["-e"] if example.suffix == ".sh" else [])]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.section}-{example.language}")
def test_an_example_runs(example: Example, server: Records, tmp_path: Path) -> None:
    command = program_of(example)
    sent = {"photo.jpg": b"photo", "mask.png": b"mask", "beach.jpg": b"beach"}
    for name, content in sent.items():
        (tmp_path / name).write_bytes(content)
    program = tmp_path / f"example{example.suffix}"
    program.write_text(example.code.replace(BASE, server.url), "utf-8")
    removed, ordered = len(server.removed), len(server.orders)
    environment = {"PATH": os.environ["PATH"], "TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    process = subprocess.run(
        [*command, program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    (order,) = server.orders[ordered:]
    result = (tmp_path / example.writes).read_bytes()
    if example.section == "one":
        assert (result, order.composition.decontaminate) == (b"photo", 1.0)
    elif example.section == "jobs":
        assert (result, order.composition.background) == (b"result", "white")
        assert [state for state in ("waiting", "running", "done") if state in process.stdout] == [
            *("waiting", "running", "done")
        ]
        assert server.removed[removed:] == ["job-1"]
    elif example.section == "files":
        assert result == b"photo"
        assert getattr(order.mask, "content", None) == b"mask"
        assert getattr(order.composition.background, "content", None) == b"beach"
        assert order.encoding is not None
        assert order.encoding.format == "jpeg"
    else:
        assert order.encoding is None
        assert len(result) > 24


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.section == "one"], ids=lambda example: example.language)
def test_an_example_says_what_is_wrong(example: Example, server: Records, tmp_path: Path) -> None:
    command = program_of(example)
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    program = tmp_path / f"example{example.suffix}"
    program.write_text(example.code.replace(BASE, server.url).replace("decontaminate", "feather2"), "utf-8")
    environment = {"PATH": os.environ["PATH"], "TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    process = subprocess.run(
        [*command, program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode != 0
    there = process.stderr
    if example.suffix == ".sh":
        there = (tmp_path / "cutout.png").read_text("utf-8")
    assert "is no field: is 'feather' meant?" in there
