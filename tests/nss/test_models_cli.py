"""``nss-wgpu models``, command by command."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nss import models
from nss.errors import ModelUnavailableError, NssError, UsageError
from nss.models_cli import models_app
from tests.nss.fake_hub import COMMIT, FakeHub, isolate, tiny_spec

CONTENT = random.Random(6).randbytes(50_000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        monkeypatch.setitem(models.CATALOGUE, "tiny", tiny_spec(CONTENT, mode="tiniest"))
        yield server


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(models_app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refusal(*arguments: str) -> NssError:
    result = CliRunner().invoke(models_app, arguments)
    assert isinstance(result.exception, NssError), result.exception
    return result.exception


def state_of(name: str) -> str:
    (entry,) = [e for e in json.loads(run("list", "--json").stdout) if e["name"] == name]
    return str(entry["state"])


def test_list_shows_where_each_model_is(hub: FakeHub, tmp_path: Path) -> None:
    lines = {line.split()[0]: line for line in run("list").stdout.splitlines()}
    assert lines["u2netp"].endswith("built-in")
    assert "Apache-2.0" in lines["u2netp"]
    assert lines["rmbg-1.4"].endswith("176 MB   not here")
    assert "BRIA RMBG-1.4, non-commercial" in lines["rmbg-1.4"]
    assert "fast" in lines["rmbg-1.4"]
    assert "best" in lines["rmbg-2.0"]
    assert state_of("tiny") == "not here"
    run("pull", "tiny")
    assert state_of("tiny") == "cached"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.onnx").write_bytes(CONTENT)
    assert state_of("tiny") == "local file"
    assert len(hub.transfers) == 1


def test_pull_fetches_once(hub: FakeHub) -> None:
    first = run("pull", "tiniest")
    assert first.stdout.startswith("tiny fetched: ")
    assert first.stderr.startswith("nss-wgpu: licence of Tiny")
    hub.requests.clear()
    second = run("pull", "tiny")
    assert second.stdout.startswith("tiny is here already: ")
    assert second.stderr == ""
    assert hub.requests == []
    assert run("pull", "u2netp").stdout.startswith("u2netp is here already")


def test_path_prints_the_path_alone_and_fetches_nothing(hub: FakeHub) -> None:
    assert isinstance(refusal("path", "tiny"), ModelUnavailableError)
    assert hub.requests == []
    run("pull", "tiny")
    (line,) = run("path", "tiny").stdout.splitlines()
    assert Path(line).read_bytes() == CONTENT


@pytest.mark.usefixtures("hub")
def test_verify_reads_the_files_again() -> None:
    assert run("verify").stdout.startswith("u2netp  ok (size and sha256)")
    assert "tiny" not in run("verify").stdout
    run("pull", "tiny")
    path = Path(run("path", "tiny").stdout.strip())
    assert run("verify", "tiny").stdout.startswith("tiny  ok (size and sha256)")
    stat = path.stat()
    path.write_bytes(CONTENT[::-1])
    error = refusal("verify")
    assert error.exit_code == 3
    assert "is not tiny: sha256" in str(error)
    path.write_bytes(CONTENT[: stat.st_size // 2])
    assert "25,000 bytes instead of 50,000" in str(refusal("verify", "tiny"))


@pytest.mark.usefixtures("hub")
def test_verify_says_where_only_the_size_is_known(tmp_path: Path) -> None:
    assert "nothing to verify" in str(refusal("verify", "tiny"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.onnx").write_bytes(CONTENT)
    assert run("verify", "tiny").stdout.startswith("tiny  ok (size; no sha256 is known)")


def test_remove_frees_the_cache_and_keeps_a_file_of_ones_own(hub: FakeHub, tmp_path: Path) -> None:
    assert run("remove", "tiny").stdout == "tiny: nothing in the cache\n"
    run("pull", "tiny")
    own = tmp_path / "models" / "tiny.onnx"
    own.parent.mkdir()
    own.write_bytes(CONTENT)
    result = run("remove", "tiny")
    assert result.stdout == "tiny: 0.1 MB freed\n"
    assert str(own) in result.stderr
    assert own.exists()
    own.unlink()
    assert state_of("tiny") == "not here"
    hub.commit = "e" * 40
    run("pull", "tiny")
    assert json.loads(run("info", "tiny", "--json").stdout)["pinned_commit"] == "e" * 40


@pytest.mark.usefixtures("hub")
def test_the_built_in_model_is_not_removed() -> None:
    error = refusal("remove", "u2netp")
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert models.resolve("u2netp", allow_fetch=False).path.is_file()


def test_info_says_everything(hub: FakeHub) -> None:
    before = json.loads(run("info", "tiny", "--json").stdout)
    assert (before["sha256"], before["pinned_commit"], before["path"]) == (None, None, None)
    run("pull", "tiny")
    facts = json.loads(run("info", "tiny", "--json").stdout)
    assert (facts["sha256"], facts["pinned_commit"], facts["state"]) == (hub.sha256, COMMIT, "cached")
    text = run("info", "rmbg-2.0").stdout
    for part in ("CC BY-NC 4.0", "creativecommons.org", "briaai/RMBG-2.0", "1024, 1024", "5b486f08200f513f"):
        assert part in text
    assert "gated               yes" in text


@pytest.mark.parametrize("command", ["pull", "path", "verify", "remove", "info"])
def test_an_unknown_name_is_refused(command: str) -> None:
    error = refusal(command, "rmbg")
    assert error.exit_code == 3
    assert "no model rmbg in the catalogue: it has u2netp, rmbg-1.4, rmbg-2.0" in str(error)


def test_the_commands_load_nothing_heavy() -> None:
    program = "import sys, nss.models_cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    command = [sys.executable, "-c", program, "huggingface_hub", "platformdirs", "numpy", "onnx", "PIL", "engine"]
    root = Path(models.__file__).parents[1]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"
