"""Wall time of the stages that an image goes through."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn


class Milliseconds(dict[str, float]):
    """Wall time by stage, in milliseconds: complete when it is made, and never changed, so that anyone may hold it.

    A dict, so that it goes into JSON, pickles and ``dataclasses.asdict`` as one does.
    """

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("the times of a run are not changed; make a dict of them first")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Milliseconds, (dict(self),)


@contextmanager
def stage(milliseconds: MutableMapping[str, float], name: str) -> Iterator[None]:
    """Store the wall time of the block, in milliseconds to the microsecond, as ``milliseconds[name]``."""
    start = time.perf_counter()
    yield
    milliseconds[name] = round((time.perf_counter() - start) * 1000, 3)
