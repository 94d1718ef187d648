"""A store in this process's memory, for tests of what goes to any store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from nss.ray import storage


class MemoryStore(MemoryFileSystem):
    """Objects by name. ``before`` and ``after`` are called with each request's name and path, and may raise."""

    store: dict[str, Any] = {}  # noqa: RUF012 - as fsspec has it, one for all
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store.clear()
        self.pseudo_dirs[:] = [""]
        self.requests: list[str] = []
        self.before: Callable[[str, str], object] = lambda *_: None
        self.after: Callable[[str, str], object] = lambda *_: None

    def cat_file(self, path: str, **options: Any) -> bytes:
        return self._asked("get", path, lambda: super(MemoryStore, self).cat_file(path, **options))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._asked("put", path, lambda: super(MemoryStore, self).pipe_file(path, value, mode=mode, **options))

    def _asked(self, request: str, path: str, act: Callable[[], Any]) -> Any:
        self.requests.append(request)
        self.before(request, path)
        answer = act()
        self.after(request, path)
        return answer


def memory_store(monkeypatch: Any) -> MemoryStore:
    """Stands for what opens ``memory://``, which is a scheme for as long as the test runs."""
    store = MemoryStore()
    others = storage.opened
    monkeypatch.setitem(storage.PACKAGES, "memory", "fsspec")
    monkeypatch.setattr(storage, "opened", lambda scheme: store if scheme == "memory" else others(scheme))
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.0)
    return store
