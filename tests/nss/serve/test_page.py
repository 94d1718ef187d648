"""The page's files, and the record of them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from starlette.exceptions import HTTPException

import engine
from nss.serve.page import Page
from nss.web.page_files import page_files
from nss.web.site import recorded_files
from tests.nss.serve.serving import PAGE, client


@pytest.fixture(scope="module")
def real() -> Page:
    return Page.read()


def test_the_page_is_at_the_root_and_under_its_name() -> None:
    for path in ("/", "/index.html"):
        answer = client(headers={}).get(path)
        assert (answer.status_code, answer.text) == (200, "<!doctype html>")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_module_has_the_type_that_browsers_run() -> None:
    answer = client(headers={}).get("/page/main.mjs")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


def test_a_browser_that_has_a_file_gets_304() -> None:
    etag = client().get("/").headers["etag"]
    for given in (etag, f'"other", W/{etag}', "*"):
        answer = client().get("/", headers={"if-none-match": given})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client().get("/", headers={"if-none-match": '"other"'}).status_code == 200


def test_head_is_get_without_a_body() -> None:
    head, get = client().head("/"), client().get("/")
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize(
    "path",
    ["/../README.md", "/page/../index.html", "//index.html", "/page", "/page/", "/page/main.mjs\0", "\\index.html"],
)
def test_no_path_leads_anywhere_else(path: str) -> None:
    async def receive() -> Any:
        pytest.fail("nothing is read")

    with pytest.raises(HTTPException) as caught:
        asyncio.run(PAGE({"type": "http", "method": "GET", "path": path, "headers": []}, receive, receive))  # type: ignore[arg-type]
    assert caught.value.status_code == 404


def test_all_files_of_the_real_page_are_recorded(real: Page) -> None:
    record = real._files["site.json"]
    files = recorded_files(record.content)
    assert set(files) == {*page_files(), "image/kernels.json", "LICENCE.txt"}
    for path, file in files.items():
        assert hashlib.sha256(real._files[path].content).hexdigest() == file.sha256
        assert len(real._files[path].content) == file.bytes
    assert all(file.media_type != "application/octet-stream" for file in real._files.values())


def test_the_record_tells_the_page_that_this_computer_can_do_the_work() -> None:
    answer = client(headers={}).get("/site.json")
    assert answer.headers["content-type"] == "application/json"
    record = answer.json()
    files = record.pop("files")
    assert record == {"format": 1, "version": engine.__version__, "models": [], "api": "api/v1/"}
    assert [file["path"] for file in files] == ["index.html", "page/main.mjs", "big.bin"]
