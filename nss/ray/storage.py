"""Files of any storage by their address: a path, ``s3://``, ``gs://``, and ``http(s)://`` to read from.

Addresses are opened by fsspec, with credentials, region and endpoint from where each package has them
(``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, ``GOOGLE_APPLICATION_CREDENTIALS``). Local files are written by
`nss.files.output_file`, as those of a batch are.

What is transient is tried again, ``ATTEMPTS`` times in all: s3fs is told not to, and gcsfs has a bound of its own.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from nss.errors import ImageError, UsageError, one_line
from nss.files import export
from nss.files.output_file import ExistsError

ATTEMPTS = 5
"""How often a request is made before its failure counts."""

FIRST_PAUSE_S = 0.2
"""The pause after the first failure; each further one is twice as long."""

TIMEOUT_S = 60
"""How long a connection may be silent."""

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""What opens the addresses of each scheme."""

READ_ONLY = ("http", "https")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_PERMANENT_NUMBERS = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOTEMPTY)
_TRY_AGAIN = (408, 425, 429)
"""Answers of HTTP that blame the client, and yet pass."""
_READERS = 16

T = TypeVar("T")


def scheme_of(address: str) -> str:
    """The scheme in small letters; "" for a path, and for ``file://``.

    Raises:
        UsageError: nothing here opens it.
    """
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else ""
    if scheme in ("", "file"):
        return ""
    if scheme not in PACKAGES:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise UsageError(f"{address}: {scheme}:// is no storage that is known; give a path, or one of {known}")
    return scheme


def check_target(folder: str) -> None:
    """Raise UsageError where nothing can be written below an address."""
    if scheme_of(folder) in READ_ONLY:
        raise UsageError(f"{folder}: nothing can be written there; give a folder, s3:// or gs://")


def local_path(address: str) -> Path:
    """The path that an address without scheme, or ``file://``, stands for."""
    return Path(address[len("file://") :] if address.lower().startswith("file://") else address)


def absolute(address: str) -> str:
    """The address for processes that have another current folder."""
    return address if scheme_of(address) else os.path.abspath(local_path(address))  # noqa: PTH100


def join(folder: str, relative: str) -> str:
    """The address of what is at ``relative``, with slashes, below a folder."""
    return f"{folder.rstrip('/')}/{relative}" if scheme_of(folder) else str(local_path(folder) / relative)


def read(address: str) -> bytes:
    """All of a file.

    Raises:
        ImageError: it is not there, or cannot be read, which is said with the last reason.
        UsageError: as `scheme_of`, or the package that opens it is missing.
    """
    scheme = scheme_of(address)

    def request() -> bytes:
        return opened(scheme).cat_file(address) if scheme else local_path(address).read_bytes()

    try:
        return _tried(request)
    except FileNotFoundError as error:
        raise ImageError(f"{address}: no such file") from error
    except Exception as error:
        raise _failure(address, "read", error) from error


def read_many(addresses: Iterable[str]) -> Iterator[bytes]:
    """As `read`, of each in turn, several at once."""
    waiting = iter(addresses)
    with ThreadPoolExecutor(_READERS) as pool:
        while group := list(islice(waiting, 4 * _READERS)):  # what is read ahead is held
            yield from pool.map(read, group)


def put(address: str, data: bytes, *, overwrite: bool = False) -> bool:
    """Give ``data`` the name ``address``, whole or not at all; says whether that is what the name now holds.

    A local file is written beside its name, and takes it if it is free. A store takes an object in one request, under
    the condition that there is none. Where there is one, it stays: with the same bytes it is what was to be written,
    by an attempt whose answer was lost or by a worker that died since, with others the answer is False.

    Args:
        address: a path, ``s3://`` or ``gs://``; folders are made.
        data: the file.
        overwrite: replace what has the name.

    Raises:
        ImageError: it cannot be written, which is said with the last reason.
        UsageError: as `check_target`, or the package is missing.
    """
    check_target(address)
    scheme = scheme_of(address)
    try:
        if scheme:
            _put_object(opened(scheme), address, data, overwrite)
        else:
            _put_file(local_path(address), data, overwrite)
        return True
    except ImageError as error:
        if not isinstance(error, ExistsError):
            raise
    except Exception as error:
        if not (scheme and _is_taken(error)):
            raise _failure(address, "written", error) from error
    return read(address) == data


def names_below(folder: str, *, recursive: bool = True) -> set[str]:
    """The files below a folder, relative to it, with slashes; none where there is no such folder.

    Raises:
        ImageError: it cannot be listed.
        UsageError: as `read`.
    """
    scheme = scheme_of(folder)
    try:
        if not scheme:
            return _local_names(local_path(folder), recursive)
        store = opened(scheme)
        root = _stripped(store, folder)
        depth = None if recursive else 1
        paths = _tried(lambda: store.find(folder, maxdepth=depth))
        names = {path[len(root) :].lstrip("/") for path in paths if path.startswith(f"{root}/")}
        return {name for name in names if name and not name.endswith("/")}  # markers of empty folders
    except FileNotFoundError:
        return set()
    except Exception as error:
        raise _failure(folder, "listed", error) from error


def is_file(address: str) -> bool:
    """Whether there is a file of this very address. Raises as `names_below`."""
    scheme = scheme_of(address)
    try:
        return _tried(lambda: opened(scheme).isfile(address)) if scheme else local_path(address).is_file()
    except Exception as error:
        raise _failure(address, "looked up", error) from error


def _put_file(path: Path, data: bytes, overwrite: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    export.write_bytes(data, path, overwrite=overwrite)


def _put_object(store: Any, address: str, data: bytes, overwrite: bool) -> object:
    """Raises what `_is_taken` knows where there is an object, and it must stay."""
    if not overwrite:
        try:
            return _tried(lambda: store.pipe_file(address, data, mode="create"))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        # a store that knows no conditions: what comes between these two requests is lost
        if _tried(lambda: store.isfile(address)):
            raise FileExistsError(address)
    return _tried(lambda: store.pipe_file(address, data))


def _local_names(folder: Path, recursive: bool) -> set[str]:
    names: set[str] = set()
    for path, folders, files in os.walk(folder):
        below = Path(path).relative_to(folder)
        names.update((below / file).as_posix() for file in files)
        if not recursive:
            folders.clear()
    return names


def opened(scheme: str) -> Any:
    """fsspec's file system for a scheme, one for all threads of a process, which share its connections."""
    return _opened(scheme, os.getpid())


@lru_cache
def _opened(scheme: str, _process: int) -> Any:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        silence = {"connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S}
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **silence}
    try:
        store = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        package = PACKAGES[scheme]
        raise UsageError(
            f"{scheme}:// is opened by {package}, which is not installed: pip install {package}"
        ) from error
    if scheme == "s3":
        store.retries = 1
    return store


def _stripped(store: Any, address: str) -> str:
    """The address as the file system lists it."""
    return str(store._strip_protocol(address)).rstrip("/")


def _tried(request: Callable[[], T]) -> T:
    """What a request gives, made again after a failure that may pass."""
    for attempt in range(ATTEMPTS):
        try:
            return request()
        except Exception as error:
            if not _may_pass(error):
                raise
            if attempt == ATTEMPTS - 1:
                error.add_note(f"{ATTEMPTS} attempts")
                raise
            time.sleep(FIRST_PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: connections, overloaded servers, time-outs."""
    if isinstance(error, (UsageError, ImportError, TypeError, ValueError, *_PERMANENT)) or _is_taken(error):
        return False
    status = error.status if hasattr(error, "status") else getattr(error, "code", None)  # aiohttp's; gcsfs'
    if isinstance(status, int) and 400 <= status < 500:
        return status in _TRY_AGAIN
    return not (isinstance(error, OSError) and error.errno in _PERMANENT_NUMBERS)


def _is_taken(error: Exception) -> bool:
    """Whether a store refuses a name because it has it: not all name the condition that failed."""
    response = getattr(error.__cause__, "response", None)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return isinstance(error, FileExistsError) or status == 412


def _failure(address: str, verb: str, error: Exception) -> UsageError | ImageError:
    if isinstance(error, UsageError | ImageError):
        return error
    reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error) or type(error).__name__
    times = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return ImageError(f"{address}: cannot be {verb}: {one_line(reason)}{times}")
