"""How much memory this machine lets the process have."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def machine_memory() -> int:
    """Bytes that the process may have: the physical memory, or less where a container or a limit of its own says so.

    It is read anew each time. What other processes hold of it is not subtracted.
    """
    return min(_physical(), *_cgroup_limits(), *_process_limits())


def _physical() -> int:
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            """MEMORYSTATUSEX of the Windows API."""

            _fields_ = (
                ("length", ctypes.c_uint32),
                ("load", ctypes.c_uint32),
                ("total", ctypes.c_uint64),
                ("others", ctypes.c_uint64 * 6),
            )

        status = Status(length=ctypes.sizeof(Status))
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return sys.maxsize
        return int(status.total)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not say
        return sys.maxsize


def _cgroup_limits(
    mounts: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """The limits of the control groups that the process is in, version 1 and 2, and of those above them.

    ``membership`` has a line "number:controllers:path" for each hierarchy. In a container the path may be the host's,
    which is not mounted; the container's own group is then the root of the mount.
    """
    try:
        lines = membership.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            root, name = mounts, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounts / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for place in (group, *group.parents):
            try:
                yield int((root / place / name).read_text())
            except (OSError, ValueError):  # no such file here; "max" in version 2
                continue


def _process_limits() -> Iterator[int]:
    """The limits on address space and data of this process (``ulimit -v`` and ``-d``)."""
    if sys.platform != "win32":
        import resource

        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft, _ = resource.getrlimit(limit)
            if soft != resource.RLIM_INFINITY:
                yield soft
