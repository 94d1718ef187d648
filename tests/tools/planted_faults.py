"""Faults planted in the engine, in the library and in cases, and what the fuzzer makes of each, as JSON.

A program of its own: cases run in forked children, and the process that forks must have one thread.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from engine.cpu.executor import NumpyExecutor
from nss.errors import ImageError
from nss.files import export
from nss.photos import image_io
from tools.fuzzing import image_cases, onnx_cases
from tools.fuzzing.children import Context, Judge, Limits, run_cases
from tools.fuzzing.image_seeds import seeds
from tools.fuzzing.onnx_seeds import branches
from tools.fuzzing.verdict import Verdict

LIMITS = Limits(seconds=60.0, memory=400 << 20)


class Impatient:
    """`LIMITS` for one child at a time, which has no time left once it has written its number to ``mark``."""

    memory = LIMITS.memory

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    @property
    def seconds(self) -> float:
        try:
            os.kill(int(self._mark.read_text(encoding="ascii")), 0)
        except (OSError, ValueError):  # nobody has, or that child has ended
            return LIMITS.seconds
        return 0.0


def hang(mark: Path, *_: object, **__: object) -> None:
    """As long as nobody ends it."""
    mark.write_text(f"{os.getpid()}", encoding="ascii")
    time.sleep(600)


def end(*_: object, **__: object) -> None:
    """As a fault in native code does."""
    os.kill(os.getpid(), signal.SIGABRT)


def leave(*_: object, **__: object) -> None:
    """Without an exception."""
    os._exit(7)


def hoard(*_: object, **__: object) -> None:
    """More than the limit of memory, of a kind that the system does not hold to it, and time to be noticed."""
    ballast = mmap.mmap(-1, 460 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
    time.sleep(30)
    ballast.close()


def ask(*_: object, **__: object) -> None:
    """More memory than the limit at once."""
    np.ones(1 << 30)


def raise_key_error(*_: object, **__: object) -> None:
    """What a decoder or an operator must not raise."""
    raise KeyError("planted")


def raise_lines(*_: object, **__: object) -> None:
    """An error of the project's, of two lines."""
    raise ImageError("one line\nand another")


def say(*_: object, **__: object) -> None:
    """A line of a native library, and what the loader says of it."""
    os.write(2, b"Fax4Decode: Bad code word\n")
    raise ImageError("damaged")


def complain(*_: object, **__: object) -> None:
    """A warning of Python's."""
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    raise ImageError("damaged")


def litter(_fill: object, target: Path, **_: object) -> None:
    """A temporary file that stays."""
    target.with_name(".nss-0123.tmp").touch()
    raise ImageError("the disk is full")


def spoil(original: Callable[..., object]) -> Callable[..., object]:
    """The input is written to."""

    def load(source: Path | bytes, *rest: object) -> object:
        photo = original(source, *rest)
        if isinstance(source, Path):
            source.write_bytes(b"")
        return photo

    return load


def wrong(original: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
    """One number of a result is off."""

    def run(self: NumpyExecutor, *rest: object) -> list[np.ndarray]:
        results = original(self, *rest)
        results[0].flat[0] += 0.01
        return results

    return run


def warn(original: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
    """NumPy complains to the user."""

    def run(self: NumpyExecutor, *rest: object) -> list[np.ndarray]:
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        return original(self, *rest)

    return run


def of_model(stand_in: object) -> Judge:
    """A sound model through the engine, with something else in the place of the executor's run."""

    def judge(_: int, context: Context) -> Verdict:
        path = context.folder / "model.onnx"
        path.write_bytes(branches().SerializeToString())
        with mock.patch.object(NumpyExecutor, "run", stand_in):
            return onnx_cases.judge_model(path, context, on_gpu=False)

    return judge


def of_image(module: object, name: str, stand_in: object, way: str = "library") -> Judge:
    """A sound image through the project, with something else in the place of a function."""

    def judge(_: int, context: Context) -> Verdict:
        path = context.folder / "damaged.png"
        path.write_bytes(seeds()["png"])
        with mock.patch.object(module, name, stand_in):
            rng = random.Random(1)
            return image_cases.watch(path, context, lambda: image_cases.judge_image(path, way, rng, context), way)

    return judge


PLANTED: dict[str, Judge] = {
    "memory": of_model(hoard),
    "MemoryError": of_model(ask),
    "foreign": of_model(raise_key_error),
    "difference": of_model(wrong(NumpyExecutor.run)),
    "warning": of_model(warn(NumpyExecutor.run)),
    "sound image": of_image(image_io, "EXTENSIONS", frozenset()),
    "image foreign": of_image(image_io, "load", raise_key_error),
    "image foreign in the command": of_image(image_cases.main, "app", raise_key_error, "command"),
    "image message": of_image(image_io, "load", raise_lines),
    "lines of a decoder": of_image(image_io, "load", say),
    "lines in the command": of_image(image_cases.main, "app", say, "command"),
    "image warning": of_image(image_io, "load", complain),
    "image litter": of_image(export, "place", litter),
    "image spoilt": of_image(image_io, "load", spoil(image_io.load)),
}


def verdicts(planted: dict[str, Judge], limits: Any, jobs: int) -> dict[str, list[str]]:
    """That on each fault: its kind, what tells it apart, and the place."""
    names = list(planted)

    def judge(index: int, context: Context) -> Verdict:
        return planted[names[index]](index, context)

    found = run_cases(judge, range(len(names)), limits=limits, jobs=jobs, batch=4)
    return {names[index]: [verdict.kind, verdict.why, verdict.place] for index, verdict in found}


def main() -> int:
    """Print the verdict of each."""
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "hangs"
        company = {  # which must come out as if nothing hung beside it
            "sound model": of_model(NumpyExecutor.run),
            "hang": of_model(partial(hang, mark)),
            "crash": of_model(end),
            "silent end": of_model(leave),
        }
        json.dump(verdicts(company, Impatient(mark), 1) | verdicts(PLANTED, LIMITS, 2), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
