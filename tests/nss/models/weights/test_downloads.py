"""What every download of the catalogue has to stand, from the hub and from releases alike, against a local server."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants

from nss.errors import ModelUnavailableError
from nss.models import catalogue, local_models
from nss.models.weights import hub, release, transfer
from tests.nss.fake_hub import PATIENCE_S, FakeHub, isolate, tiny_spec
from tests.nss.fake_release import FakeRelease, Proxy, isolate_release, program, released_spec
from tests.project import ROOT

CONTENT = random.Random(11).randbytes(400_000)
OTHER = random.Random(12).randbytes(400_000)
NOWHERE = "http://models.invalid"


@dataclass
class Place:
    """A server that a model is fetched from."""

    server: FakeHub
    spec: catalogue.ModelSpec
    find: Callable[[catalogue.ModelSpec], Path | None]

    def fetch(self) -> Path:
        return local_models.pull(self.spec, notify=lambda _: None)[0]

    def refusal(self) -> str:
        with pytest.raises(ModelUnavailableError) as failure:
            self.fetch()
        assert "\n" not in str(failure.value)
        assert self.find(self.spec) is None
        return str(failure.value)


@pytest.fixture(params=["hub", "release"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    is_hub = request.param == "hub"
    with FakeHub(CONTENT) if is_hub else FakeRelease(CONTENT) as server:
        (isolate if is_hub else isolate_release)(monkeypatch, tmp_path, server.url)
        spec = tiny_spec(CONTENT, sha256=server.sha256) if is_hub else released_spec(CONTENT)
        yield Place(server, spec, hub.find_cached if is_hub else release.find)
    close_session()  # one that goes through a test's proxy is for that test


def partial_files(tmp_path: Path) -> list[int]:
    return [path.stat().st_size for path in tmp_path.rglob(f"*{transfer.PARTIAL}")]


def test_a_cut_download_is_resumed(place: Place, tmp_path: Path) -> None:
    place.server.cuts = [100_000, 0]
    assert "after 100,000 of 400,000 bytes of tiny" in place.refusal()
    assert partial_files(tmp_path) == [100_000]
    place.server.requests.clear()
    place.server.cuts = [50_000]
    assert place.fetch().read_bytes() == CONTENT
    assert [r.headers.get("range") for r in place.server.transfers] == ["bytes=100000-", "bytes=150000-"]
    assert partial_files(tmp_path) == []


def test_a_download_with_the_wrong_hash_is_refused_and_deleted(place: Place, tmp_path: Path) -> None:
    place.server.body = OTHER
    message = place.refusal()
    assert f"instead of {place.server.sha256}" in message
    assert "deleted" in message
    assert partial_files(tmp_path) == []


def test_a_download_that_is_gone_says_so(place: Place) -> None:
    place.server.status, place.server.error_code = 404, "EntryNotFound"
    message = place.refusal()
    assert "is gone (404)" in message or "has no file onnx/model.onnx" in message
    assert "tiny.onnx" in message  # where to put it by hand
    assert place.server.transfers == []


def test_a_slow_download_is_given_up_and_keeps_what_came(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (transfer.SLOW_S, transfer.SLOW_BYTES) == (30, 30_000)
    monkeypatch.setattr(transfer, "SLOW_S", 0.3)
    monkeypatch.setattr(transfer, "SLOW_BYTES", len(CONTENT))  # whatever a busy machine takes at a time
    with Proxy(place.server.port, chunk=1000, pause_s=0.05) as proxy:
        proxy.use(monkeypatch)
        message = place.refusal()
    assert message.startswith("only ")
    assert "bytes of tiny arrived in" in message
    assert 1000 <= partial_files(tmp_path)[0] < len(CONTENT)


def test_a_download_that_becomes_slow_is_given_up_whatever_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0, 29.0, 31.0, 31.0, 60.0, 62.0]
    monkeypatch.setattr("nss.models.weights.transfer.time", SimpleNamespace(monotonic=lambda: clock.pop(0)))
    pace = transfer._Pace("tiny")
    for count in (10, 1_000_000, 10):
        pace.add(count)
    with pytest.raises(ModelUnavailableError, match="only 20 bytes of tiny arrived in 31 s"):
        pace.add(10)


def test_a_download_that_stands_still_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    with Proxy(place.server.port, holds=True) as proxy:
        proxy.use(monkeypatch)
        assert "the connection broke after 0 of 400,000 bytes of tiny" in place.refusal()


def test_a_download_goes_through_the_proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSS_RELEASE_URL", NOWHERE)
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", NOWHERE + "/{repo_id}/resolve/{revision}/{filename}")
    with Proxy(place.server.port) as proxy:
        proxy.use(monkeypatch)
        assert place.fetch().read_bytes() == CONTENT
        assert proxy.urls
        assert proxy.urls[0].startswith(NOWHERE)


def test_a_proxy_that_cannot_be_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://here")
    monkeypatch.setenv("http_proxy", "nonsense://here")
    close_session()
    assert "check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY" in place.refusal()


def test_an_offline_download_is_refused_without_a_request(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "tiny is not on this machine and HF_HUB_OFFLINE is set: unset it, or put the file at" in place.refusal()
    assert place.server.requests == []


def test_two_processes_at_once_transfer_the_file_once(place: Place, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    env = environment | {"HF_ENDPOINT": place.server.url, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program(place.spec), "pull", "tiny", "--quiet"]
    with Proxy(place.server.port, chunk=40_000, pause_s=0.1) as proxy:
        env |= {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "HF_HUB_ETAG_TIMEOUT": str(PATIENCE_S)}
        both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        lines = [process.communicate(timeout=60)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    paths = {line.partition(": ")[2] for line in lines}  # on a busy machine the second may come when all is done
    assert [Path(path).read_bytes() for path in paths] == [CONTENT]
    assert len(place.server.transfers) == 1


def test_the_licence_and_the_size_are_said_before_the_download(place: Place) -> None:
    notices: list[tuple[str, int]] = []
    local_models.pull(place.spec, notify=lambda line: notices.append((line, len(place.server.transfers))))
    assert [transfers for _, transfers in notices] == [0, 0]
    assert notices[0][0].startswith("licence of Tiny: Test licence")
    assert notices[1][0].startswith("tiny: 0.4 MB to fetch from ")
    assert len(place.server.transfers) == 1


def test_not_enough_room_is_said_before_the_download(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nss.models.weights.transfer.shutil.disk_usage", lambda _: type("Usage", (), {"free": 399_999}))
    assert "not enough room" in place.refusal()
    assert place.server.transfers == []


def test_room_is_needed_for_what_is_left_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.server.cuts = [100_000, 0]
    place.refusal()
    monkeypatch.setattr("nss.models.weights.transfer.shutil.disk_usage", lambda _: type("Usage", (), {"free": 300_000}))
    assert place.fetch().read_bytes() == CONTENT
