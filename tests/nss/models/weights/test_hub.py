"""Downloads against a local server that plays the hub."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from huggingface_hub import constants

from nss.errors import ModelUnavailableError
from nss.models import catalogue
from nss.models.weights import hub as nss_hub
from nss.models.weights import model_store, transfer
from nss.notices import displays
from tests.nss.fake_hub import COMMIT, PATIENCE_S, FakeHub, isolate, tiny_spec
from tests.project import ROOT
from tests.wall_clock import within

CONTENT = random.Random(7).randbytes(600_000)
OTHER = random.Random(8).randbytes(600_000)
LATER_COMMIT = "f" * 40
CONNECTION_LIMIT_S = transfer.CONNECTION_LIMIT_S


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        yield server


def refusal(spec: catalogue.ModelSpec) -> str:
    with pytest.raises(ModelUnavailableError) as failure:
        nss_hub.fetch(spec)
    message = str(failure.value)
    assert "\n" not in message
    assert nss_hub.find_cached(spec) is None
    return message


def cached_files(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "hub").rglob("*") if p.is_file() and p.suffix not in (".lock", ".TAG"))


def test_fetch_puts_the_file_into_the_hub_cache_and_pins_its_commit(hub: FakeHub) -> None:
    spec = tiny_spec(CONTENT, sha256=hub.sha256)
    path = nss_hub.fetch(spec)
    assert path.read_bytes() == CONTENT
    assert path == nss_hub.find_cached(spec)
    assert path.parent.parent.name == COMMIT
    assert model_store.read_pin("tiny") == model_store.Pin(spec.repo or "", COMMIT, hub.sha256, len(CONTENT))
    assert len(hub.transfers) == 1


def test_only_the_file_is_asked_for(hub: FakeHub) -> None:
    """No telemetry, no API call: nothing but the file's own addresses."""
    nss_hub.fetch(tiny_spec(CONTENT))
    assert all(r.path.startswith(("/someone/tiny/resolve/", "/storage/")) for r in hub.requests)
    assert all(r.headers["user-agent"].startswith("nss-wgpu/") for r in hub.requests)


def test_a_cut_connection_is_taken_up_again_while_data_arrives(hub: FakeHub) -> None:
    hub.cuts = [200_000, 150_000]
    assert nss_hub.fetch(tiny_spec(CONTENT)).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in hub.transfers] == [None, "bytes=200000-", "bytes=350000-"]


def test_a_second_fetch_goes_on_where_the_first_was_cut(hub: FakeHub, tmp_path: Path) -> None:
    spec = tiny_spec(CONTENT)
    hub.cuts = [200_000, 0]
    message = refusal(spec)
    assert "after 200,000 of 600,000 bytes" in message
    assert "again" in message
    assert cached_files(tmp_path) == [f"{hub.sha256}.nss-partial"]
    hub.requests.clear()
    assert nss_hub.fetch(spec).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in hub.transfers] == ["bytes=200000-"]
    assert not list((tmp_path / "hub").rglob("*.nss-partial"))


def test_a_server_that_ignores_the_range_starts_the_file_again(hub: FakeHub) -> None:
    hub.cuts = [200_000]
    hub.ignores_range = True
    assert nss_hub.fetch(tiny_spec(CONTENT)).read_bytes() == CONTENT


def test_an_interrupted_fetch_keeps_what_has_arrived(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupted(*_: object, **__: object) -> Iterator[Callable[[int], None]]:
        def press(_: int) -> None:
            raise KeyboardInterrupt

        yield press

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            nss_hub.fetch(tiny_spec(CONTENT))
    assert nss_hub.fetch(tiny_spec(CONTENT)).read_bytes() == CONTENT
    assert "range" in hub.transfers[1].headers


def test_parallel_fetches_transfer_the_file_once(hub: FakeHub) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(nss_hub.fetch, [tiny_spec(CONTENT)] * 4))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == CONTENT
    assert len(hub.transfers) == 1


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
@pytest.mark.usefixtures("hub")
def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with displays():
        nss_hub.fetch(tiny_spec(CONTENT), quiet=quiet)
    assert ("tiny" in screen.getvalue()) == (terminal and not quiet)


def test_wrong_content_is_refused_and_deleted(hub: FakeHub, tmp_path: Path) -> None:
    hub.body = OTHER
    message = refusal(tiny_spec(CONTENT, sha256=hub.sha256))
    assert f"instead of {hub.sha256}" in message
    assert "deleted" in message
    assert cached_files(tmp_path) == []
    assert model_store.read_pin("tiny") is None


def test_wrong_content_is_found_by_the_etag_where_the_catalogue_has_no_hash(hub: FakeHub, tmp_path: Path) -> None:
    hub.body = OTHER
    assert f"instead of {hub.sha256}" in refusal(tiny_spec(CONTENT))
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize("extra", [b"x", b"x" * 300_000])
def test_more_bytes_than_published_are_not_kept(hub: FakeHub, tmp_path: Path, extra: bytes) -> None:
    hub.body = CONTENT + extra
    assert "more than the 600,000 bytes" in refusal(tiny_spec(CONTENT))
    assert sum(p.stat().st_size for p in (tmp_path / "hub").rglob("*.nss-partial")) == 0
    hub.body = None
    assert nss_hub.fetch(tiny_spec(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 599_999}])
def test_a_file_that_is_announced_as_another_is_not_transferred(hub: FakeHub, change: dict[str, object]) -> None:
    assert "not fetched" in refusal(tiny_spec(CONTENT, **change))
    assert hub.transfers == []


def test_not_enough_room_is_said_before_the_transfer(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nss.models.weights.transfer.shutil.disk_usage", lambda _: type("Usage", (), {"free": 599_999}))
    assert "not enough room" in refusal(tiny_spec(CONTENT))
    assert hub.transfers == []


def test_a_cache_path_that_is_a_file(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("in the way")
    assert "cannot store tiny" in refusal(tiny_spec(CONTENT))
    assert hub.transfers == []


def test_a_gated_repository_is_explained(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.valid_token = "hf_right"
    spec = tiny_spec(CONTENT, gated=True)
    message = refusal(spec)
    assert "no token is set" in message
    assert f"accept its licence (Test licence) at {hub.url}/someone/tiny" in message
    assert "HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = refusal(spec)
    assert "the token in use has no access" in message
    assert "hf_wrong" not in message
    assert hub.transfers == []


@pytest.mark.parametrize(("status", "code"), [(401, ""), (401, "RepoNotFound"), (403, ""), (403, "GatedRepo")])
def test_whatever_a_gated_repository_answers_says_what_to_do(hub: FakeHub, status: int, code: str) -> None:
    hub.status, hub.error_code = status, code
    message = refusal(tiny_spec(CONTENT, gated=True))
    assert "tiny is gated and no token is set: accept its licence" in message
    assert "set HF_TOKEN to a token of that account" in message


def test_the_token_goes_to_the_hub_and_not_to_the_storage_host(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.valid_token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    nss_hub.fetch(tiny_spec(CONTENT, gated=True))
    for request in hub.requests:
        expected = None if request.path.startswith("/storage/") else "Bearer hf_right"
        assert request.headers.get("authorization") == expected, request.path


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "RepoNotFound", "does not exist or is not open to your token"),
        (404, "RepoNotFound", "does not exist or is not open to your token"),
        (404, "EntryNotFound", "has no file onnx/model.onnx"),
        (404, "RevisionNotFound", "no longer has revision main"),
        (403, "", "answered 403"),
        (500, "", "answered 500"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line(hub: FakeHub, status: int, code: str, expected: str) -> None:
    hub.status, hub.error_code = status, code
    assert expected in refusal(tiny_spec(CONTENT))


def test_offline_is_a_refusal_without_a_request(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(tiny_spec(CONTENT))
    assert "HF_HUB_OFFLINE" in message
    assert "tiny.onnx" in message
    assert hub.requests == []


@pytest.mark.wall_clock
def test_a_hub_that_never_answers_is_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECTION_LIMIT_S == 5
    monkeypatch.setattr(transfer, "CONNECTION_LIMIT_S", 0.3)
    hub.hangs = True
    with within(20):
        assert f"cannot reach {hub.url}" in refusal(tiny_spec(CONTENT))


@pytest.mark.wall_clock
def test_the_limit_holds_for_the_name_look_up_too(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    monkeypatch.setattr(transfer, "CONNECTION_LIMIT_S", 0.2)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: hub.released.wait(120))
    with within(20):
        assert "no answer within 0.2 s" in refusal(tiny_spec(CONTENT))


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path, "http://127.0.0.1:9")
    assert "cannot reach" in refusal(tiny_spec(CONTENT))


def test_an_answer_that_is_not_a_hub(hub: FakeHub) -> None:
    hub.commit = "../../escape"
    assert "does not answer like a Hugging Face hub" in refusal(tiny_spec(CONTENT))


def test_the_pinned_commit_is_kept_when_the_branch_moves(hub: FakeHub, tmp_path: Path) -> None:
    spec = tiny_spec(CONTENT)
    nss_hub.fetch(spec)
    shutil.rmtree(tmp_path / "hub")
    hub.commit, hub.older = LATER_COMMIT, [COMMIT]
    hub.requests.clear()
    assert nss_hub.fetch(spec).parent.parent.name == COMMIT
    assert {r.path.split("/")[4] for r in hub.requests if "resolve" in r.path} == {COMMIT}
    shutil.rmtree(tmp_path / "hub")
    hub.older = []
    assert f"no longer has revision {COMMIT}: run `nss-wgpu models remove tiny`" in refusal(spec)


def test_other_content_under_the_pinned_name_is_refused(hub: FakeHub) -> None:
    spec = tiny_spec(CONTENT)
    nss_hub.fetch(spec).unlink()
    hub.content = OTHER
    assert "another file as tiny" in refusal(spec)


@pytest.mark.usefixtures("hub")
def test_a_file_that_another_program_cached_is_found() -> None:
    from huggingface_hub import hf_hub_download

    spec = tiny_spec(CONTENT)
    assert nss_hub.find_cached(spec) is None
    path = hf_hub_download(spec.repo or "", spec.filename or "")
    assert nss_hub.find_cached(spec) == Path(path)


@pytest.mark.usefixtures("hub")
def test_discard_frees_the_file_the_parts_and_the_pin(tmp_path: Path) -> None:
    spec = tiny_spec(CONTENT)
    nss_hub.fetch(spec)
    blobs = tmp_path / "hub" / "models--someone--tiny" / "blobs"
    (blobs / "abc.nss-partial").write_bytes(b"half")
    assert nss_hub.discard(spec) == len(CONTENT) + 4
    assert cached_files(tmp_path) == []
    assert model_store.read_pin("tiny") is None
    assert nss_hub.discard(spec) == 0


@pytest.mark.usefixtures("hub")
def test_discard_leaves_what_other_commits_and_files_use(tmp_path: Path) -> None:
    spec = tiny_spec(CONTENT)
    path = nss_hub.fetch(spec)
    if not path.is_symlink():
        pytest.skip("this file system has no symbolic links: every commit has its own copy")
    twin = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / LATER_COMMIT / "onnx" / "model.onnx"
    twin.parent.mkdir(parents=True)
    twin.symlink_to(path.resolve())
    (path.parent / "README.md").write_text("of another program")
    nss_hub.discard(spec)
    assert twin.read_bytes() == CONTENT
    assert (path.parent / "README.md").exists()
    assert not path.exists()


def test_the_environment_is_honoured_by_the_command(hub: FakeHub, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE, read by a process of its own."""
    hub.valid_token = "hf_right"
    spec = tiny_spec(CONTENT, gated=True, sha256=hub.sha256)
    program = (
        "import json, sys\n"
        "from nss.models import catalogue\n"
        "from nss.errors import NssError\n"
        "from nss.cli.commands.models import models_app\n"
        "catalogue.CATALOGUE['tiny'] = catalogue.ModelSpec(**json.loads(sys.argv[1]))\n"
        "try:\n"
        "    models_app(sys.argv[2:], standalone_mode=False)\n"
        "except NssError as error:\n"
        "    sys.exit(f'{error.exit_code} {error}')\n"
    )
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()
    }
    # AI_AGENT makes huggingface_hub ask its endpoint for a list of programs, unless telemetry is off.
    env = environment | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_right",
        "HF_HUB_ETAG_TIMEOUT": str(PATIENCE_S),
        "AI_AGENT": "x",
    }
    env |= {"NSS_MODEL_DIR": str(tmp_path / "models"), "PYTHONPATH": str(ROOT)}

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, json.dumps(asdict(spec)), *arguments]
        return subprocess.run(command, env=env | extra, capture_output=True, text=True, timeout=60, check=False)

    offline = run("pull", "tiny", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout, hub.requests) == (1, "", [])
    assert "3 tiny is not on this machine and HF_HUB_OFFLINE is set" in offline.stderr

    pulled = run("pull", "tiny")
    assert pulled.returncode == 0, pulled.stderr
    assert "tiny fetched" in pulled.stdout
    assert list((tmp_path / "home" / "hub" / "models--someone--tiny" / "snapshots" / COMMIT).rglob("model.onnx"))
    assert all(r.path.startswith(("/someone/tiny/resolve/", "/storage/")) for r in hub.requests)
    assert "torch/" not in hub.requests[0].headers["user-agent"]

    hub.requests.clear()
    outcome = run("path", "tiny", HF_HUB_OFFLINE="1")
    assert Path(outcome.stdout.strip()).read_bytes() == CONTENT
    assert hub.requests == []
