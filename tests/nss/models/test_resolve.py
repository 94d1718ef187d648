"""The catalogue, and the way from a name or a path to a file."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nss.errors import ModelUnavailableError
from nss.models import catalogue, local_models, resolve
from nss.models.weights import hub as nss_hub
from nss.models.weights import model_store, transfer
from tests.nss.fake_hub import FakeHub, isolate, tiny_spec

CONTENT = random.Random(5).randbytes(50_000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that has one model, "tiny", which `auto` may choose; the catalogue's own entries stay."""
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(CONTENT))
        yield server


@pytest.fixture
def folder(hub: FakeHub) -> Path:
    """The model folder, empty; nothing has been asked of the hub."""
    assert hub.requests == []
    path = model_store.model_dir()
    path.mkdir()
    return path


def refusal(model: str | Path, *, allow_fetch: bool = False) -> str:
    with pytest.raises(ModelUnavailableError) as failure:
        resolve.resolve(model, allow_fetch=allow_fetch, notify=lambda _: None)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_the_built_in_weights_are_the_published_ones() -> None:
    resolved = resolve.resolve("u2netp", allow_fetch=False)
    assert resolved.source == "builtin"
    assert hashlib.sha256(resolved.path.read_bytes()).hexdigest() == resolved.spec.sha256 == resolved.sha256


def test_a_name_is_fetched_only_where_that_is_allowed(hub: FakeHub) -> None:
    assert refusal("tiny") == "tiny is not on this machine: 'allow_fetch' would fetch it"
    assert hub.requests == []
    resolved = resolve.resolve("tiny", allow_fetch=True, notify=lambda _: None)
    assert (resolved.source, resolved.spec.name, resolved.path.read_bytes()) == ("cache", "tiny", CONTENT)
    assert resolved.sha256 == hub.sha256


def test_what_is_cached_needs_no_request(hub: FakeHub) -> None:
    resolve.resolve("tiny", allow_fetch=True, notify=lambda _: None)
    hub.requests.clear()
    assert resolve.resolve("tiny", allow_fetch=True).source == "cache"
    assert hub.requests == []


def test_a_file_in_the_model_folder_wins(hub: FakeHub, folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(CONTENT)
    resolved = resolve.resolve("tiny", allow_fetch=True, notify=lambda _: None)
    assert (resolved.source, resolved.path) == ("file", folder / "tiny.onnx")
    assert hub.requests == []


def test_a_file_in_the_model_folder_must_be_the_model(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tiny.onnx").write_bytes(CONTENT[:-1])
    assert "49,999 bytes instead of 50,000" in refusal("tiny", allow_fetch=True)
    (folder / "tiny.onnx").write_bytes(CONTENT)
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(CONTENT, sha256="0" * 64))
    assert f"sha256 {hub.sha256} instead of {'0' * 64}" in refusal("tiny", allow_fetch=True)
    assert hub.requests == []


def test_a_cached_file_that_changed_is_refused(hub: FakeHub) -> None:
    """The catalogue has no hash of it, the pin of the download has."""
    path = resolve.resolve("tiny", allow_fetch=True, notify=lambda _: None).path
    path.write_bytes(CONTENT[::-1])
    assert "run `nss-wgpu models remove tiny`" in refusal("tiny", allow_fetch=True)
    assert len(hub.transfers) == 1


def test_the_licence_is_shown_once(hub: FakeHub) -> None:
    notices: list[str] = []
    hub.status = 500
    with pytest.raises(ModelUnavailableError):
        resolve.resolve("tiny", allow_fetch=True, notify=notices.append)
    assert "licence of Tiny: Test licence" in notices[0]
    notices.clear()
    hub.status = 200
    resolve.resolve("tiny", allow_fetch=True, quiet=True, notify=notices.append)
    resolve.resolve("tiny", allow_fetch=True, quiet=True, notify=notices.append)
    assert notices == []
    resolve.resolve("tiny", allow_fetch=True, notify=notices.append)
    assert "licence of Tiny: Test licence; commercial use needs an agreement" in notices[0]
    notices.clear()
    resolve.resolve("tiny", allow_fetch=True, notify=notices.append)
    resolve.resolve("auto", allow_fetch=True, notify=notices.append)
    resolve.resolve("u2netp", allow_fetch=True, notify=notices.append)
    assert notices == []


def test_the_licence_is_shown_for_a_file_put_in_place_by_hand(folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(CONTENT)
    notices: list[str] = []
    for _ in range(2):
        resolve.resolve("tiny", allow_fetch=False, notify=notices.append)
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nothing.onnx", "no model file nothing.onnx: pass an ONNX file or one of auto, fast, best, u2netp, silueta"),
        ("./u2net", "no model file ./u2net"),
        ("some/where", "there is no file some/where here, and http://"),
        ("u2", "no model u2: pass an ONNX file or one of"),
        ("U²-Netp", "no model U²-Netp: is u2netp meant? else pass an ONNX file or one of"),
        ("ISNet", "no model ISNet: is isnet-general-use or isnet-anime meant? else pass an ONNX file or one of"),
        ("is", "no model is: pass an ONNX file or one of"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_does_not_exist_is_one_line(model: str, expected: str) -> None:
    assert refusal(model, allow_fetch=True).startswith(expected)


def test_a_directory_with_models_names_them(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    for name in ("model.onnx", "model_fp16.onnx"):
        (tmp_path / "onnx" / name).touch()
    one, other = tmp_path / "onnx" / "model.onnx", tmp_path / "onnx" / "model_fp16.onnx"
    assert refusal(str(tmp_path), allow_fetch=False) == (
        f"{tmp_path} is a directory: name the file in it, {one} or {other}"
    )


def test_a_directory_is_not_a_model(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)


def test_a_missing_built_in_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(catalogue.CATALOGUE["u2netp"], filename="weights/gone.onnx")
    monkeypatch.setitem(catalogue.CATALOGUE, "u2netp", missing)
    assert refusal("u2netp") == "u2netp is not on this machine: reinstall nss-wgpu"


@pytest.mark.usefixtures("hub")
def test_a_file_by_path_is_recognised_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(CONTENT)
    assert resolve.resolve(mine, allow_fetch=False).spec.name == "mine"  # the same size is not enough
    own_spec = tiny_spec(CONTENT, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", own_spec)
    assert resolve.resolve(mine, allow_fetch=False).spec is catalogue.CATALOGUE["tiny"]
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(CONTENT, sha256="0" * 64))
    spec = resolve.resolve(mine, allow_fetch=False).spec
    assert (spec.name, spec.interface) == ("mine", {})


def test_the_built_in_file_by_path_keeps_its_preparation() -> None:
    path = resolve.resolve("u2netp", allow_fetch=False).path
    resolved = resolve.resolve(str(path), allow_fetch=False)
    assert (resolved.spec.name, resolved.source) == ("u2netp", "file")


@pytest.mark.usefixtures("hub")
def test_a_large_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "_DIGEST_CACHE_MIN_BYTES", 1)
    reads: list[Path] = []
    hash_file = model_store.hash_file

    def count_reads(path: Path, algorithm: str) -> str:
        reads.append(path)
        return hash_file(path, algorithm)

    monkeypatch.setattr(model_store, "hash_file", count_reads)
    path = tmp_path / "large.onnx"
    path.write_bytes(CONTENT)
    first = model_store.sha256_of(path)
    assert first == model_store.sha256_of(path) == hashlib.sha256(CONTENT).hexdigest()
    assert len(reads) == 1
    path.write_bytes(CONTENT + b"x")
    assert model_store.sha256_of(path) == hashlib.sha256(CONTENT + b"x").hexdigest()
    assert len(reads) == 2
    assert model_store.sha256_of(path, fresh=True) == model_store.sha256_of(path)
    assert len(reads) == 3
    assert model_store.digest_of(path, "md5") == hashlib.md5(CONTENT + b"x", usedforsecurity=False).hexdigest()
    assert model_store.digest_of(path, "md5") != model_store.sha256_of(path)  # both are remembered
    assert len(reads) == 4


@pytest.mark.usefixtures("hub")
def test_a_fetched_file_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "_DIGEST_CACHE_MIN_BYTES", 1)
    path = nss_hub.fetch(tiny_spec(CONTENT))
    monkeypatch.setattr(model_store, "hash_file", lambda *_: pytest.fail("read again"))
    assert model_store.sha256_of(path) == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.usefixtures("hub")
def test_a_state_folder_that_cannot_be_written_costs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Markers and digests are a convenience; only a download needs the folder, for its pin."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NSS_STATE_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setattr(model_store, "_DIGEST_CACHE_MIN_BYTES", 1)
    assert resolve.resolve("auto", allow_fetch=False).sha256 == catalogue.CATALOGUE["u2netp"].sha256
    assert "cannot store tiny" in refusal("tiny", allow_fetch=True)


def test_a_damaged_pin_is_no_pin() -> None:
    model_store.write_pin("tiny", model_store.Pin("a/b", "c" * 40, "d" * 64, 1))
    assert model_store.read_pin("tiny") is not None
    for text in ("", "[1]", '{"repo": "a/b"}'):
        (model_store.state_dir() / "tiny.json").write_text(text)
        assert model_store.read_pin("tiny") is None


def test_the_model_folder_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NSS_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    directory = model_store.model_dir()
    assert directory.parts[-2:] == ("nss-wgpu", "models")
    assert not directory.exists()


def test_the_state_lies_outside_the_model_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NSS_STATE_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("NSS_MODEL_DIR", str(tmp_path / "models"))
    assert model_store.state_dir().parts[-2:] == ("nss-wgpu", "state")
    model_store.mark_licence_shown("tiny")
    assert not (tmp_path / "models").exists()


def test_the_licence_line_names_its_model_once() -> None:
    notice = local_models.licence_notice(catalogue.CATALOGUE["rmbg-1.4"])
    assert notice is not None
    assert notice.startswith("licence of BRIA RMBG-1.4; commercial use: no; see https://")


def test_the_licence_line_says_what_of_commercial_use() -> None:
    notices = {name: str(local_models.licence_notice(catalogue.CATALOGUE[name])) for name in ("u2net", "rmbg-2.0")}
    assert notices["u2net"] == "licence of U²-Net: Apache-2.0; see https://github.com/xuebinqin/U-2-Net"
    assert "CC BY-NC 4.0; commercial use needs an agreement with its owner; see" in notices["rmbg-2.0"]


@pytest.mark.parametrize(("size", "text"), [(4_574_861, "4.6 MB"), (176_153_355, "176 MB"), (1_024_331_469, "1.02 GB")])
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert transfer.format_size(size) == text
