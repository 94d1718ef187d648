"""``nss-wgpu models``, command by command."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nss.cli.commands.models import models_app
from nss.errors import ModelUnavailableError, NssError, UsageError
from nss.models import catalogue, resolve
from nss.models.catalogue import AUTO_ORDER
from tests.nss.fake_hub import COMMIT, FakeHub, isolate, tiny_spec
from tests.nss.fake_release import FakeRelease, isolate_release, released_spec
from tests.project import ROOT

CONTENT = random.Random(6).randbytes(50_000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(CONTENT, mode="tiniest"))
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
    title, *rows, order = run("list").stdout.splitlines()
    cells = {row.split()[0]: re.split("  +", row) for row in (title, *rows)}
    assert cells["NAME"] == ["NAME", "MODE", "LICENCE", "COMMERCIAL USE", "SIZE", "STATE"]
    assert cells["u2netp"] == ["u2netp", "-", "Apache-2.0", "yes", "4.6 MB", "built-in"]
    assert cells["rmbg-1.4"] == ["rmbg-1.4", "fast", "BRIA RMBG-1.4", "no", "176 MB", "not here"]
    assert cells["rmbg-2.0"] == ["rmbg-2.0", "best", "CC BY-NC 4.0", "ask", "1.02 GB", "not here"]
    assert cells["birefnet-dis"][3:] == ["yes", "unknown", "not here"]
    assert order.startswith("auto takes the first that is ")
    assert order.endswith(", ".join(AUTO_ORDER))
    assert state_of("tiny") == "not here"
    run("pull", "tiny")
    assert state_of("tiny") == "cached"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.onnx").write_bytes(CONTENT)
    assert state_of("tiny") == "local file"
    assert len(hub.transfers) == 1


@pytest.mark.usefixtures("hub")
def test_list_as_json_has_the_order_and_the_commercial_use() -> None:
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}
    assert sorted(filter(None, (e["auto"] for e in entries.values()))) == [*range(1, len(AUTO_ORDER) + 1)]
    assert (entries["u2netp"]["auto"], entries["rmbg-2.0"]["auto"]) == (len(AUTO_ORDER), None)
    assert (entries["u2netp"]["commercial"], entries["tiny"]["commercial"]) == ("yes", "ask")


def test_pull_fetches_once(hub: FakeHub) -> None:
    first = run("pull", "tiniest")
    assert first.stdout.startswith("tiny fetched: ")
    assert first.stderr.startswith("nss-wgpu: licence of Tiny")
    assert "tiny: 0.1 MB to fetch from someone/tiny on the hub" in first.stderr
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
    assert resolve.resolve("u2netp", allow_fetch=False).path.is_file()


def test_info_says_everything(hub: FakeHub) -> None:
    before = json.loads(run("info", "tiny", "--json").stdout)
    assert (before["sha256"], before["pinned_commit"], before["path"]) == (None, None, None)
    run("pull", "tiny")
    facts = json.loads(run("info", "tiny", "--json").stdout)
    assert (facts["sha256"], facts["pinned_commit"], facts["state"]) == (hub.sha256, COMMIT, "cached")
    text = run("info", "rmbg-2.0").stdout
    for part in ("CC BY-NC 4.0", "creativecommons.org", "briaai/RMBG-2.0", "1024, 1024", "5b486f08200f513f", "ask"):
        assert part in text
    assert re.search("^gated +yes$", text, re.MULTILINE)
    assert facts["model_config"]["size"] == [32, 32]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeRelease]:
    """A release that has "tiny", which is known by its MD5 alone, and which rembg calls by the same name."""
    with FakeRelease(CONTENT) as server:
        isolate_release(monkeypatch, tmp_path, server.url)
        md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(
            catalogue.CATALOGUE, "tiny", released_spec(CONTENT, sha256=None, md5=md5, size=None, rembg="tiny")
        )
        yield server


def test_every_command_works_for_a_model_of_a_release(release: FakeRelease, tmp_path: Path) -> None:
    facts = json.loads(run("info", "tiny", "--json").stdout)
    assert (facts["size"], facts["sha256"], facts["state"]) == (None, None, "not here")
    assert (facts["release"], len(facts["md5"])) == ("tiny-epoch_7.onnx", 32)
    assert "is not on this machine: 'allow_fetch' would fetch it" in str(refusal("path", "tiny"))
    path = tmp_path / "fetched" / "tiny.onnx"
    assert run("pull", "TINY").stdout == f"tiny fetched: {path}\n"
    assert run("pull", "tiny").stdout == f"tiny is here already: {path}\n"
    assert len(release.transfers) == 1
    assert run("path", "tiny").stdout == f"{path}\n"
    assert run("verify", "tiny").stdout == f"tiny  ok (md5)  {path}\n"
    path.write_bytes(CONTENT[::-1])
    assert "is not tiny: md5" in str(refusal("verify", "tiny"))
    assert run("remove", "tiny").stdout == "tiny: 0.1 MB freed\n"
    assert not path.exists()


def test_what_rembg_has_is_used_by_name_and_neither_counts_as_fetched_nor_is_removed(
    release: FakeRelease, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net"))
    file = tmp_path / "u2net" / "tiny.onnx"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    assert state_of("tiny") == "rembg's"
    assert run("path", "tiny").stdout == f"{file}\n"
    assert release.requests == []
    result = run("remove", "tiny")
    assert result.stdout == "tiny: nothing in the cache\n"
    assert f"rembg's file stays: {file}" in result.stderr
    assert run("pull", "tiny").stdout == f"tiny fetched: {tmp_path / 'fetched' / 'tiny.onnx'}\n"
    assert state_of("tiny") == "cached"
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("command", ["pull", "path", "verify", "remove", "info"])
def test_an_unknown_name_is_refused(command: str) -> None:
    error = refusal(command, "rmbg")
    assert error.exit_code == 3
    assert "no model rmbg in the catalogue: it has u2netp, silueta, " in str(error)


def test_the_commands_take_repositories(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(catalogue.CATALOGUE, "tiny")
    network = (Path(catalogue.__file__).parent / "weights" / "u2netp.onnx").read_bytes()
    hub.files = {"onnx/model.onnx": network, "onnx/model_fp16.onnx": CONTENT, "preprocessor_config.json": b"{}"}
    hub.card = {"license": "apache-2.0"}
    name = "someone/tiny@main"
    assert "someone/tiny@main is not on this machine" in str(refusal("path", name))
    assert "nothing to verify" in str(refusal("verify", name))
    assert run("remove", name).stdout == f"{name}: nothing in the cache\n"
    assert hub.requests == []
    before = json.loads(run("info", name, "--json").stdout)
    assert (before["size"], before["licence"], before["state"]) == (len(network), "apache-2.0", "not here")
    assert hub.transfers == []

    whole = f"{name}:onnx/model.onnx"
    pulled = run("pull", name)
    assert pulled.stdout.startswith(f"{whole} fetched: ")
    assert pulled.stderr == f"nss-wgpu: {whole}: 4.6 MB, licence apache-2.0; see {hub.url}/someone/tiny\n"
    hub.requests.clear()
    assert run("pull", name).stdout.startswith(f"{whole} is here already: ")
    (line,) = run("path", name).stdout.splitlines()
    assert Path(line).read_bytes() == network
    assert run("verify", name).stdout == run("verify").stdout.splitlines(keepends=True)[-1]
    assert run("verify", whole).stdout.startswith(f"{whole}  ok (size and sha256)")
    assert state_of(whole) == "cached"
    facts = json.loads(run("info", name, "--json").stdout)
    assert (facts["pinned_commit"], facts["path"], facts["revision"]) == (COMMIT, line, "main")
    assert hub.requests == []

    assert "is not an ONNX file" in str(refusal("pull", name, "--model-variant", "fp16"))
    assert run("remove", name).stdout == f"{whole}: 4.6 MB freed\n"
    assert not Path(line).exists()
    assert whole not in run("list").stdout
    assert "nothing to verify" in str(refusal("verify", name))
    hub.commit = "e" * 40
    run("pull", name)
    assert json.loads(run("info", name, "--json").stdout)["pinned_commit"] == "e" * 40


def test_the_commands_load_nothing_heavy() -> None:
    program = "import sys, nss.cli.commands.models; print([m for m in sys.argv[1:] if m in sys.modules])"
    command = [sys.executable, "-c", program, "huggingface_hub", "platformdirs", "numpy", "onnx", "PIL", "engine"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "[]"
