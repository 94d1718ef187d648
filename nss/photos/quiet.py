"""Warnings of one thread dropped, those of all others left alone.

Filters of warnings belong to the process, and ``warnings.catch_warnings`` puts back a list that another thread may have
replaced meanwhile. So nothing is put back here: one filter stands before all others, and holds for a thread only as
long as that is within ``quiet``. Where filters belong to the context (``-X context_aware_warnings``, the default of
free-threaded Python 3.14), ``catch_warnings`` is each thread's own.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

CONTEXT_AWARE = bool(getattr(sys.flags, "context_aware_warnings", False))


class _Within(threading.local):
    """How often the thread has entered ``quiet``; it stands where a filter has the pattern of its messages."""

    depth = 0

    def match(self, _message: str) -> bool:
        """Whether the filter holds for a warning of this thread."""
        return self.depth > 0


_within = _Within()
_FILTER: Any = ("ignore", _within, Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings of the calling thread for the time of the context; a thread may enter again."""
    if CONTEXT_AWARE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    # other filters are put in front too, and catch_warnings may end with a list from before
    filters: Any = warnings.filters
    if not filters or filters[0] is not _FILTER:
        with suppress(ValueError):
            filters.remove(_FILTER)  # or a program that puts filters in front again and again would find ever more
        filters.insert(0, _FILTER)
    _within.depth += 1
    try:
        yield
    finally:
        _within.depth -= 1
