"""A photo on its way through the stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PhotoInWork:
    """A job on its way.

    Attributes:
        index: its place among the jobs.
        value: what the last stage made of it; in the end its result, unless there is an ``error``.
        error: what a stage raised.
        in_hand: whether a lane has begun on it, or it failed when its turn came.
    """

    __slots__ = ("error", "in_hand", "index", "job", "lease", "value")

    def __init__(self, index: int, job: Any, lease: Any) -> None:
        self.index, self.job, self.lease = index, job, lease
        self.value: Any = None
        self.error: BaseException | None = None
        self.in_hand = False

    def __lt__(self, other: PhotoInWork) -> bool:
        return self.index < other.index

    def perform(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Keep what the call gives, or raises."""
        try:
            self.value = call(self.job, *arguments)
        except BaseException as error:
            self.error = error

    def take(self) -> Any:
        """The value, which is not kept."""
        value, self.value = self.value, None
        return value

    def release(self) -> None:
        """Give its memory back."""
        if self.lease is not None:
            self.lease.release()


def result_of(photo: PhotoInWork) -> Any:
    """The result, or the exception of a stage, which is not kept: its traceback leads to pixels.

    Raises what is no Exception.
    """
    error, photo.error = photo.error, None
    if error is None:
        return photo.take()
    if isinstance(error, Exception):
        return error
    raise error
