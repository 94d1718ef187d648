"""A watched folder, a clock that is set by hand, and a pipeline that works when it is told to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from nss.cutouts.run_info import RunInfo
from nss.interfaces.interface import FixedSize, complete
from nss.removal.host_stages import HostStages, InferredMask, PreparedPhoto
from nss.serve.jobs.tasks import Task
from nss.serve.watch.settings import WatchSettings
from nss.serve.watch.watcher import Watcher

LONG_AGO_NS = 1_500_000_000 * 10**9


@dataclass
class HandClock:
    """A clock in whose year every file of today is old."""

    now: float = 100.0
    wall: float = 4_000_000_000.0

    def time(self) -> float:
        return self.wall + self.now

    def monotonic(self) -> float:
        return self.now


class BrightRemover:
    """Stands for `nss.Remover`: what is bright is foreground."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(path=Path("bright.onnx"))
        self.host_stages = HostStages(complete({"input": "x", "output": "y", "size": FixedSize(16, 16)}))

    def infer(self, prepared: PreparedPhoto) -> InferredMask:
        assert prepared.network_input is not None
        grey = prepared.network_input[0].mean(axis=0)
        info = RunInfo("bright", "0" * 64, "numpy", "hand")
        return InferredMask(prepared.photo, (grey > grey.mean()).astype(np.float32), (), info)


def run_task(task: Task, remover: Any) -> None:
    """A task through all stages, as a pipeline does it."""
    outcome: Any
    try:
        task.entered("decode")
        loaded = task.load(remover)
        task.entered("network")
        output = remover.infer(loaded)
        task.entered("finish")
        outcome = task.finish(remover, output)
    except Exception as error:
        outcome = error
    task.done(outcome)


@dataclass
class Watch:
    """A watcher without its thread: what it said, and what it has given and is not done."""

    folder: Path
    recursive: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    at_once: int = 4
    clock: HandClock = field(default_factory=HandClock)
    lines: list[str] = field(default_factory=list)
    given: list[Task] = field(default_factory=list)
    remover: Any = field(default_factory=BrightRemover)
    put: Callable[[Task], object] | None = None

    def __post_init__(self) -> None:
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.outbox.mkdir(parents=True, exist_ok=True)
        self.watcher = self._new()

    @property
    def inbox(self) -> Path:
        return self.folder / "in"

    @property
    def outbox(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        return self.folder / "out.nss-watch.jsonl"

    @property
    def settings(self) -> WatchSettings:
        return replace(WatchSettings(self.inbox, self.outbox, self.recursive), **self.options)

    def _new(self) -> Watcher:
        put = self.put or self.given.append
        return Watcher(self.settings, put, self.lines.append, clock=self.clock, at_once=self.at_once)

    def start(self) -> Watch:
        """A server starts: anew, where one has ended."""
        self.watcher = self._new()
        self.watcher.open()
        return self

    def stop(self) -> None:
        self.watcher.stop()

    def kill(self) -> None:
        """The server ends in the middle of all: nothing is told, only its lock is given back."""
        file = self.watcher.journal._file
        assert file is not None
        file.close()
        self.watcher.journal._file = None
        self.given.clear()

    def poll(self, times: int = 1, seconds: float = 1.0) -> list[str]:
        """So many looks with time before each; the names of the tasks that are given and not done."""
        for _ in range(times):
            self.clock.now += seconds
            self.watcher.poll()
        return self.names

    @property
    def names(self) -> list[str]:
        return [Path(task.name).relative_to(self.inbox).as_posix() for task in self.given]

    def work(self) -> list[str]:
        """Do what was given, and all that is given meanwhile; the cut-outs that are there then."""
        while self.given:
            run_task(self.given.pop(0), self.remover)
            self.watcher.feed()
        return self.outputs

    def settle_and_work(self) -> list[str]:
        """Look twice, do what was given, and so on, until there is nothing left to do."""
        while self.poll(2):
            self.work()
        return self.outputs

    @property
    def outputs(self) -> list[str]:
        return sorted(p.relative_to(self.outbox).as_posix() for p in self.outbox.rglob("*") if p.is_file())

    def entries(self) -> list[dict[str, Any]]:
        """The lines of the journal."""
        return [json.loads(line) for line in self.journal.read_text("utf-8").splitlines()]

    def events(self) -> list[tuple[str, str]]:
        return [(entry["photo"], entry["event"]) for entry in self.entries()]

    def photo(self, name: str = "a.png", shade: int = 0, *, mtime_ns: int | None = LONG_AGO_NS) -> Path:
        """A photo in the watched folder; ``shade`` makes it another one."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, shade)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns + shade, mtime_ns + shade))
        return path


def write_photo(path: Path, shade: int = 0) -> None:
    pixels = np.full((24, 32, 3), shade, np.uint8)
    pixels[6:18, 8:24] = 255
    Image.fromarray(pixels).save(path)
