"""Ctrl-C and SIGTERM sent to a process in which the pipeline writes files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import ROOT

Listing = Callable[[Path], list[str]]

SCRIPT = """
    import sys, threading, time
    from pathlib import Path
    from nss.pipeline.lanes import CallLane
    from nss.pipeline.pipeline import Pipeline
    from nss.pipeline.stop import finish_on_interrupt
    from nss.stop_signals import Terminated, stop_signals

    out, workers, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    finishing, over = threading.Event(), threading.Event()

    def wait_for_the_end():  # once whoever sends the signals has sent all and closes standard input
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()

    def load(job):
        if mode == "nothing in hand" or (mode == "stuck" and job in (4, 5)):  # in all threads but one
            if job == 0:
                print("loading", flush=True)
            over.wait()
        return job

    def infer(job, loaded):
        time.sleep(0.005)
        return loaded

    def finish(job, inferred):
        temporary = out / f"{job:03}.tmp"
        temporary.write_text("half")
        print("writing", job, flush=True)
        if mode == "slow":
            over.wait()
        elif job >= (3 if mode == "stuck" else workers):
            finishing.wait()
        temporary.write_text("whole")
        temporary.replace(out / f"{job:03}.png")
        return job

    def notify():
        print("finishing", flush=True)
        finishing.set()

    reported = []
    try:
        with stop_signals(), finish_on_interrupt(notify) as stop:
            pipeline = Pipeline(load, [CallLane(infer)], finish, workers=workers)
            pipeline.run(range(200), lambda job, result: reported.append(result), stop)
        end = "requested" if stop.requested else "all done"
    except (KeyboardInterrupt, Terminated) as error:
        end = type(error).__name__
    print(end, *reported, flush=True)
"""


def pipeline_process(folder: Path, workers: int, mode: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(workers), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith(word):
        assert line, "the process ended"


def outcome(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """How the run ended, and the names of the files that it reported."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdin.close()
        out = process.stdout.read()  # what read_until has taken from the pipe, communicate would not find
        assert process.stderr.read() == ""
    assert process.returncode == 0
    word, *reports = out.splitlines()[-1].split()
    return word, [f"{int(n):03}.png" for n in reports]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_real_ctrl_c_finishes_the_files_in_hand(tmp_path: Path, listing: Listing, workers: int) -> None:
    process = pipeline_process(tmp_path, workers)
    read_until(process, f"writing {workers}")
    process.send_signal(signal.SIGINT)
    read_until(process, "finishing")
    word, reports = outcome(process)
    assert word == "requested"
    assert reports == listing(tmp_path) == [f"{n:03}.png" for n in range(len(reports))]
    assert workers < len(reports) <= 3 * workers + 1


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(("workers", "then"), [(1, "SIGINT"), (2, "SIGINT"), (4, "SIGINT"), (2, "SIGTERM")])
def test_a_second_signal_ends_at_once_without_a_half_file(
    tmp_path: Path, listing: Listing, workers: int, then: str
) -> None:
    process = pipeline_process(tmp_path, workers, "slow")
    read_until(process, f"writing {workers - 1}")
    process.send_signal(signal.SIGINT)
    read_until(process, "finishing")
    for _ in range(1 if workers == 1 else 4):  # more of them change nothing
        process.send_signal(getattr(signal, then))
        time.sleep(0.02)
    word, reports = outcome(process)
    assert word == "Terminated"
    files = listing(tmp_path)
    if (
        workers == 1
    ):  # the script's own finish is interrupted in the calling thread; nss.files.export removes its file then
        files = [name for name in files if not name.endswith(".tmp")]
    assert reports == files


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_ctrl_c_acts_at_once_where_nothing_is_in_hand(tmp_path: Path, listing: Listing, workers: int) -> None:
    process = pipeline_process(tmp_path, workers, "nothing in hand")
    read_until(process, "loading")
    process.send_signal(signal.SIGINT)
    process.wait(60)  # not for what is being loaded, which has no end
    assert outcome(process) == ("Terminated", [])
    assert listing(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_load_that_is_stuck_does_not_hold_up_a_ctrl_c(tmp_path: Path, listing: Listing) -> None:
    process = pipeline_process(tmp_path, 3, "stuck")
    read_until(process, "writing 3")
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert outcome(process) == ("requested", [f"{n:03}.png" for n in range(4)])
    assert listing(tmp_path) == [f"{n:03}.png" for n in range(4)]
