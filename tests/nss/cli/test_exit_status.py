"""Every exit status of the command: documented in docs/commands.md and the help, and reached."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import engine
import nss.cli.terminal
from nss.errors import EXIT_STATUS, NssError
from tests.nss.conftest import BrightnessSession, Outcome
from tests.project import ROOT

SIGNALS = {128 + number: number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}


def test_the_page_and_the_help_have_them_all(command: Callable[..., Outcome]) -> None:
    section = (ROOT / "docs" / "commands.md").read_text("utf-8").split("## Exit status")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([0-9, ]+) \| .+ \|$", section, re.MULTILINE)
    assert sorted(int(status) for row in rows for status in row.split(",")) == sorted(EXIT_STATUS)
    assert (
        " ".join(command("--help").out).split("Exit status: ")[1].split()
        == ("; ".join(f"{status} {meaning}" for status, meaning in EXIT_STATUS.items()) + ".").split()
    )


def test_every_error_has_one_of_them() -> None:
    kinds = [NssError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert nss.cli.terminal.ReaderGoneError in kinds
    assert {kind.exit_code for kind in kinds} <= set(EXIT_STATUS)


@pytest.mark.parametrize("status", EXIT_STATUS)
def test_it_is_reached(
    command: Callable[..., Outcome], photo: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    arguments = {0: [photo], 1: [photo.with_name("none.png")], 2: [photo, "-o", ""], 3: [photo, "--model", "none"]}
    if status in arguments:
        assert command("remove", *arguments[status]).status == status
    elif status == 4:
        monkeypatch.setitem(vars(engine), "devices", lambda *_, **__: engine.Devices((), None, "no adapter"))
        assert command("remove", photo, "--require-gpu").status == status
    elif status in SIGNALS:

        def stopped(*_: object, **__: object) -> dict[str, np.ndarray]:
            signal.raise_signal(SIGNALS[status])
            raise AssertionError("it went on")

        monkeypatch.setattr(BrightnessSession, "run", stopped)
        before = signal.getsignal(SIGNALS[status])
        if status != 130:
            signal.signal(SIGNALS[status], signal.SIG_DFL)  # a test run may have been told to ignore it
        try:
            outcome = command("remove", photo)
        finally:
            signal.signal(SIGNALS[status], before)
        assert outcome.status == status
        assert list(photo.parent.iterdir()) == [photo]
    else:
        assert status == 141
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.run(
            [sys.executable, "-m", "nss", "--version"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)
        assert (process.returncode, process.stderr) == (status, b"")
