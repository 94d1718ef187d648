"""Model files from rembg's releases, and the folder that they are fetched into.

``NSS_RELEASE_URL`` names a mirror. The folder is `nss.models.weights.model_store.release_dir`; a file has its name
there, ``<name>.onnx``, only after its size and digest are right. What is still under way is
``<name>.<version>.nss-partial``, where the version is a digest of the server's ETag. ``HF_HUB_OFFLINE`` and the proxy
variables hold here too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nss.errors import ModelUnavailableError
from nss.models.weights import model_store, transfer

if TYPE_CHECKING:
    from nss.models.catalogue import ModelSpec

RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"


def find(spec: ModelSpec) -> Path | None:
    """The file of ``spec`` where it was fetched; None where it was not. Does not look into it."""
    if spec.release is None:
        return None
    path = _target(spec)
    with suppress(OSError):  # a folder that may not be looked into
        return path if path.is_file() else None
    return None


def fetch(spec: ModelSpec, *, quiet: bool = False, notify: Callable[[str], None] | None = None) -> Path:
    """Download the file of ``spec``, and return its path.

    A download that was cut goes on where it stopped; a second process waits for the first, and finds what it fetched.
    quiet: no progress display. notify: receives size and address before the transfer begins.
    Raises ModelUnavailableError: offline, out of reach, gone, cut, slow, disk full, or not the file that the catalogue
    names; a file with wrong content is deleted.
    """
    if spec.release is None:
        raise ModelUnavailableError(f"{spec.name} is in no release: nothing to fetch")
    url = f"{_base()}/{spec.release}"
    transfer.session()
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    target = _target(spec)
    with _one_line_errors(spec, url):
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(target.with_suffix(".lock")):
            if not target.is_file():
                _fetch(spec, url, target, quiet=quiet, notify=notify)
    return target


def discard(spec: ModelSpec) -> int:
    """Delete what was fetched of ``spec``, unfinished parts included; return the bytes freed.

    Raises ModelUnavailableError where something cannot be deleted.
    """
    freed_bytes = 0
    try:
        for path in [*_parts(spec), *filter(None, [find(spec)])]:
            freed_bytes += path.stat().st_size
            path.unlink()
    except OSError as error:
        raise ModelUnavailableError(f"cannot delete {spec.name}: {transfer.reason(error)}") from error
    return freed_bytes


def _fetch(spec: ModelSpec, url: str, target: Path, *, quiet: bool, notify: Callable[[str], None] | None) -> None:
    size, etag = _ask(spec, url)
    algorithm, expected = spec.digest or ("sha256", None)
    version = hashlib.sha256((etag or "").encode()).hexdigest()[:16]
    part = target.with_name(f"{spec.name}.{version}{transfer.PARTIAL}")
    if notify:
        notify(transfer.announcement(spec.name, size, url))
    transfer.receive(url, part, name=spec.name, size=size, headers=transfer.user_agent(), etag=etag, quiet=quiet)
    digest = transfer.check_digest(part, name=spec.name, size=size, expected=expected, algorithm=algorithm)
    part.replace(target)
    model_store.remember_digest(target, digest, algorithm)
    for older in _parts(spec):
        older.unlink(missing_ok=True)


def _ask(spec: ModelSpec, url: str) -> tuple[int, str | None]:
    """Ask the server for size and ETag, within the connection limit; another size than the catalogue's is refused."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    limit, client = transfer.connection_limit(), transfer.session()
    headers = {**transfer.user_agent(), "Accept-Encoding": "identity"}
    answer = transfer.within(limit, lambda: client.head(url, headers=headers, timeout=limit))
    hf_raise_for_status(answer)
    length = answer.headers.get("content-length", "")
    server_size = int(length) if length.isdecimal() else None
    return transfer.check_size(server_size, name=spec.name, expected=spec.size), answer.headers.get("etag")


@contextmanager
def _one_line_errors(spec: ModelSpec, url: str) -> Iterator[None]:
    try:
        yield
    except ModelUnavailableError:
        raise
    except (transfer.client_error(), OSError) as error:
        raise ModelUnavailableError(_explain(error, spec, url)) from error


def _explain(error: Exception, spec: ModelSpec, url: str) -> str:
    from huggingface_hub import errors

    by_hand = f"or put the file at {model_store.model_dir() / spec.name}.onnx"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{spec.name} is not on this machine and HF_HUB_OFFLINE is set: unset it, {by_hand}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (404, 410):
            return f"{url} is gone ({status}): update nss-wgpu, set NSS_RELEASE_URL to a mirror, {by_hand}"
        return f"{url} answered {status}: try again later, {by_hand}"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return f"cannot store {spec.name}: {transfer.reason(error)}"
    return f"cannot reach {_base()} for {spec.name} ({transfer.reason(error)}): check the connection, {by_hand}"


def _base() -> str:
    base = os.environ.get("NSS_RELEASE_URL") or RELEASE
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ModelUnavailableError(f"NSS_RELEASE_URL={base} is no address such as {RELEASE}; correct it")
    return base.rstrip("/")


def _target(spec: ModelSpec) -> Path:
    return model_store.release_dir() / f"{spec.name}.onnx"


def _parts(spec: ModelSpec) -> list[Path]:
    return list(model_store.release_dir().glob(f"{spec.name}.{'?' * 16}{transfer.PARTIAL}"))
