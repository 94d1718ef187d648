"""Work for workers that needs no photo; a module of its own, as they import it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nss.errors import ImageError, UsageError
from nss.files import output_file
from nss.photos import codec_messages
from nss.workers.messages import Loaded


@dataclass(frozen=True)
class Task:
    """What a worker is to do for it.

    Attributes:
        name: what errors call it.
        size: of the array that the first half makes.
        load, finish: what happens in the halves: a key of `ACTS`, or nothing.
        folder: where those leave traces.
    """

    name: str
    size: int = 10
    load: str = ""
    finish: str = ""
    folder: Path | None = None


class StrangeError(Exception):
    """One that pickles, and cannot be made again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def fail(task: Task) -> None:
    try:
        raise ValueError("it's 'mask_bits' in another package")
    except ValueError as error:
        raise ImageError(f"{task.name}: 'mask_bits' is wrong: {error}") from error


def kill_once(task: Task) -> None:
    assert task.folder is not None
    try:
        (task.folder / f"{task.name}.once").touch(exist_ok=False)
    except FileExistsError:
        return
    kill(task)


def kill(_: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(_: Task) -> None:
    ctypes.string_at(0)


def nap(task: Task) -> None:
    """Long enough for whoever is to interrupt it; what is written meanwhile has no name yet."""
    assert task.folder is not None

    def fill(file: Any) -> None:
        file.write(b"half")
        (task.folder / f"{task.name}.napping").write_text(str(os.getpid()))
        time.sleep(600)

    output_file.place(fill, task.folder / f"{task.name}.out")


def be_strange(_: Task) -> None:
    raise StrangeError("one", "two")


def misuse(_: Task) -> None:
    raise UsageError("that is no use")


def want_memory(_: Task) -> None:
    raise MemoryError


def say(task: Task) -> None:
    codec_messages.tell(task.name, "the codec says: hm")


def raise_unforeseen(_: Task) -> None:
    {}["missing"]


def leave(_: Task) -> None:
    os._exit(7)


ACTS = {
    act.__name__: act
    for act in (fail, kill_once, kill, crash, nap, be_strange, misuse, want_memory, say, raise_unforeseen, leave)
}


@dataclass(frozen=True)
class Doubling:
    """Adds up what it is given."""

    factor: int = 2

    def load(self, task: Task) -> Loaded:
        if task.load:
            ACTS[task.load](task)
        array = np.arange(task.size, dtype=np.float32)
        return Loaded(kept=array, arrays=[array * self.factor, array.astype(np.uint8)[None]], summary=os.getpid())

    def finish(self, task: Task, kept: np.ndarray, arrays: Sequence[np.ndarray], output: Any) -> Any:
        if task.finish:
            ACTS[task.finish](task)
        main = sys.modules["__main__"]
        return (
            os.getpid(),
            float(kept.sum()),
            [float(array.sum()) for array in arrays],
            output,
            getattr(main, "__file__", None),
        )
