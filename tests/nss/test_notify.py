"""Notices go where the program says; a library never prints by itself."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.progress import Progress

import nss
from nss.models import catalogue
from nss.models.weights import model_store
from tests.nss.conftest import Outcome
from tests.nss.fake_hub import FakeHub, isolate, tiny_spec
from tests.nss.library import library
from tests.project import ROOT

CONTENT = (ROOT / "nss" / "models" / "weights" / "u2netp.onnx").read_bytes()
LICENCE = (
    "licence of Tiny: Test licence; commercial use needs an agreement with its owner; see https://example.org/licence"
)
SIZE = "tiny: 4.6 MB to fetch from someone/tiny on the hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: type) -> Iterator[FakeHub]:
    """A hub that has one model, "tiny"."""
    del network
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        spec = tiny_spec(CONTENT, interface=catalogue.CATALOGUE["u2netp"].interface)
        monkeypatch.setitem(catalogue.CATALOGUE, "tiny", spec)
        yield server


@pytest.mark.usefixtures("hub")
def test_a_library_prints_nothing_while_it_fetches_and_loads(
    photo: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cutout = nss.remove(photo, model="tiny")
    with nss.Remover("tiny") as remover:
        remover.remove(photo)
    assert capsys.readouterr() == ("", "")
    # but what it would say is there, for as long as nobody was told
    assert cutout.notes == (LICENCE, SIZE)
    assert remover.notes == (LICENCE,)
    records = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert records == [("nss", logging.WARNING, line) for line in (LICENCE, SIZE, LICENCE)]
    assert not model_store.licence_was_shown("tiny")


@pytest.mark.usefixtures("hub")
def test_notices_go_to_notify_and_what_was_said_once_is_not_said_again(
    photo: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    notices: list[str] = []
    assert nss.remove(photo, model="tiny", notify=notices.append).notes == (LICENCE, SIZE)
    assert notices == [LICENCE, SIZE]
    assert nss.remove(photo, model="tiny", notify=notices.append).notes == ()
    with nss.Remover("tiny") as remover:
        assert remover.notes == ()
    assert notices == [LICENCE, SIZE]
    assert (capsys.readouterr(), caplog.records) == (("", ""), [])


@pytest.mark.usefixtures("hub")
def test_a_model_that_auto_passes_over_is_noted(photo: Path) -> None:
    folder = model_store.model_dir()
    folder.mkdir()
    (folder / "rmbg-1.4.onnx").write_bytes(b"short")
    cutout = nss.remove(photo)
    assert cutout.info.model == "u2netp"
    assert len(cutout.notes) == 1
    assert cutout.notes[0].startswith("passed over rmbg-1.4: ")


def test_no_file_of_the_library_prints() -> None:
    prints = []
    for path in library():
        for entry in ast.walk(ast.parse(path.read_text("utf-8"))):
            callee = ast.unparse(entry.func) if isinstance(entry, ast.Call) else ""
            if callee in ("print", "warnings.warn") or callee.startswith(("sys.stderr.w", "sys.stdout.w")):
                prints.append(path.name)
    # the command that another package's engine keeps from beginning
    assert prints == ["__init__.py"]


def test_what_nobody_listens_to_is_not_printed_and_a_log_gets_it() -> None:
    """Python prints warnings of a logger without handlers by itself."""
    program = "import sys, logging; from nss.notices import logged; {}; logged('a 100 % notice')"
    for setting, error in (("pass", ""), ("logging.basicConfig()", "WARNING:nss:a 100 % notice\n")):
        process = subprocess.run(
            [sys.executable, "-c", program.format(setting)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert (process.stdout, process.stderr) == ("", error)


def test_the_command_says_it_and_shows_how_far_a_download_is(
    command: Callable[..., Outcome], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[str] = []
    add_task = Progress.add_task

    def note_bar(bar: Progress, label: str, **more: Any) -> object:
        bars.append(label)
        return add_task(bar, label, **more)

    monkeypatch.setattr(Progress, "add_task", note_bar)
    monkeypatch.setattr("nss.models.weights.transfer.sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    process = command("models", "pull", "tiny")
    assert (process.status, bars) == (0, ["tiny"])
    assert process.err[0] == f"nss-wgpu: {LICENCE}"
    assert "licence" not in " ".join(command("models", "pull", "tiny").err)
    assert len(hub.transfers) == 1


def test_a_library_shows_no_progress_on_a_terminal(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nss.models.weights.transfer.sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    with nss.Remover("tiny"):
        assert len(hub.transfers) == 1
    assert capsys.readouterr() == ("", "")
