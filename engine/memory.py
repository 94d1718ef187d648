"""How much memory this machine lets the process have, and how much of that is free."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

_MOUNTS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def machine_memory() -> int:
    """Bytes that the process may have: the physical memory, or less where a container or a limit of its own says so.

    It is read anew each time. What other processes hold of it is not subtracted.
    """
    return min([_physical(), *_cgroup_limits(), *_process_limits()])  # a list, since there may be no other limit


def available_memory() -> int:
    """Bytes that the process may still take without others, or itself, being swapped out or ended for it.

    The least of what the machine has free, what the control groups (a container) have left, and what the process's own
    limits leave. Files that a system or a group keeps in memory and can drop count as free. It is read anew each time;
    where a system does not say, it is `machine_memory`.
    """
    return max(0, min(machine_memory(), _free_physical(), *_cgroup_rooms(), *_process_rooms()))


class _WindowsStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API; ``others`` begins with page file and address space, total and available."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    )


class _MacStatistics(ctypes.Structure):
    """vm_statistics64 of mach/vm_statistics.h: pages."""

    _fields_ = (
        ("free", ctypes.c_uint32),
        ("active", ctypes.c_uint32),
        ("inactive", ctypes.c_uint32),
        ("wired", ctypes.c_uint32),
        ("events", ctypes.c_uint64 * 9),
        ("purgeable", ctypes.c_uint32),
        ("speculative", ctypes.c_uint32),
        ("compressions", ctypes.c_uint64 * 4),
        ("compressor", ctypes.c_uint32 * 4),
        ("uncompressed", ctypes.c_uint64),
    )


_HOST_VM_INFO64 = 4  # mach/host_info.h


def _physical() -> int:
    if sys.platform == "win32":
        status = _windows_status(ctypes.windll.kernel32)
        return sys.maxsize if status is None else int(status.total)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not say
        return sys.maxsize


def _free_physical() -> int:
    """What the whole machine has free, its dispensable caches counted; ``sys.maxsize`` where it does not say."""
    if sys.platform == "win32":
        status = _windows_status(ctypes.windll.kernel32)
        return sys.maxsize if status is None else int(status.available)
    if sys.platform == "darwin":
        free = _mac_free(ctypes.CDLL(None), os.sysconf("SC_PAGE_SIZE"))
    else:
        free = _meminfo("MemAvailable")
    return sys.maxsize if free is None else free


def _windows_status(kernel: Any) -> _WindowsStatus | None:
    """What ``GlobalMemoryStatusEx`` of kernel32 says; None where it fails."""
    status = _WindowsStatus(length=ctypes.sizeof(_WindowsStatus))
    return status if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _mac_free(system: Any, page_size: int) -> int | None:
    """Free and inactive pages, as ``host_statistics64`` counts them; None where it fails.

    Pages that can be purged are on the other lists too, and would count twice.
    """
    statistics = _MacStatistics()
    count = ctypes.c_uint32(ctypes.sizeof(statistics) // 4)
    host = ctypes.c_uint32(system.mach_host_self())
    if system.host_statistics64(host, _HOST_VM_INFO64, ctypes.byref(statistics), ctypes.byref(count)):
        return None
    return (statistics.free + statistics.inactive) * page_size


def _meminfo(key: str, file: Path = Path("/proc/meminfo")) -> int | None:
    """The bytes on a line "key:   123 kB"; None where there is none."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
    return None


def _cgroup_limits(mounts: Path = _MOUNTS, membership: Path = _MEMBERSHIP) -> Iterator[int]:
    """The limits of the control groups that the process is in, version 1 and 2, and of those above them."""
    for folder, limit, _, _ in _cgroups(mounts, membership):
        with suppress(OSError, ValueError):  # no such file here; "max" in version 2
            yield int((folder / limit).read_text())


def _cgroup_rooms(mounts: Path = _MOUNTS, membership: Path = _MEMBERSHIP) -> Iterator[int]:
    """What each of these groups may still take: limit less usage, of which files that it can drop are none."""
    for folder, limit, usage, cache in _cgroups(mounts, membership):
        with suppress(OSError, ValueError):
            room = int((folder / limit).read_text()) - int((folder / usage).read_text())
            yield room + _stat(folder / "memory.stat", cache)


def _stat(file: Path, key: str) -> int:
    """The number on a line "key 123"; 0 where there is none."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


def _cgroups(mounts: Path, membership: Path) -> Iterator[tuple[Path, str, str, str]]:
    """The folder of each control group of the process and of those above them, and its names.

    The names are those of the files of limit and usage, and of the line of ``memory.stat`` on inactive files.
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
            root, names = mounts, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = mounts / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for place in (group, *group.parents):
            yield (root / place, *names)


def _process_limits() -> Iterator[int]:
    """The limits on address space and data of this process (``ulimit -v`` and ``-d``)."""
    if sys.platform != "win32":
        import resource

        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft, _ = resource.getrlimit(limit)
            if soft != resource.RLIM_INFINITY:
                yield soft


def _process_rooms(statm: Path = Path("/proc/self/statm")) -> Iterator[int]:
    """What those limits leave, less what the process has; where a system does not say that, less its largest yet."""
    if sys.platform == "win32":
        return
    import resource

    try:
        pages = [int(number) for number in statm.read_text().split()]
        space, data = (pages[field] * os.sysconf("SC_PAGE_SIZE") for field in (0, 5))
    except (OSError, ValueError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        space = data = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for limit, taken in ((resource.RLIMIT_AS, space), (resource.RLIMIT_DATA, data)):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - taken
