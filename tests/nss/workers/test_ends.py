"""However a program with workers ends, they end too, and leave nothing; and what ends it is not for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nss.workers.process import supported
from tests.project import ROOT
from tests.wall_clock import wait_until, within

pytestmark = pytest.mark.skipif(not supported() or sys.platform != "linux", reason="reads /proc")

SCRIPT = """
import signal, sys, threading, time
from pathlib import Path
from nss.workers.pool import WorkerPool
from tests.nss.workers.work import Doubling, Task

folder = Path(sys.argv[1])
pool = WorkerPool(2)
pool.configure(Doubling())
held = pool.load(Task("held", size=1 << 22))
threading.Thread(target=pool.do, args=(Task("photo", finish="nap", folder=folder),), daemon=True).start()
while not (folder / "photo.napping").exists():
    time.sleep(0.01)
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print(*pool.pids, flush=True)
while not heard:
    time.sleep(0.01)
assert pool.do(Task("another", size=3))[1] == 3.0
print("heard", flush=True)
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # one that nobody waits for, which in a container nobody ever may


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def pids_of(program: subprocess.Popen[str]) -> list[int]:
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 2
    assert all(is_running(pid) for pid in pids)
    return pids


def wait_for_the_end(pids: list[int]) -> None:
    wait_until(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.wall_clock
def test_soon_after_kill_9_of_the_parent_workers_end_and_leave_nothing(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    """One of them in the middle of a file, which goes; the memory goes with the last process that has it."""
    pids = pids_of(program)
    assert len(list(tmp_path.glob(".nss-*.tmp"))) == 1
    with within(20):
        program.kill()
        wait_for_the_end(pids)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.napping"]


def test_ctrl_c_is_for_the_parent_alone(program: subprocess.Popen[str], tmp_path: Path) -> None:
    """It goes to every process of the group, and so do the end of the terminal and a shell's `kill`."""
    pids = pids_of(program)
    for number in (signal.SIGHUP, signal.SIGTERM):
        for pid in pids:
            os.kill(pid, number)
    os.killpg(program.pid, signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "heard\n"
    assert all(is_running(pid) for pid in pids)
    program.communicate()
    assert program.returncode == 0
    wait_for_the_end(pids)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.napping"]
