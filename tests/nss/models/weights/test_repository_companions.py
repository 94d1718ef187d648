"""What comes along with a model from a repository: external data, and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import nss
from nss.errors import ModelUnavailableError
from nss.models import resolve
from nss.models.references import Reference
from nss.models.weights import hub as nss_hub
from nss.models.weights import model_store, repositories
from tests.nss.fake_hub import FILE, REPO, FakeHub
from tests.nss.repository import (
    CONFIGURATION,
    MODEL,
    WEIGHTS,
    network,
    notices,
    refusal,
    resolve_model,
    serving,
    variants,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving(monkeypatch, tmp_path) as server:
        yield server


def test_size_and_licence_are_said_before_the_transfer(hub: FakeHub) -> None:
    hub.files = {**(hub.files or {}), FILE: network(1, "model.onnx_data"), "onnx/model.onnx_data": bytes(3_000_000)}
    hub.cuts = [0]
    lines: list[str] = []
    with pytest.raises(ModelUnavailableError, match="the connection broke after 0 of "):
        resolve.resolve(REPO, allow_fetch=True, notify=lines.append)
    assert lines == [f"{REPO}:{FILE}: 3.0 MB, licence apache-2.0; see {hub.url}/{REPO}"]
    assert notices() == lines
    assert notices() == []


@pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data", "weights.bin"])
def test_external_data_comes_along_and_is_used(hub: FakeHub, name: str, rgb: np.ndarray, tmp_path: Path) -> None:
    hub.files = {FILE: network(1, name), f"onnx/{name}": WEIGHTS.tobytes(), "onnx/other.data": b"x"}
    lines: list[str] = []
    with nss.Remover(REPO, backend="numpy", notify=lines.append) as remover:
        mask = remover.remove(rgb).mask
    (tmp_path / "whole.onnx").write_bytes(MODEL)
    with nss.Remover(tmp_path / "whole.onnx", backend="numpy") as remover:
        np.testing.assert_array_equal(mask, remover.remove(rgb).mask)
    path = resolve_model().path
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", name]
    said_later = [line for line in lines if line == f"{REPO}:{FILE}: 0.0 MB more, in onnx/{name}"]
    assert len(said_later) == (name == "weights.bin")
    # where a part is gone, it is fetched again; where it is damaged, that is said
    (path.parent / name).resolve().unlink()
    (path.parent / name).unlink()
    assert (resolve_model().path.parent / name).read_bytes() == WEIGHTS.tobytes()
    (path.parent / name).write_bytes(WEIGHTS.tobytes()[::-1])
    assert f"{name} is not {REPO}:{FILE}: sha256" in str(refusal())


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../b", "..\\secret.bin", ""])
def test_external_data_outside_of_its_folder_is_refused(hub: FakeHub, location: str, tmp_path: Path) -> None:
    hub.files = {FILE: network(1, location), "secret.bin": WEIGHTS.tobytes()}
    assert "points outside the folder of the model; refused" in str(refusal())
    assert model_store.read_pin(f"{REPO}:{FILE}") is None
    assert not list((tmp_path / "hub").rglob("secret.bin"))


def test_external_data_that_the_repository_lacks(hub: FakeHub) -> None:
    hub.files = {FILE: network(1, "gone.bin")}
    assert "keeps weights in onnx/gone.bin, which its repository does not have" in str(refusal())


def test_a_file_that_is_no_model_is_not_pinned(hub: FakeHub) -> None:
    hub.files = {FILE: b"<!DOCTYPE html><html></html>"}
    error = refusal()
    assert error.exit_code == 3
    assert "is a web page" in str(error)
    assert repositories.pinned_spec(Reference(REPO)) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"onnx/preprocessor_config.json": b"1", "preprocessor_config.json": b"2"}, ["onnx/preprocessor_config.json"]),
        ({"other/preprocessor_config.json": b"1"}, []),
    ],
)
def test_the_nearest_configuration_comes_along(hub: FakeHub, files: dict[str, bytes], expected: list[str]) -> None:
    hub.files = {FILE: MODEL, **files}
    resolved = resolve_model()
    root = resolved.path.parents[1]
    assert [str(p.relative_to(root)) for p in root.rglob("*.json")] == expected
    assert [companion.filename for companion in resolved.spec.companions] == expected


def test_a_configuration_that_would_not_be_read_does_not_come_along(hub: FakeHub) -> None:
    """One folder up counts where the file lies in ``onnx/``."""
    hub.files = {"fine/model.onnx": MODEL, "preprocessor_config.json": CONFIGURATION}
    assert resolve_model().spec.companions == ()


@pytest.mark.usefixtures("hub")
def test_the_configuration_that_came_along_says_how_to_prepare_the_photo(rgb: np.ndarray) -> None:
    with nss.Remover(REPO, backend="numpy", quiet=True) as remover:
        config = remover.remove(rgb).info.model_config
    assert config is not None
    assert (config["values"]["mean"], config["origins"]["mean"]) == ([0.5, 0.5, 0.5], "preprocessor_config.json")


def test_two_at_once_transfer_it_once(hub: FakeHub) -> None:
    hub.files = {FILE: network(1, "w.bin"), "onnx/w.bin": WEIGHTS.tobytes()}
    with ThreadPoolExecutor(4) as pool:
        paths = {resolved.path for resolved in pool.map(resolve_model, [REPO, f"{REPO}:{FILE}"] * 2)}
    assert len(paths) == 1
    assert len(hub.transfers) == 2
    assert resolve_model(REPO).spec == resolve_model(f"{REPO}:{FILE}").spec


def test_removal_leaves_what_another_variant_shares(hub: FakeHub) -> None:
    hub.files = {**variants("", "_fp16"), "preprocessor_config.json": CONFIGURATION}
    hub.files |= {FILE: network(1, "w.bin"), "onnx/w.bin": WEIGHTS.tobytes()}
    spec = resolve_model().spec
    half = resolve_model(variant="fp16")
    assert nss_hub.discard(spec) == spec.whole_size - len(CONFIGURATION)
    assert sorted(path.name for path in half.path.parent.iterdir()) == ["model_fp16.onnx"]
    assert resolve.resolve(REPO, variant="fp16", allow_fetch=False).path == half.path
    assert nss_hub.discard(spec) == 0
