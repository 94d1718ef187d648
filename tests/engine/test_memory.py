"""What limits the memory of a process, read from files as Linux writes them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import memory


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "1000\n"}, [1000]),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "2000\n", "memory.max": "3000\n"}, [2000, 3000]),
        (
            "4:memory:/docker/x\n1:cpu:/\n0::/\n",
            {"memory/memory.limit_in_bytes": "5000\n", "cpu/memory.limit_in_bytes": "1\n"},
            [5000],
        ),
        ("7:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "6000\n"}, [6000]),
        ("0::/gone\n", {}, []),
        ("nonsense\n\n", {"memory.max": "1\n"}, []),
    ],
    ids=["version 2", "nested", "version 1", "with others", "not mounted", "unreadable"],
)
def test_control_groups(membership: str, files: dict[str, str], expected: list[int], tmp_path: Path) -> None:
    mounts = write_files(tmp_path / "mounts", files)
    listing = write_files(tmp_path, {"cgroup": membership}) / "cgroup"
    assert list(memory._cgroup_limits(mounts, listing)) == expected


def test_without_control_groups(tmp_path: Path) -> None:
    assert list(memory._cgroup_limits(tmp_path, tmp_path / "missing")) == []


def test_the_smallest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    physical = memory.machine_memory()
    assert 64 << 20 < physical < 1 << 47
    monkeypatch.setattr(memory, "_cgroup_limits", lambda: [1 << 60, 12345])
    assert memory.machine_memory() == 12345


def test_there_may_be_no_limit_but_the_physical_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_cgroup_limits", "_process_limits"):
        monkeypatch.setattr(memory, name, lambda: iter(()))
    assert memory.machine_memory() == memory._physical()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no limits of the process")
def test_limit_of_the_process() -> None:
    code = (
        "import resource; from engine.memory import machine_memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); print(machine_memory())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(process.stdout) <= 1 << 30


FOLDERS = {
    "version 2": (
        "0::/a\n",
        {
            "a/memory.max": "1000\n",
            "a/memory.current": "700\n",
            "a/memory.stat": "anon 100\ninactive_file 250\nfile 400\n",
            "memory.max": "max\n",
        },
        [550],
    ),
    "version 1": (
        "4:memory:/x\n",
        {
            "memory/x/memory.limit_in_bytes": "5000\n",
            "memory/x/memory.usage_in_bytes": "4000\n",
            "memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
        },
        [1500],
    ),
    "no statistics": ("0::/\n", {"memory.max": "1000\n", "memory.current": "1200\n"}, [-200]),
    "no usage": ("0::/\n", {"memory.max": "1000\n"}, []),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_what_control_groups_have_left(case: str, tmp_path: Path) -> None:
    membership, files, expected = FOLDERS[case]
    mounts = write_files(tmp_path / "mounts", files)
    listing = write_files(tmp_path, {"cgroup": membership}) / "cgroup"
    assert list(memory._cgroup_rooms(mounts, listing)) == expected


def test_the_smallest_room_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < memory.available_memory() <= memory.machine_memory()
    monkeypatch.setattr(memory, "_free_physical", lambda: 10**12)
    monkeypatch.setattr(memory, "_cgroup_rooms", lambda: [1 << 60, 12345])
    assert memory.available_memory() == 12345
    monkeypatch.setattr(memory, "_cgroup_rooms", lambda: [-1])
    assert memory.available_memory() == 0


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_meminfo", lambda _: None)
    monkeypatch.setattr(memory, "_cgroup_rooms", list)
    monkeypatch.setattr(memory, "_process_rooms", list)
    assert memory.available_memory() == memory.machine_memory()


def test_lines_of_meminfo(tmp_path: Path) -> None:
    file = (
        write_files(tmp_path, {"meminfo": "MemTotal:  100 kB\nMemAvailable:      7 kB\nHugePages_Total:   0\n"})
        / "meminfo"
    )
    assert memory._meminfo("MemAvailable", file) == 7 << 10
    assert memory._meminfo("MemLocked", file) is None
    assert memory._meminfo("MemAvailable", tmp_path / "missing") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these files")
def test_memory_that_is_taken_is_not_available() -> None:
    """512 MB less; what others take and give back meanwhile moves it too, and one of several tries is enough."""
    code = (
        "from engine import available_memory; before = available_memory(); taken = bytearray(b'x') * (512 << 20); "
        "print(before - available_memory())"
    )
    differences = []
    for _ in range(6):
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        differences.append(int(process.stdout))
        if differences[-1] > 128 << 20:
            return
    pytest.fail(f"512 MB were taken, and as much was available: {differences}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no limits of the process")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_room_within_the_limit_of_the_process(limit: str) -> None:
    code = (
        "import resource; from engine import available_memory; "
        f"resource.setrlimit(resource.{limit}, (1 << 30, 1 << 30)); before = available_memory(); "
        "taken = bytearray(256 << 20); print(before, available_memory())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, process.stdout.split())
    assert before < 1 << 30
    assert 255 << 20 < before - after < 300 << 20


class FakeSystem:
    """What ctypes finds of macOS's and Windows' libraries."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    def mach_host_self(self) -> int:
        return 515

    def host_statistics64(self, host: ctypes.c_uint32, flavor: int, statistics: Any, count: Any) -> int:
        assert (host.value, flavor, count._obj.value) == (515, 4, 38)
        words = ctypes.cast(statistics, ctypes.POINTER(ctypes.c_uint32))
        for word, pages in {0: 1000, 1: 7, 2: 500, 3: 9, 22: 11, 23: 13}.items():  # as mach/vm_statistics.h has them
            words[word] = pages
        return 5 if self.fails else 0

    def GlobalMemoryStatusEx(self, status: Any) -> int:  # noqa: N802 - Windows' name
        assert status._obj.length == 64
        words = ctypes.cast(status, ctypes.POINTER(ctypes.c_uint64))
        words[1], words[2] = 8 << 30, 3 << 30
        return 0 if self.fails else 1


def test_macos() -> None:
    assert memory._mac_free(FakeSystem(fails=False), 16384) == 1500 * 16384
    assert memory._mac_free(FakeSystem(fails=True), 16384) is None


def test_windows() -> None:
    status = memory._windows_status(FakeSystem(fails=False))
    assert status is not None
    assert (status.total, status.available) == (8 << 30, 3 << 30)
    assert memory._windows_status(FakeSystem(fails=True)) is None
