"""One worker process, seen from its parent: started, asked, and seen off."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nss import early_signals
from nss.workers import channel
from nss.workers.messages import Done, Failed, Naming, Note
from nss.workers.shared_block import SharedBlock

_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from nss.workers.child import main; main(sys.argv[1])"

_SINGLE_THREADED = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What has BLAS make no threads as NumPy is imported; there is a worker for each core."""

PATIENCE_S = 2.0
"""How long a worker that nobody needs may take to end."""

_starting = threading.Lock()


class WorkerGoneError(Exception):
    """A worker has ended in the middle; ``str`` says how."""


def supported() -> bool:
    """Whether this system and this Python can have workers: Unix, and an interpreter that can be started again."""
    frozen = getattr(sys, "frozen", False)
    return os.name == "posix" and hasattr(signal, "pthread_sigmask") and bool(sys.executable) and not frozen


class WorkerProcess:
    """A process that does requests, one at a time, for one thread at a time.

    Attributes:
        blocks: the memory that it shares with this process.
        mark: in the names of the temporary files that it makes.
        is_configured: whether it has got its work.
        announced: the names that files were about to get within the last request, and device and inode of each.
    """

    def __init__(self, blocks: int, imports: Sequence[str] = ()) -> None:
        """Start it, and do not wait for it.

        Args:
            blocks: how many there are.
            imports: the modules that it is to import beforehand.

        Raises:
            OSError: it cannot be started.
        """
        self.mark = secrets.token_hex(4)
        self.is_configured = False
        self._is_ready = False
        self.announced: list[tuple[Path, tuple[int, int]]] = []
        self._ending = threading.Lock()
        self.blocks: list[SharedBlock] = []
        ours: list[int] = []
        theirs: list[int] = []
        try:
            requests, self._requests = os.pipe()
            theirs.append(requests)
            ours.append(self._requests)
            self._answers, answers = os.pipe()
            theirs.append(answers)
            ours.append(self._answers)
            for _ in range(blocks):
                self.blocks.append(SharedBlock.create())
            numbers = [block.descriptor for block in self.blocks]
            settings = {
                "requests": requests,
                "answers": answers,
                "blocks": numbers,
                "mark": self.mark,
                "imports": list(imports),
            }
            self._process = _start(json.dumps(settings), [*theirs, *numbers])
        except BaseException:
            for block in self.blocks:
                block.close()
            for number in ours:
                os.close(number)
            raise
        finally:
            for number in theirs:
                os.close(number)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raises WorkerGoneError where it has ended, as far as the system knows."""
        if self._process.poll() is not None:
            raise self._gone()

    def wait_until_ready(self) -> None:
        """Wait until it has imported all it needs. Raises WorkerGoneError."""
        if not self._is_ready:
            self._answer(lambda *_: None)
            self._is_ready = True

    def configure(self, packed_work: bytes, tell: Callable[[str, str], object]) -> None:
        """Hand it its work, as `channel.pack` packs it. Raises WorkerGoneError, and what unpickling raises there."""
        self.wait_until_ready()
        self._send(packed_work)
        self._answer(tell)
        self.is_configured = True

    def ask(self, request: object, tell: Callable[[str, str], object]) -> Any:
        """The answer to a request; ``tell`` gets what codecs say meanwhile.

        Raises:
            WorkerGoneError: it has ended, for whatever reason.
            Exception: what the request raised there.
        """
        self.announced.clear()
        self._send(channel.pack(request))
        return self._answer(tell)

    def say(self, request: object) -> None:
        """Send what has no answer. Raises WorkerGoneError."""
        self._send(channel.pack(request))

    def end(self) -> None:
        """Have it end, as it does when there is nobody to send requests; ``close`` is still due."""
        with self._ending:
            if self._requests >= 0:
                os.close(self._requests)
                self._requests = -1

    def close(self) -> None:
        """See it off; it is killed where it does not end by itself."""
        self.end()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
        for block in self.blocks:
            block.close()

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does; ``close`` is still due."""
        with suppress(OSError):
            self._process.kill()

    def _send(self, packed: bytes) -> None:
        try:
            with self._ending:  # the number may be another file's once it is closed
                channel.send_packed(self._requests, packed)
        except OSError as error:
            raise self._gone() from error

    def _answer(self, tell: Callable[[str, str], object]) -> Any:
        while True:
            try:
                packed = channel.receive_packed(self._answers)
            except (EOFError, OSError) as error:
                raise self._gone() from error
            answer = channel.unpack(packed)
            if isinstance(answer, Note):
                tell(answer.name, answer.text)
            elif isinstance(answer, Naming):
                self.announced.append((answer.path, answer.identity))
            elif isinstance(answer, Failed):
                raise answer.error.error()
            else:
                assert isinstance(answer, Done)
                return answer.value

    def _gone(self) -> WorkerGoneError:
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:  # it has closed its pipes, and lives: nothing can come of it
            self._process.kill()
            status = self._process.wait()
        if status >= 0:
            return WorkerGoneError(f"with status {status}")
        return WorkerGoneError(f"by signal {-status}{' (out of memory?)' if status == -signal.SIGKILL else ''}")


def _start(settings: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    debugging = bool(os.environ.get("NSS_DEBUG"))  # codecs may then say what they like
    with _starting, _blocked_signals():
        return subprocess.Popen(
            [sys.executable, *flags, "-c", _BOOT, settings, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if debugging else subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(_SINGLE_THREADED, "1")},
            pass_fds=descriptors,
        )


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """A process that is started within the block has the signals of the command blocked from its first instruction.

    It stays in its parent's process group, so that Ctrl-Z stops them together.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, early_signals.numbers())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
