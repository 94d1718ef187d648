"""Signals at every moment of the command: one line, the status of shells, and never a traceback."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import nss
from nss import stop_signals
from nss.cli import main
from tests.project import ROOT

EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")

# An audit hook notices how far the command is; nothing of the command is changed. Another thread sends the signal. On a
# busy machine it comes late, so the file gets its name only after it.
SCRIPT = """
import _thread, os, sys, time
waited_for, number, delay_s = sys.argv.pop(1), int(sys.argv.pop(1)), float(sys.argv.pop(1))
begun, sent = _thread.allocate_lock(), _thread.allocate_lock()
sent.acquire()

def send():
    time.sleep(delay_s)
    os.kill(os.getpid(), number)
    sent.release()

def watch(event, arguments):
    if event == "import" and arguments[0] == waited_for and begun.acquire(blocking=False):
        _thread.start_new_thread(send, ())
    elif event == "os.rename" and str(arguments[1]).endswith("out.png"):
        with sent:
            pass

sys.addaudithook(watch)
sys.argv[0] = "nss-wgpu"
from nss.__main__ import main
sys.exit(main())
"""


def outcome_of(folder: Path, number: int, module: str, delay_s: float) -> tuple[int, str]:
    """The status and standard error of a command to which a signal is sent so long after it imports ``module``."""
    models = str(folder / "no models")
    environment = {"NSS_MODEL_DIR": models, "HF_HOME": models, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    arguments = ["remove", EXAMPLES / "chelsea.png", "-o", folder / "out.png", "--backend", "numpy", "--overwrite"]
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, module, str(number), str(delay_s), *arguments],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=120,
    )
    return process.returncode, process.stderr


@pytest.mark.parametrize(("name", "word"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
@pytest.mark.parametrize(
    ("module", "delay_s"),
    # the imports of the command line, then those of what does the work, then the work
    [
        *[("nss.cli.main", 0), ("nss.cli.main", 0.02), ("typer", 0), ("typer", 0.04), ("nss.cli.option_groups", 0)],
        *[
            ("nss.batch.planning", 0),
            ("numpy", 0),
            ("nss.pipeline.pipeline", 0),
            ("nss.pipeline.pipeline", 0.1),
            ("nss.removal.remover", 0.02),
        ],
    ],
)
def test_a_signal_is_one_line_at_every_moment(
    tmp_path: Path, name: str, word: str, module: str, delay_s: float
) -> None:
    number = int(getattr(signal, name))
    status, err = outcome_of(tmp_path, number, module, delay_s)
    (line,) = err.splitlines()
    assert line in (
        f"nss-wgpu: {word}",
        f"nss-wgpu: {word}: 0 of 1 images written",
        f"nss-wgpu: {word}: 1 of 1 images written",
    )
    assert status == 128 + number
    assert [path.name for path in tmp_path.iterdir()] in ([], ["out.png"])


def assert_interrupted(
    work: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Assert that the command, with ``work`` to do, ends by the SIGINT that comes in it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(main, "app", work)
    try:
        assert main.main([]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr().err == "nss-wgpu: interrupted\n"


def test_nothing_is_raised_within_an_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Extension modules may crash by it: the signal waits until the import is over, and no longer."""
    (tmp_path / "imported_under_a_signal.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.1)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    imports_whole: list[bool] = []

    def work(*_: object, **__: object) -> None:
        module = importlib.import_module("imported_under_a_signal")
        imports_whole.append(module.whole)
        for _ in range(6000):
            time.sleep(0.01)
        imports_whole.append(False)

    assert_interrupted(work, monkeypatch, capsys)
    assert imports_whole == [True]


@pytest.mark.parametrize("lost", ["dropped", "exchanged"])
@pytest.mark.parametrize("time_left", ["little", "much"])
def test_what_an_import_makes_of_a_signal_does_not_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: str, time_left: str
) -> None:
    """A bare ``except`` around the import, as numpy and others have it, and code that turns any error into its own."""
    monkeypatch.setattr(stop_signals, "INSIST_S", 0.05)
    at_work = []

    def work(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            if lost == "exchanged":
                raise ImportError("multiarray failed to import") from error
        if time_left == "much":
            for _ in range(6000):
                time.sleep(0.01)
            at_work.append(True)

    assert_interrupted(work, monkeypatch, capsys)
    assert not at_work


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SCRIPT.replace(
        "_thread.start_new_thread(send, ())", "send()"
    )
    command = [sys.executable, "-c", script, "nss.cli.main", str(int(signal.SIGINT)), "0", "--version"]
    process = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, f"nss-wgpu {nss.__version__}\n", "")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_all_is_done_changes_nothing(tmp_path: Path, name: str) -> None:
    """Python takes its time to end, and its own handlers are gone by then."""
    script = f"""
import os, signal, sys
class Late:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.{name}):
        kill(process, number)
sys.late = Late()
sys.argv = ["nss-wgpu", "--version"]
from nss.__main__ import main
sys.exit(main())
"""
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, f"nss-wgpu {nss.__version__}\n", "")


def test_the_console_script_is_what_takes_care_of_signals() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"nss-wgpu": "nss.__main__:main"}
