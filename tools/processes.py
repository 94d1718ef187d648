"""Processes that are measured: the files of any tree, folders of their own, and what they hold together with theirs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

SAMPLE_S = 0.05
DRIVER_CACHES_OFF = {"__GL_SHADER_DISK_CACHE": "0", "MESA_SHADER_CACHE_DISABLE": "true"}

_FOLDERS = {
    "NSS_STATE_DIR": "state",
    "NSS_CACHE_DIR": "cache",
    "__GL_SHADER_DISK_CACHE_PATH": "driver",
    "MESA_SHADER_CACHE_DIR": "driver",
    "XDG_RUNTIME_DIR": "run",
}


def environment(tree: Path, work: Path, *, driver_caches: bool = True) -> dict[str, str]:
    """The variables of a process: the tree's files, packages from elsewhere, and what is remembered under ``work``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("NSS_", "PYTHON"))}
    for name, folder in _FOLDERS.items():
        (work / folder).mkdir(mode=0o700, exist_ok=True)
        variables[name] = str(work / folder)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    packages = [path for path in others if not (Path(path) / "engine").exists()]
    variables["PYTHONPATH"] = os.pathsep.join([str(tree), *packages])
    return variables | ({} if driver_caches else DRIVER_CACHES_OFF)


class TreeMemory:
    """Samples what a process and all that it has started hold, at 20 Hz: Linux's proportional set size, in bytes.

    ``samples`` are pairs of seconds since ``watch`` and bytes.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Begin, in a thread of its own, until the process has ended."""
        self._thread = threading.Thread(target=self._sample, args=(pid, time.perf_counter()))
        self._thread.start()

    def peak(self) -> int | None:
        """The most of all samples once the process has ended; None where the system shows none."""
        assert self._thread is not None
        self._thread.join()
        return max((held for _, held in self.samples), default=None)

    def _sample(self, pid: int, start: float) -> None:
        while True:
            held = _held(pid)
            if not held:
                return
            everything = held + sum(_held(child) for child in _descendants(pid))
            self.samples.append((time.perf_counter() - start, everything))
            time.sleep(SAMPLE_S)


def sizes(rollup: str) -> Mapping[str, int]:
    """The sizes that ``smaps_rollup``'s text has, in bytes by name: "Pss", "Pss_File" and others."""
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.endswith(" kB")}


def _held(pid: int) -> int:
    try:
        return sizes(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")).get("Pss", 0)
    except OSError:
        return 0


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # the name, in brackets, may hold anything
            parent = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            yield child
