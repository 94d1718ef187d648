"""Cases in forked children, each with a limit of time and of memory, told apart however a child ends.

Starting Python and importing NumPy and ONNX takes longer than most cases, so the process that has done it forks. A
child takes a batch of cases, one after the other, and says when it begins and ends one. When it dies, or is killed at
a limit, the guilty case is run again alone, and the rest of the batch goes to another child. The process that forks
must have one Python thread, and must not have used a GPU; a child may do what it likes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from tools.fuzzing.verdict import Verdict, foreign, place_in_dump

BATCH = 25
"""Cases that a child takes."""

POLL_S = 0.02
DUMP_S = 1.0
"""How long a child that is to be killed has to write down where it is."""

RESIDENT = 1.25
"""Over the limit of a child's own data, what it may hold resident, files and what it shares with others included."""


@dataclass(frozen=True)
class Limits:
    """What a case may take: wall time, and bytes.

    The system holds a child to the bytes (RLIMIT_DATA), so that the engine, which asks for that limit, can refuse what
    does not fit; what it misses, the process that forks sees.
    """

    seconds: float = 10.0
    memory: int = 3 << 30


class Context:
    """What a case has of the child that it runs in."""

    def __init__(self, folder: Path, output: int, tell: Callable[[dict[str, object]], None]) -> None:
        self.folder = folder
        """Empty when a case begins, and emptied after it."""
        self.at = "start"
        self._output, self._tell = output, tell

    def stage(self, name: str) -> None:
        """Say what comes next, for the report of a case that does not end."""
        self.at = name
        self._tell({"stage": name})

    def written(self) -> str:
        """What has come to standard output and standard error since the last call, native lines included."""
        length = os.lseek(self._output, 0, os.SEEK_END)
        text = os.pread(self._output, min(length, 1 << 20), 0).decode(errors="backslashreplace")
        os.ftruncate(self._output, 0)
        return text


Judge = Callable[[int, Context], Verdict]


@dataclass
class _Child:
    pid: int
    pipe: int
    folder: Path
    cases: deque[int]
    alone: bool
    current: int | None = None
    stage: str = ""
    began: float = field(default_factory=time.monotonic)
    stopped: str = ""
    tail: bytes = b""
    open: bool = True

    def messages(self) -> Iterator[dict[str, object]]:
        """What the child has said since the last call."""
        while self.open and select.select([self.pipe], [], [], 0)[0]:
            data = os.read(self.pipe, 1 << 16)
            self.open = bool(data)
            *lines, self.tail = (self.tail + data).split(b"\n")
            yield from map(json.loads, lines)

    def resident(self) -> int:
        """Bytes of memory that the child holds now."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, why: str) -> None:
        """Have it write down where it is, then kill it."""
        self.stopped = why
        dump, until = self.folder / "dump", time.monotonic() + DUMP_S
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)
            while time.monotonic() < until and "most recent call first" not in dump.read_text(errors="replace"):
                time.sleep(POLL_S)
            time.sleep(POLL_S)
            os.kill(self.pid, signal.SIGKILL)

    def verdict_of_end(self) -> Verdict:
        """What to make of it that the child has ended within a case."""
        _, status = os.waitpid(self.pid, 0)
        dump = (self.folder / "dump").read_text(errors="replace")
        place = place_in_dump(dump)
        if self.stopped:
            return Verdict(self.stopped, f"in {self.stage}", place, dump)
        code = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        output = (self.folder / "output").read_bytes()[:1000].decode(errors="backslashreplace")
        return Verdict("crash", f"{how} in {self.stage}", place, f"{output}\n{dump}")


def run_cases(
    judge: Judge,
    cases: Iterable[int],
    *,
    limits: Limits | None = None,
    jobs: int = 1,
    batch: int = BATCH,
    seconds: float | None = None,
) -> Iterator[tuple[int, Verdict]]:
    """Judge each case in a child, ``jobs`` children at a time; yields each case with its verdict, in any order.

    After ``seconds`` no further case is waited for. A case that dies or reaches a limit in the company of others, and
    does neither alone, has the verdict that it has alone.
    """
    if threading.active_count() > 1:
        raise RuntimeError("threads are running, which a forked child would lack")
    limits = limits or Limits()
    until = time.monotonic() + seconds if seconds else float("inf")
    waiting, again = iter(cases), deque[tuple[deque[int], bool]]()
    children: list[_Child] = []
    with tempfile.TemporaryDirectory(prefix="nss-fuzz-") as folder:
        try:
            while time.monotonic() < until:
                while len(children) < jobs:
                    few, alone = again.popleft() if again else (deque(islice(waiting, batch)), False)
                    if not few:
                        break
                    children.append(_start(judge, few, alone=alone, parent=Path(folder), limits=limits))
                if not children:
                    return
                select.select([child.pipe for child in children], [], [], POLL_S)
                for child in list(children):
                    yield from _receive(child)
                    if not child.open:
                        children.remove(child)
                        yield from _reap(child, again)
                    elif child.current is not None and not child.stopped:
                        if child.resident() > RESIDENT * limits.memory:
                            child.stop("memory")
                        elif time.monotonic() - child.began > limits.seconds:
                            child.stop("hang")
        finally:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                os.close(child.pipe)


def _receive(child: _Child) -> Iterator[tuple[int, Verdict]]:
    for message in child.messages():
        if "begin" in message:
            child.current, child.began, child.stage = child.cases.popleft(), time.monotonic(), "start"
        elif "stage" in message:
            child.stage = str(message["stage"])
        elif child.current is not None:
            index, child.current = child.current, None
            yield index, Verdict(**message)  # type: ignore[arg-type]


def _reap(child: _Child, again: deque[tuple[deque[int], bool]]) -> Iterator[tuple[int, Verdict]]:
    """Take leave of a child that has closed its pipe."""
    os.close(child.pipe)
    if child.current is None:
        os.waitpid(child.pid, 0)
    else:
        verdict = child.verdict_of_end()
        if child.alone:
            yield child.current, verdict
        else:
            again.append((deque([child.current]), True))
    if child.cases:
        again.append((child.cases, False))
    shutil.rmtree(child.folder, ignore_errors=True)


def _start(judge: Judge, cases: deque[int], alone: bool, parent: Path, limits: Limits) -> _Child:
    folder = Path(tempfile.mkdtemp(dir=parent))
    (folder / "dump").touch()
    pipe, end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(end)
        return _Child(pid, pipe, folder=folder, cases=cases, alone=alone)
    status = 1
    try:
        os.close(pipe)
        _serve(judge, cases, folder=folder, pipe=end, limits=limits)
        status = 0
    finally:
        os._exit(status)


def _serve(judge: Judge, cases: Iterable[int], folder: Path, pipe: int, limits: Limits) -> None:
    import resource  # not on Windows, where main says that nothing can run

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    dump = (folder / "dump").open("w")
    faulthandler.enable(dump)
    faulthandler.register(signal.SIGUSR1, dump)
    # a warning that was shown for one case must be shown for the next
    warnings.simplefilter("always", RuntimeWarning)
    warnings.simplefilter("always", UserWarning)
    output = os.open(folder / "output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)

    def tell(message: dict[str, object]) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    for index in cases:
        work = folder / "case"
        work.mkdir()
        context = Context(work, output, tell)
        tell({"begin": index})
        try:
            verdict = judge(index, context)
            if not verdict.fault and (lines := context.written()):
                verdict = Verdict("noise", kind_of_noise(lines), detail=lines)
        except BaseException as error:
            verdict = foreign(error, context.at)
        context.written()
        tell(asdict(verdict))
        shutil.rmtree(work)


def kind_of_noise(lines: str) -> str:
    """The beginning of the first line: libraries put the name of their function there."""
    first = next((line.strip() for line in lines.splitlines() if line.strip()), "")
    return "".join("#" if char.isdigit() else char for char in first.split(":")[0])[:60]
