"""Model files from the Hugging Face hub, and the cache that huggingface_hub keeps them in.

huggingface_hub supplies the endpoint, the token, the offline switch, the cache folder and its layout (``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HF_HOME``, ...), and ``hf_hub_download`` puts the finished file into its cache. The
bytes themselves are moved here, for three things that ``hf_hub_download`` does not do (2.x): keep the part that has
arrived when a download fails, so that the next one goes on from there; check the content before anyone can see the
file; and give up within seconds, instead of minutes, when nothing answers.

The part lies in the cache as ``blobs/<etag>.nss-partial``. Only after its size and SHA-256 are right does it become
``blobs/<etag>``, where ``hf_hub_download`` finds it and links it into the snapshot without another transfer.

huggingface_hub reads its environment when it is imported, so this module imports it inside functions only, after it
has turned off telemetry and the Xet transfer (which neither resumes nor goes through a plain HTTP mirror).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from nss import __version__, model_store
from nss.errors import ModelUnavailableError, one_line

if TYPE_CHECKING:
    from nss.catalogue import ModelSpec

CONNECTION_LIMIT_S = 5.0
"""How long the hub may take to answer at all, name look-up and TLS included; HF_HUB_ETAG_TIMEOUT overrides it."""

_LIBRARY = "nss-wgpu"
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Announced:
    """Which version of a file the hub offers."""

    commit: str
    etag: str


def find_cached(spec: ModelSpec) -> Path | None:
    """The file of ``spec`` in the hub's cache, at the pinned commit if there is a pin; None where it is not there.

    Makes no request and does not look into the file.
    """
    # The folder is looked for first: importing the hub's client takes a tenth of a second.
    if spec.repo is None or not _repo_dir(spec.repo).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    hit = try_to_load_from_cache(spec.repo, str(spec.filename), revision=_revision(spec))
    return Path(hit) if isinstance(hit, str) else None


def fetch(spec: ModelSpec, *, quiet: bool = False) -> Path:
    """Download the file of ``spec`` into the hub's cache, pin its commit, and return its path.

    A download that was cut goes on where it stopped. quiet: no progress display (there is none either where standard
    error is not a terminal).
    Raises ModelUnavailableError: offline, out of reach, refused (gated repository), gone, cut, disk full, or not the
    file that the catalogue names; a file with wrong content is deleted.
    """
    if spec.repo is None:
        raise ModelUnavailableError(f"{spec.name} is not published on the hub: reinstall nss-wgpu")
    _constants()
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    filename = str(spec.filename)
    with _one_line_errors(spec):
        model_store.state_dir().mkdir(parents=True, exist_ok=True)
        announced = _ask(spec)
        expected = _expected_sha256(spec, announced)
        blobs = _repo_dir(spec.repo) / "blobs"
        locks = _cache_dir() / ".locks" / blobs.parent.name
        for folder in (blobs, locks):
            folder.mkdir(parents=True, exist_ok=True)
        blob = blobs / announced.etag
        # The lock that huggingface_hub itself takes for this blob.
        with WeakFileLock(locks / f"{announced.etag}.lock"):
            part = blobs / f"{announced.etag}.nss-partial"
            if not blob.exists():
                url = hf_hub_url(spec.repo, filename, revision=announced.commit)
                _transfer(spec, url, part, quiet=quiet)
            digest = _checked_digest(spec, blob if blob.exists() else part, expected)
            if not blob.exists():
                part.replace(blob)
            model_store.remember_digest(blob, digest)
        path = Path(
            hf_hub_download(
                spec.repo,
                filename,
                revision=announced.commit,
                etag_timeout=_connection_limit(),
                library_name=_LIBRARY,
                library_version=__version__,
            )
        )
        pin = model_store.Pin(repo=spec.repo, commit=announced.commit, sha256=digest, size=spec.size)
        model_store.write_pin(spec.name, pin)
    return path


def discard(spec: ModelSpec) -> int:
    """Delete what the cache holds of ``spec`` (file and unfinished parts), forget its pin; return the bytes freed.

    Other files of the same repository, and a blob that another commit still uses, stay.
    Raises ModelUnavailableError where something cannot be deleted.
    """
    freed = 0
    with _one_line_errors(spec):
        if spec.repo is not None:
            repo_dir = _repo_dir(spec.repo)
            doomed = list((repo_dir / "blobs").glob("*.nss-partial"))
            if (pointer := find_cached(spec)) is not None:
                doomed.append(pointer)
                if pointer.is_symlink():
                    blob = pointer.parent / pointer.readlink()
                    others = (repo_dir / "snapshots").glob(f"*/{spec.filename}")
                    if not any(other != pointer and other.exists() and other.samefile(blob) for other in others):
                        doomed.append(blob)
            for path in doomed:
                freed += 0 if path.is_symlink() else path.stat().st_size
                path.unlink()
        model_store.forget_pin(spec.name)
    return freed


def _ask(spec: ModelSpec) -> _Announced:
    """Ask the hub for commit and ETag, within the connection limit; a size that is not the catalogue's is refused."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(str(spec.repo), str(spec.filename), revision=_revision(spec))
    limit = _connection_limit()
    # The client's own limit holds per address tried and not for name look-up: several times as long in all.
    metadata = _within(
        limit,
        lambda: get_hf_file_metadata(url, timeout=limit, library_name=_LIBRARY, library_version=__version__),
    )
    commit, etag, size = metadata.commit_hash or "", metadata.etag or "", metadata.size
    # Both become file names in the cache.
    if not re.fullmatch("[0-9a-f]{40}", commit) or not re.fullmatch("[0-9A-Za-z_-]{1,128}", etag):
        raise ModelUnavailableError(f"{_endpoint()} does not answer like a Hugging Face hub: check HF_ENDPOINT")
    if size is not None and size != spec.size:
        raise ModelUnavailableError(
            f"the hub offers {size:,} bytes as {spec.name}, the catalogue names {spec.size:,}: not fetched; "
            "update nss-wgpu"
        )
    return _Announced(commit, etag)


def _expected_sha256(spec: ModelSpec, announced: _Announced) -> str | None:
    """The SHA-256 that the content must have: the catalogue's, the pin's, or else the ETag of an LFS file."""
    by_etag = announced.etag if re.fullmatch("[0-9a-f]{64}", announced.etag) else None
    pin = model_store.read_pin(spec.name)
    expected = spec.sha256 or (pin.sha256 if pin else None)
    if expected and by_etag and by_etag != expected:
        raise ModelUnavailableError(
            f"the hub offers another file as {spec.name} (sha256 {by_etag} instead of {expected}): not fetched; "
            "update nss-wgpu"
        )
    return expected or by_etag


def _transfer(spec: ModelSpec, url: str, part: Path, *, quiet: bool) -> None:
    """Append to ``part`` until it is complete; a cut connection is taken up again as long as each try brings data."""
    from huggingface_hub.errors import HfHubHTTPError

    size = spec.size
    with part.open("ab") as sink:
        if sink.tell() > size:
            sink.truncate(0)
            sink.seek(0)
        if shutil.disk_usage(part.parent).free < size - sink.tell():
            raise ModelUnavailableError(f"not enough room in {part.parent} for {spec.name}: {size:,} bytes are needed")
        with _progress(spec.name, sink.tell(), size, quiet=quiet) as show:
            while (start := sink.tell()) < size:
                cut: Exception | None = None
                try:
                    _append_rest(spec, url, sink, show)
                except HfHubHTTPError:
                    raise
                except _client_error() as error:
                    cut = error
                if sink.tell() <= start and sink.tell() < size:
                    raise ModelUnavailableError(
                        f"the connection broke after {sink.tell():,} of {size:,} bytes of {spec.name} "
                        f"({_reason(cut)}): run the same command again to go on from there"
                    ) from cut


def _append_rest(spec: ModelSpec, url: str, sink: BinaryIO, show: Callable[[int], None]) -> None:
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name=_LIBRARY, library_version=__version__)
    headers["Accept-Encoding"] = "identity"
    if start := sink.tell():
        headers["Range"] = f"bytes={start}-"
    connect, read = _connection_limit(), float(_constants().HF_HUB_DOWNLOAD_TIMEOUT)
    # The redirect to a storage host is followed without the token: the client drops it when the host changes.
    with get_session().stream("GET", url, headers=headers, timeout=(connect, read, read, connect)) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            sink.truncate(0)
            sink.seek(0)
        for chunk in response.iter_raw():
            sink.write(chunk)
            show(sink.tell())
            if sink.tell() > spec.size:
                sink.truncate(0)
                raise ModelUnavailableError(f"the hub sent more than the {spec.size:,} bytes of {spec.name}: deleted")


def _checked_digest(spec: ModelSpec, path: Path, expected: str | None) -> str:
    """SHA-256 of a file that has arrived; a wrong one is deleted and refused."""
    size, digest = path.stat().st_size, model_store.hash_file(path)
    if size == spec.size and digest == (expected or digest):
        return digest
    path.unlink()
    right_size = size == spec.size
    wrong = f"sha256 {digest} instead of {expected}" if right_size else f"{size:,} bytes instead of {spec.size:,}"
    raise ModelUnavailableError(f"what arrived is not {spec.name}: {wrong}; deleted, pull it again")


@contextmanager
def _one_line_errors(spec: ModelSpec) -> Iterator[None]:
    try:
        yield
    except ModelUnavailableError:
        raise
    except (_client_error(), OSError) as error:
        raise ModelUnavailableError(_explain(error, spec)) from error


def _explain(error: Exception, spec: ModelSpec) -> str:
    from huggingface_hub import errors

    by_hand = f"or put the file at {model_store.model_dir() / spec.name}.onnx"
    page = f"{_endpoint()}/{spec.repo}"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{spec.name} is not on this machine and HF_HUB_OFFLINE is set: unset it, {by_hand}"
    if isinstance(error, errors.GatedRepoError) or (spec.gated and status in (401, 403)):
        from huggingface_hub import get_token

        token = "the token in use has no access" if get_token() else "no token is set"
        return (
            f"{spec.name} is gated and {token}: accept its licence ({spec.licence}) at {page} with your account, "
            f"then set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{page} does not exist or is not open to your token: check HF_TOKEN and HF_ENDPOINT, {by_hand}"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{page} no longer has revision {_revision(spec)}: run `nss-wgpu models remove {spec.name}` to forget it, "
            "then pull again"
        )
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return f"{page} has no file {spec.filename}: update nss-wgpu, {by_hand}"
    if status is not None:
        return f"{_endpoint()} answered {status} for {spec.name}: try again later, {by_hand}"
    if isinstance(error, OSError) and not isinstance(error, (TimeoutError, errors.LocalEntryNotFoundError)):
        return f"cannot store {spec.name}: {_reason(error)}"
    return f"cannot reach {_endpoint()} for {spec.name} ({_reason(error)}): check the connection, {by_hand}"


def _within(limit_s: float, call: Callable[[], _T]) -> _T:
    """The result of ``call``, or TimeoutError after ``limit_s`` seconds of wall clock."""
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
def _progress(label: str, start: int, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; yields the function that takes the number of bytes that are there."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=start)
        yield lambda done: bar.update(task, completed=done)


def _constants() -> ModuleType:
    """huggingface_hub's settings; what it reads when it is first imported is set here, unless the user has set it.

    Raises ModelUnavailableError where it cannot make sense of its environment.
    """
    for switch in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(switch, "1")
    _connection_limit()
    try:
        from huggingface_hub import constants
    except ValueError as error:
        raise ModelUnavailableError(
            f"huggingface_hub cannot make sense of its settings ({one_line(error)}): check the HF_* variables"
        ) from error
    return constants


def _client_error() -> type[Exception]:
    """The root of the HTTP client's errors: huggingface_hub 1.x is built on httpx, 2.x on httpx2."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _connection_limit() -> float:
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT") or CONNECTION_LIMIT_S
    try:
        return float(given)
    except ValueError as error:
        raise ModelUnavailableError(f"HF_HUB_ETAG_TIMEOUT={given} is no number of seconds; correct it") from error


def _revision(spec: ModelSpec) -> str:
    pin = model_store.read_pin(spec.name)
    return pin.commit if pin and pin.repo == spec.repo else spec.revision


def _endpoint() -> str:
    return str(_constants().ENDPOINT)


def _cache_dir() -> Path:
    return Path(_constants().HF_HUB_CACHE)


def _repo_dir(repo: str) -> Path:
    """The folder of a repository in the cache: the layout is documented and part of huggingface_hub's interface."""
    return _cache_dir() / f"models--{repo.replace('/', '--')}"


def _reason(error: Exception | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return one_line(error) if error is not None and str(error) else type(error).__name__
