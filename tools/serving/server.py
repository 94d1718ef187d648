"""A server as a process: started, watched from outside, and ended."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import TracebackType

from tools.serving.client import Connection

TICK_S = 0.25
"""Seconds between two samples."""

TOKEN = "NSS_SERVE_TOKEN_FILE"
_URL = re.compile(r"http://(?P<host>\[[0-9a-f:]+\]|[^/:\s]+):(?P<port>\d+)")


class StartError(Exception):
    """The server did not start; the text has what it said."""


class Server:
    """A process that serves; a context manager that ends it.

    Attributes:
        host, port: where it listens.
        token: what its interface wants to be told.
        pid: of the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        *,
        address: tuple[str, int] | None = None,
        seconds: float = 120.0,
    ) -> None:
        """Start it, and wait until it listens.

        Args:
            command: which prints its URL on standard output, unless ``address`` is given.
            folder: an existing one for its standard error and its token.
            variables: its environment.
            address: where it will listen.
            seconds: that it may take.

        Raises:
            StartError: it has ended, or has not begun to listen in this time.
        """
        self.token = secrets.token_urlsafe(24)
        (folder / "token").write_text(self.token, encoding="ascii")
        (folder / "token").chmod(0o600)
        self._errors = folder / "stderr"
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**variables, TOKEN: str(folder / "token")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if address is None else subprocess.DEVNULL,
                stderr=errors,
            )
        self.pid = self._process.pid
        until = time.monotonic() + seconds
        try:
            self.host, self.port = self._printed(until) if address is None else address
            self._wait_until_it_listens(until)
        except BaseException:
            self.kill()
            raise

    def connection(self) -> Connection:
        """A connection of a client that has the token."""
        return Connection(self.host, self.port, {"Authorization": f"Bearer {self.token}"})

    def said(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text(encoding="utf-8", errors="backslashreplace")

    def stop(self, seconds: float = 60.0) -> int:
        """Ask it to end, and wait; the exit status. Raises TimeoutExpired where it does not, and kills it then."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it as a crash does, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def resident(self) -> int:
        """Bytes of memory that it holds now; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def descriptors(self) -> list[str]:
        """What its open files are, sorted; empty where the system does not tell."""
        found = []
        with suppress(OSError):
            for entry in Path(f"/proc/{self.pid}/fd").iterdir():
                with suppress(OSError):
                    found.append(re.sub(r"\d+", "N", str(entry.readlink())))
        return sorted(found)

    def cpu_seconds(self) -> float:
        """What it has used of the cores; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except OSError:
            return 0.0
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _printed(self, until: float) -> tuple[str, int]:
        assert self._process.stdout is not None
        text = ""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (url := _URL.search(text)):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise StartError(f"no URL came; it has said: {self.said()}")
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    raise StartError(f"it has ended with status {self._process.wait()}: {self.said()}")
                text += data.decode(errors="replace")
        return url["host"].strip("[]"), int(url["port"])

    def _wait_until_it_listens(self, until: float) -> None:
        while True:
            try:
                with socket.create_connection((self.host, self.port), 1):
                    return
            except OSError as error:
                if not self.runs:
                    raise StartError(f"it has ended with status {self._process.returncode}: {self.said()}") from error
                if time.monotonic() > until:
                    raise StartError(f"nothing listens at {self.host}:{self.port}: {self.said()}") from error
            time.sleep(0.05)


class Memory:
    """What a server holds over time: sampled on the event loop, as long as ``watch`` runs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.samples: list[int] = []

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            self.samples.append(self.server.resident())
            await asyncio.sleep(TICK_S)

    def thirds(self) -> tuple[float, float, float]:
        """The median of the samples of each third of the time, in bytes."""
        count = max(1, len(self.samples) // 3)
        first, middle, last = self.samples[:count], self.samples[count : 2 * count], self.samples[2 * count :]
        return median(first or [0]), median(middle or first or [0]), median(last or first or [0])
