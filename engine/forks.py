"""What a forked child finds of its parent: its memory, but none of its threads.

What only needs threads of its own is made anew in the child. A WebGPU implementation and its driver cannot be: there
the child is told so, and kept from waiting for threads that do not exist, when it frees a handle or comes to its end.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from engine.errors import BackendError


def in_child(renew: Callable[[], object]) -> None:
    """Have ``renew`` called first in each forked child: for locks, which threads of the parent may hold.

    Without effect where there is no fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


_used: dict[ModuleType, int] = {}
"""The implementations of WebGPU that are loaded, and the process that loaded each."""


def note_use(implementation: ModuleType) -> None:
    """Remember that this process uses an implementation of WebGPU, which its forks then cannot."""
    if implementation not in _used:
        _used[implementation] = os.getpid()


def check_process(doing: str) -> None:
    """Raise BackendError in a child of a process that used WebGPU before the fork."""
    if is_foreign():
        raise BackendError(
            f"{doing}: WebGPU was in use before this process was forked, and does not survive that; "
            "make it after the fork, or use spawn"
        )


def is_foreign() -> bool:
    """Whether WebGPU was in use before this process was forked."""
    return any(process != os.getpid() for process in _used.values())


def _disarm() -> None:
    """In the child: let no handle and no exit handler of a driver wait for the parent's threads."""
    if not _used:
        return
    for module in _used:
        for kind in (module.classes.GPUObjectBase, module.classes.GPUAdapter):
            kind.__del__ = _leave
    if _libc is not None:
        # comes before the handlers that drivers registered in the parent; Python's own have run by then
        _libc.on_exit(_libc._exit, None)


def _leave(handle: Any) -> None:
    """Free nothing: the memory goes with the process."""


def _c_library() -> Any:
    """The C library, where it has ``on_exit`` (glibc), else None."""
    try:
        library = ctypes.CDLL(None)
        return library if library.on_exit and library._exit else None
    except (AttributeError, OSError, TypeError):
        return None


_libc = _c_library() if sys.platform == "linux" else None

in_child(_disarm)
