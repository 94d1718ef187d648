"""What a forked child finds of its parent: its memory, but none of its threads.

A lock that another thread held at the fork is never free in the child, so a fork waits for those that no one can make
anew. What only needs threads of its own is made anew in the child. A WebGPU implementation and its driver cannot be:
there the child is told so, and kept from waiting for threads that do not exist, when it frees a handle or comes to its
end.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from engine.errors import BackendError


def in_child(renew: Callable[[], object]) -> None:
    """Have ``renew`` called first in each forked child: for locks, which threads of the parent may hold.

    Without effect where there is no fork.
    """
    _at_fork(after_in_child=renew)


def _at_fork(**hooks: Callable[[], object]) -> None:
    """``os.register_at_fork``, where the system forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**hooks)


class ForkLock:
    """A readers-writer lock between threads and forks: any number of threads share it, and a fork excludes them.

    A fork waits until they have left: a lock that C code holds at the fork has no owner in the child, and is never
    free. A thread that holds it must not wait for another one that still has to take it.
    """

    def __init__(self) -> None:
        self._forking: int | None = None
        self._renew()
        _at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._renew)

    def _renew(self) -> None:
        self._condition = threading.Condition()
        self._inside: dict[object, int] = {}
        self._forking = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold back forks of other threads for the time of the context; re-entrant."""
        thread, visit = threading.get_ident(), object()
        inside, condition = self._inside, self._condition
        try:
            with condition:
                condition.wait_for(lambda: self._forking in (None, thread) or thread in inside.values())
                inside[visit] = thread
            yield
        finally:
            # also where an interrupt came between the two lines above
            with condition:
                inside.pop(visit, None)
                condition.notify_all()

    def _close(self) -> None:
        thread = threading.get_ident()
        with self._condition:
            self._condition.wait_for(lambda: self._forking is None)
            self._forking = thread
            self._condition.wait_for(lambda: all(other == thread for other in self._inside.values()))

    def _open(self) -> None:
        with self._condition:
            self._forking = None
            self._condition.notify_all()


numerics = ForkLock()
"""Held within BLAS and threadpoolctl, which have locks of their own."""

_loaders: dict[ModuleType, int] = {}
"""The process that loaded each implementation of WebGPU."""


def note_use(implementation: ModuleType) -> None:
    """Remember that this process uses an implementation of WebGPU, which its forks then cannot."""
    if implementation not in _loaders:
        _loaders[implementation] = os.getpid()


def check_process(doing: str) -> None:
    """Raise BackendError in a child of a process that used WebGPU before the fork."""
    if is_foreign():
        raise BackendError(
            f"{doing}: WebGPU was in use before this process was forked, and does not survive that; "
            "make it after the fork, or use spawn"
        )


def is_foreign() -> bool:
    """Whether WebGPU was in use before this process was forked."""
    return any(process != os.getpid() for process in _loaders.values())


def _disable_finalizers() -> None:
    """In the child: let no handle and no exit handler of a driver wait for the parent's threads."""
    if not _loaders:
        return
    for module in _loaders:
        for kind in (module.classes.GPUObjectBase, module.classes.GPUAdapter):
            kind.__del__ = _keep_handle
    if _libc is not None:
        # comes before the handlers that drivers registered in the parent; Python's own have run by then
        _libc.on_exit(_libc._exit, None)


def _keep_handle(handle: Any) -> None:
    """Free nothing: the memory goes with the process."""


def _c_library() -> Any:
    """The C library, where it has ``on_exit`` (glibc), else None."""
    try:
        library = ctypes.CDLL(None)
        return library if library.on_exit and library._exit else None
    except (AttributeError, OSError, TypeError):
        return None


_libc = _c_library() if sys.platform == "linux" else None

in_child(_disable_finalizers)
