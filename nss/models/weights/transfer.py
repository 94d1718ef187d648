"""Bytes from an HTTP server into a file, for whatever publishes models: taken up again, limited in time, and checked.

The client is the one that huggingface_hub brings, with its offline switch (``HF_HUB_OFFLINE``) and the usual proxy
variables. huggingface_hub reads its environment when it is imported, so it is imported inside functions only, after
`constants` has turned off telemetry and the Xet transfer (which neither resumes nor goes through a plain HTTP mirror).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeVar

import engine
from nss import notices
from nss.errors import ModelUnavailableError, one_line
from nss.models.weights import model_store

CONNECTION_LIMIT_S = 5.0
"""How long a server may take to answer at all, name look-up and TLS included; HF_HUB_ETAG_TIMEOUT overrides it."""

SLOW_S, SLOW_BYTES = 30.0, 30_000
"""A transfer that brings fewer bytes than that in so many seconds is given up; what has arrived is kept."""

LIBRARY = "nss-wgpu"
PARTIAL = ".nss-partial"
_T = TypeVar("_T")


def receive(
    url: str,
    part: Path,
    *,
    name: str,
    size: int,
    headers: Mapping[str, str],
    etag: str | None = None,
    quiet: bool = False,
) -> None:
    """Append to ``part`` until it has ``size`` bytes; a cut connection is taken up again as long as it brings data.

    name: of what is fetched, for messages. headers: sent with each request. etag: of what ``part`` belongs to, so that
    a server which has another file by now sends that one from its beginning. quiet: no progress display.
    Raises ModelUnavailableError: no room, cut for good, too slow, or more bytes than ``size``; HfHubHTTPError for a
    refusal; OSError.
    """
    from huggingface_hub.errors import HfHubHTTPError

    with part.open("ab") as sink:
        if sink.tell() > size:
            _restart(sink)
        if shutil.disk_usage(part.parent).free < size - sink.tell():
            raise ModelUnavailableError(f"not enough room in {part.parent} for {name}: {size:,} bytes are needed")
        pace = _Pace(name)
        with progress(name, sink.tell(), size, quiet=quiet) as show:

            def add_chunk(chunk: bytes) -> None:
                sink.write(chunk)
                show(sink.tell())
                if sink.tell() > size:
                    sink.truncate(0)
                    raise ModelUnavailableError(f"the server sent more than the {size:,} bytes of {name}: deleted")
                pace.add(len(chunk))

            while (start := sink.tell()) < size:
                failure: Exception | None = None
                try:
                    _request_rest(url, sink, headers=headers, etag=etag, add_chunk=add_chunk)
                except HfHubHTTPError:
                    raise
                except client_error() as error:
                    failure = error
                if sink.tell() <= start and sink.tell() < size:
                    raise ModelUnavailableError(
                        f"the connection broke after {sink.tell():,} of {size:,} bytes of {name} "
                        f"({reason(failure)}): run the same command again to go on from there"
                    ) from failure


def _request_rest(
    url: str, sink: BinaryIO, *, headers: Mapping[str, str], etag: str | None, add_chunk: Callable[[bytes], None]
) -> None:
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    request_headers = {**headers, "Accept-Encoding": "identity"}
    if start := sink.tell():
        request_headers["Range"] = f"bytes={start}-"
        if etag and not etag.startswith("W/"):  # a weak one says nothing of bytes
            request_headers["If-Range"] = etag
    connect_limit, read_limit = connection_limit(), float(constants().HF_HUB_DOWNLOAD_TIMEOUT)
    # A redirect to another host is followed without the token: the client drops it when the host changes.
    with session().stream(
        "GET", url, headers=request_headers, timeout=(connect_limit, read_limit, read_limit, connect_limit)
    ) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            _restart(sink)
        for chunk in response.iter_raw():
            add_chunk(chunk)


def _restart(sink: BinaryIO) -> None:
    sink.truncate(0)
    sink.seek(0)


class _Pace:
    """Gives up a transfer that goes on and on without getting anywhere."""

    def __init__(self, name: str) -> None:
        self._name, self._since, self._bytes = name, time.monotonic(), 0

    def add(self, count: int) -> None:
        self._bytes += count
        elapsed = time.monotonic() - self._since
        if elapsed < SLOW_S:
            return
        if self._bytes < SLOW_BYTES:
            raise ModelUnavailableError(
                f"only {self._bytes:,} bytes of {self._name} arrived in {elapsed:.0f} s: given up; run the same "
                "command again later to go on from there"
            )
        self._since, self._bytes = time.monotonic(), 0


def check_digest(path: Path, *, name: str, size: int | None, expected: str | None, algorithm: str = "sha256") -> str:
    """The digest of a file that has arrived, in hexadecimal; a wrong one is deleted and refused.

    size, expected: what the file must have; None where it is not known. Raises ModelUnavailableError, OSError.
    """
    size_on_disk, digest = path.stat().st_size, model_store.hash_file(path, algorithm)
    right_size = size_on_disk == (size or size_on_disk)
    if right_size and digest == (expected or digest):
        return digest
    path.unlink()
    wrong = (
        f"{algorithm} {digest} instead of {expected}" if right_size else f"{size_on_disk:,} bytes instead of {size:,}"
    )
    raise ModelUnavailableError(f"what arrived is not {name}: {wrong}; deleted, pull it again")


def check_size(server_size: int | None, *, name: str, expected: int | None) -> int:
    """The bytes that a transfer will take. Raises ModelUnavailableError where the server offers a file of another size.

    server_size: what the server says; expected: what the catalogue says; None where it does not.
    """
    if server_size and expected and server_size != expected:
        raise ModelUnavailableError(
            f"the server offers {server_size:,} bytes as {name}, the catalogue names {expected:,}: not fetched; "
            "update nss-wgpu"
        )
    if not (size := expected or server_size):
        raise ModelUnavailableError(f"the server does not say how large {name} is: not fetched; try another mirror")
    return size


def announcement(name: str, size: int, source: str) -> str:
    """What is about to be fetched, how much it is, and where from, in one line."""
    return f"{name}: {format_size(size)} to fetch from {source}"


def format_size(size: int | None) -> str:
    """Bytes in the decimal unit that people compare: "4.6 MB", "176 MB", "1.02 GB"; "unknown" for None."""
    if size is None:
        return "unknown"
    if size >= 1_000_000_000:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB"


def within(limit_s: float, call: Callable[[], _T]) -> _T:
    """The result of ``call``, or TimeoutError after ``limit_s`` seconds of wall clock.

    A client's own limit holds for each address that it tries, and not for the name look-up.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the caller, which raises it
            errors.append(error)

    # A daemon: a look-up that hangs must not keep the process from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return results[0]


@contextmanager
def progress(label: str, start: int, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; yields the function that takes the number of bytes that are there."""
    if quiet or not notices.may_display() or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=start)
        yield lambda count: bar.update(task, completed=count)


def constants() -> ModuleType:
    """huggingface_hub's settings; what it reads when it is first imported is set here, unless the user has set it.

    Raises ModelUnavailableError where it cannot make sense of its environment.
    """
    for switch in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(switch, "1")
    connection_limit()
    try:
        from huggingface_hub import constants
    except ValueError as error:
        raise ModelUnavailableError(
            f"huggingface_hub cannot make sense of its settings ({one_line(error)}): check the HF_* variables"
        ) from error
    return constants


def session() -> Any:
    """The HTTP client. Raises ModelUnavailableError where it cannot make sense of the proxy variables."""
    constants()
    from huggingface_hub import get_session

    try:
        return get_session()
    except (ValueError, ImportError) as error:  # no such scheme; a SOCKS proxy without the package for it
        raise ModelUnavailableError(
            f"the proxy cannot be used ({one_line(error)}): check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
        ) from error


def user_agent() -> dict[str, str]:
    """The header that says who asks."""
    return {"User-Agent": f"{LIBRARY}/{engine.__version__}"}


def client_error() -> type[Exception]:
    """The root of the HTTP client's errors: huggingface_hub 1.x is built on httpx, 2.x on httpx2."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def connection_limit() -> float:
    """Seconds. Raises ModelUnavailableError where the variable that overrides it is no number."""
    setting = os.environ.get("HF_HUB_ETAG_TIMEOUT") or CONNECTION_LIMIT_S
    try:
        return float(setting)
    except ValueError as error:
        raise ModelUnavailableError(f"HF_HUB_ETAG_TIMEOUT={setting} is no number of seconds; correct it") from error


def reason(error: Exception | None) -> str:
    """An error of the client or of the system in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return one_line(error) if error is not None and str(error) else type(error).__name__
