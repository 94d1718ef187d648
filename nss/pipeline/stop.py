"""Ctrl-C while many images are in work: what is in hand is finished, and nothing else begun."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from nss.stop_signals import forget_stop, raise_stop


@dataclass
class Stop:
    """Whether to begin with no further image, and how many are in hand.

    Attributes:
        requested: images in hand are finished, and no other is begun.
        in_hand: images that the network is at or through with, and that are not yet reported.
        waiting: for what may never come, a fifo's reader for instance.
    """

    requested: bool = False
    in_hand: int = 0
    waiting: bool = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block, a wait, the first Ctrl-C raises KeyboardInterrupt."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False


@contextmanager
def finish_on_interrupt(notify: Callable[[], object]) -> Iterator[Stop]:
    """Within the block the first Ctrl-C asks to stop once what is in hand is finished, and ``notify`` says so.

    A second one goes to the handler from before, which raises, and so does the first where nothing is in hand, or
    within ``Stop.interruptible``. ``notify`` is called in a thread of its own: the signal may come while the main
    thread prints, or holds a lock that ``notify`` needs. Outside of the main thread, and where Ctrl-C is ignored or
    handled by others, nothing changes.
    """
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested or stop.waiting or not stop.in_hand:
            assert callable(before)
            before(number, frame)
            return  # it puts off what it raises
        stop.requested = True
        forget_stop()
        # a threading.Thread takes a lock that the interrupted code may hold
        _thread.start_new_thread(notify, ())

    ours = (
        threading.current_thread() is threading.main_thread()  # Python handles signals in no other
        and before in (signal.default_int_handler, raise_stop)
    )
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
