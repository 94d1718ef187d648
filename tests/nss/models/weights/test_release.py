"""Releases in particular: versions of a file, what nobody knows of it, and the folder. See also ``test_downloads``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nss.errors import ModelUnavailableError
from nss.models import catalogue, local_models
from nss.models.weights import model_store, release, transfer
from tests.nss.fake_release import FILE, FakeRelease, isolate_release, released_spec

CONTENT = random.Random(21).randbytes(300_000)
OTHER = random.Random(22).randbytes(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeRelease]:
    with FakeRelease(CONTENT) as server:
        isolate_release(monkeypatch, tmp_path, server.url)
        yield server


def refusal(spec: catalogue.ModelSpec) -> str:
    with pytest.raises(ModelUnavailableError) as failure:
        release.fetch(spec)
    assert "\n" not in str(failure.value)
    assert release.find(spec) is None
    return str(failure.value)


def test_a_file_gets_its_name_in_the_folder_of_fetched_models(server: FakeRelease, tmp_path: Path) -> None:
    spec = released_spec(CONTENT)
    assert release.find(spec) is None
    path = release.fetch(spec)
    assert (path, path.read_bytes()) == (tmp_path / "fetched" / "tiny.onnx", CONTENT)
    assert release.find(spec) == path
    assert [(r.method, r.path) for r in server.requests] == [("HEAD", f"/{FILE}"), ("GET", f"/{FILE}")]
    assert all(r.headers["user-agent"].startswith("nss-wgpu/") for r in server.requests)
    assert release.fetch(spec) == path
    assert len(server.requests) == 2


def test_no_token_goes_to_a_release(server: FakeRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    release.fetch(released_spec(CONTENT))
    assert all("authorization" not in r.headers for r in server.requests)


def test_what_is_resumed_is_resumed_of_the_same_version_only(server: FakeRelease, tmp_path: Path) -> None:
    spec = released_spec(CONTENT)
    server.cuts = [100_000, 0]
    refusal(spec)
    server.requests.clear()
    server.etag = '"v2"'
    assert release.fetch(spec).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in server.transfers] == [None]
    assert sorted(p.name for p in (tmp_path / "fetched").iterdir()) == ["tiny.lock", "tiny.onnx"]


def test_a_file_that_changes_while_it_is_fetched_is_sent_from_its_beginning(server: FakeRelease) -> None:
    spec = released_spec(CONTENT)
    server.body, server.cuts = OTHER, [100_000, 0]
    refusal(spec)
    server.body, server.announced_etag, server.etag = None, '"v1"', '"v2"'
    assert release.fetch(spec).read_bytes() == CONTENT
    assert server.transfers[-1].headers["if-range"] == '"v1"'


@pytest.mark.parametrize("etag", ['W/"weak"', None])
def test_a_server_without_a_strong_etag_is_asked_for_the_rest(server: FakeRelease, etag: str | None) -> None:
    server.etag, server.cuts = etag, [100_000]
    assert release.fetch(released_spec(CONTENT)).read_bytes() == CONTENT
    assert "if-range" not in server.transfers[1].headers
    assert server.transfers[1].headers["range"] == "bytes=100000-"


def test_a_server_that_ignores_the_range_starts_the_file_again(server: FakeRelease) -> None:
    server.cuts, server.ignores_range = [100_000], True
    assert release.fetch(released_spec(CONTENT)).read_bytes() == CONTENT


def test_a_model_known_by_its_md5_alone_is_checked_by_that(server: FakeRelease) -> None:
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    spec = released_spec(CONTENT, sha256=None, md5=md5, size=None)
    notices: list[str] = []
    path = release.fetch(spec, notify=notices.append)
    assert notices == [f"tiny: 0.3 MB to fetch from {server.url}/{FILE}"]  # as large as the server says
    assert local_models.find_fault(spec, "cache", path) is None
    path.write_bytes(OTHER)
    assert f"instead of {md5}" in str(local_models.find_fault(spec, "cache", path, fresh=True))
    path.unlink()
    server.body = OTHER
    assert f"md5 {hashlib.md5(OTHER, usedforsecurity=False).hexdigest()} instead of {md5}" in refusal(spec)


def test_another_size_than_the_catalogue_names_is_not_transferred(server: FakeRelease) -> None:
    assert "offers 300,000 bytes as tiny, the catalogue names 299,999: not fetched" in refusal(
        released_spec(CONTENT, size=299_999)
    )
    assert server.transfers == []


def test_more_bytes_than_announced_are_not_kept(server: FakeRelease, tmp_path: Path) -> None:
    server.body = CONTENT + b"x"
    assert "sent more than the 300,000 bytes" in refusal(released_spec(CONTENT))
    assert [p.stat().st_size for p in (tmp_path / "fetched").glob(f"*{transfer.PARTIAL}")] == [0]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, "is gone (404)"), (410, "is gone (410)"), (403, "answered 403"), (503, "answered 503")],
)
def test_each_refusal_of_the_server_is_one_line(server: FakeRelease, status: int, expected: str) -> None:
    server.status = status
    message = refusal(released_spec(CONTENT))
    assert message.startswith(f"{server.url}/{FILE} {expected}")
    assert str(model_store.model_dir() / "tiny.onnx") in message


def test_a_server_that_never_answers_is_given_up(server: FakeRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CONNECTION_LIMIT_S", 0.3)
    server.hangs = True
    assert f"cannot reach {server.url} for tiny" in refusal(released_spec(CONTENT))


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_release(monkeypatch, tmp_path, "http://127.0.0.1:9/none")
    assert "cannot reach http://127.0.0.1:9/none" in refusal(released_spec(CONTENT))


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:port", "file:///etc"])
def test_an_address_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    isolate_release(monkeypatch, tmp_path, url)
    assert f"NSS_RELEASE_URL={url} is no address" in refusal(released_spec(CONTENT))


def test_a_folder_that_is_a_file(server: FakeRelease, tmp_path: Path) -> None:
    (tmp_path / "fetched").write_text("in the way")
    assert "cannot store tiny" in refusal(released_spec(CONTENT))
    assert server.requests == []


def test_the_fetched_models_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NSS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_store.release_dir().parts[-2:] == ("nss-wgpu", "models")


@pytest.mark.usefixtures("server")
def test_discard_frees_the_file_and_the_parts_and_no_others(tmp_path: Path) -> None:
    spec = released_spec(CONTENT)
    release.fetch(spec)
    (tmp_path / "fetched" / f"tiny.{'a' * 16}{transfer.PARTIAL}").write_bytes(b"half")
    others = [tmp_path / "fetched" / name for name in (f"tiny-lite.{'a' * 16}{transfer.PARTIAL}", "tiny-lite.onnx")]
    for other in others:
        other.write_bytes(b"another model's")
    assert release.discard(spec) == len(CONTENT) + 4
    assert release.find(spec) is None
    assert all(other.exists() for other in others)
    assert release.discard(spec) == 0
