"""Model files from the Hugging Face hub, and the cache that huggingface_hub keeps them in.

huggingface_hub supplies the endpoint, the token, the offline switch, the cache folder and its layout (``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HF_HOME``, ...), and ``hf_hub_download`` puts the finished file into its cache. The
bytes themselves are moved by `nss.models.weights.transfer`, for three things that ``hf_hub_download`` does not do
(2.x): keep the part that has arrived when a download fails, so that the next one goes on from there; check the content
before anyone can see the file; and give up within seconds, instead of minutes, when nothing answers.

The part lies in the cache as ``blobs/<etag>.nss-partial``. Only after its size and SHA-256 are right does it become
``blobs/<etag>``, where ``hf_hub_download`` finds it and links it into the snapshot without another transfer.

huggingface_hub is imported inside functions only: see `nss.models.weights.transfer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engine
from nss.errors import ModelUnavailableError
from nss.models.weights import model_store, transfer

if TYPE_CHECKING:
    from nss.models.catalogue import Companion, ModelSpec


@dataclass(frozen=True)
class _Version:
    """The version of a file that the hub offers."""

    commit: str
    etag: str


def find_cached(spec: ModelSpec) -> Path | None:
    """The file of ``spec`` in the hub's cache, at the pinned commit if there is a pin; None where it is not there.

    So it is where one of its companions is missing. Makes no request and does not look into the files.
    """
    # The folder is looked for first: importing the hub's client takes a tenth of a second.
    if spec.repo is None or spec.filename is None or not _repo_dir(spec.repo).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    hit = try_to_load_from_cache(spec.repo, spec.filename, revision=_revision(spec))
    if not isinstance(hit, str) or any(find_cached(part) is None for part in _parts(spec, _revision(spec))):
        return None
    return Path(hit)


def fetch(spec: ModelSpec, *, quiet: bool = False, complete: Callable[[Path], ModelSpec] | None = None) -> Path:
    """Download the file of ``spec`` and its companions into the hub's cache, pin the commit, and return its path.

    A download that was cut goes on where it stopped. quiet: no progress display (there is none either where standard
    error is not a terminal). complete: called when the file itself has arrived, with its path, where that alone says
    which companions it has; gives the spec with them.
    Raises ModelUnavailableError: offline, out of reach, refused (gated repository), gone, cut, disk full, or not the
    file that the catalogue names; a file with wrong content is deleted.
    """
    if spec.repo is None:
        raise ModelUnavailableError(f"{spec.name} is not published on the hub: reinstall nss-wgpu")
    transfer.session()
    with _one_line_errors(spec):
        model_store.state_dir().mkdir(parents=True, exist_ok=True)
        path, commit, digest = _fetch_file(spec, quiet=quiet)
        whole = complete(path) if complete else spec
        for part in _parts(whole, commit):
            _fetch_file(part, quiet=quiet)
        pin = model_store.Pin(repo=spec.repo, commit=commit, sha256=digest, size=path.stat().st_size)
        model_store.write_pin(spec.name, pin)
    return path


def discard(spec: ModelSpec) -> int:
    """Delete what the cache holds of ``spec`` (files and unfinished parts), forget its pin; return the bytes freed.

    Other files of the same repository, and a blob that another commit still uses, stay; so do companions that other
    models share.
    Raises ModelUnavailableError where something cannot be deleted.
    """
    freed_bytes = 0
    with _one_line_errors(spec):
        if spec.repo is not None:
            repo_dir = _repo_dir(spec.repo)
            paths = list((repo_dir / "blobs").glob(f"*{transfer.PARTIAL}"))
            own = replace(spec, companions=tuple(c for c in spec.companions if not c.shared))
            for file in (replace(spec, companions=()), *_parts(own, _revision(spec))):
                if (pointer := find_cached(file)) is not None:
                    paths.append(pointer)
                    if pointer.is_symlink():
                        blob = pointer.parent / pointer.readlink()
                        others = (repo_dir / "snapshots").glob(f"*/{file.filename}")
                        if not any(other != pointer and other.exists() and other.samefile(blob) for other in others):
                            paths.append(blob)
            for path in paths:
                freed_bytes += 0 if path.is_symlink() else path.stat().st_size
                path.unlink()
        model_store.forget_pin(spec.name)
    return freed_bytes


def repository_info(spec: ModelSpec) -> Any:
    """What the hub says of the repository of ``spec``, at its pinned commit or its revision: JSON, files with sizes.

    huggingface_hub's own ``model_info`` warns of, or fails over, what authors write into their cards.
    Raises ModelUnavailableError: offline, out of reach, refused, gone, or no answer of a hub.
    """
    transfer.constants()
    from urllib.parse import quote

    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    limit = transfer.connection_limit()
    url = f"{_endpoint()}/api/models/{spec.repo}/revision/{quote(_revision(spec), safe='')}"
    headers = build_hf_headers(library_name=transfer.LIBRARY, library_version=engine.__version__)
    with _one_line_errors(spec):
        response = transfer.within(
            limit, lambda: get_session().get(url, headers=headers, params={"blobs": True}, timeout=limit)
        )
        hf_raise_for_status(response)
        try:
            return response.json()
        except ValueError as error:
            raise not_a_hub() from error


def not_a_hub() -> ModelUnavailableError:
    """The error for an answer that no hub gives."""
    return ModelUnavailableError(f"{_endpoint()} does not answer like a Hugging Face hub: check HF_ENDPOINT")


def companion_path(spec: ModelSpec, path: Path, companion: Companion) -> Path:
    """Where a companion of a model lies in the cache, whose own file lies at ``path``."""
    return path.parents[str(spec.filename).count("/")] / companion.filename


def page(repo: str) -> str:
    """The address of a repository's page."""
    return f"{_endpoint()}/{repo}"


def _parts(spec: ModelSpec, revision: str) -> Iterator[ModelSpec]:
    """The companions of ``spec`` as models of their own, at this revision; their names have no pins."""
    for companion in spec.companions:
        yield replace(
            spec,
            name=f"{spec.name} ({companion.filename})",
            filename=companion.filename,
            size=companion.size,
            sha256=companion.sha256,
            revision=revision,
            companions=(),
        )


def _fetch_file(spec: ModelSpec, *, quiet: bool) -> tuple[Path, str, str]:
    """Download one file, unless the cache has it; its path, the commit, and its SHA-256."""
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    repo, filename = str(spec.repo), str(spec.filename)
    version = _ask(spec)
    expected = _expected_sha256(spec, version)
    blobs = _repo_dir(repo) / "blobs"
    locks = _cache_dir() / ".locks" / blobs.parent.name
    for folder in (blobs, locks):
        folder.mkdir(parents=True, exist_ok=True)
    blob = blobs / version.etag
    # The lock that huggingface_hub itself takes for this blob.
    with WeakFileLock(locks / f"{version.etag}.lock"):
        part = blobs / f"{version.etag}{transfer.PARTIAL}"
        if not blob.exists():
            url = hf_hub_url(repo, filename, revision=version.commit)
            _transfer(spec, url, part, quiet=quiet)
        digest = _check_digest(spec, blob if blob.exists() else part, expected)
        if not blob.exists():
            part.replace(blob)
        model_store.remember_digest(blob, digest)
    path = Path(
        hf_hub_download(
            repo,
            filename,
            revision=version.commit,
            etag_timeout=transfer.connection_limit(),
            library_name=transfer.LIBRARY,
            library_version=engine.__version__,
        )
    )
    return path, version.commit, digest


def _ask(spec: ModelSpec) -> _Version:
    """Ask the hub for commit and ETag, within the connection limit; a size that is not the catalogue's is refused."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(str(spec.repo), str(spec.filename), revision=_revision(spec))
    limit = transfer.connection_limit()
    # The client's own limit holds per address tried and not for name look-up: several times as long in all.
    metadata = transfer.within(
        limit,
        lambda: get_hf_file_metadata(
            url, timeout=limit, library_name=transfer.LIBRARY, library_version=engine.__version__
        ),
    )
    commit, etag, size = metadata.commit_hash or "", metadata.etag or "", metadata.size
    # Both become file names in the cache.
    if not re.fullmatch("[0-9a-f]{40}", commit) or not re.fullmatch("[0-9A-Za-z_-]{1,128}", etag):
        raise not_a_hub()
    transfer.check_size(size, name=spec.name, expected=spec.size)
    return _Version(commit, etag)


def _expected_sha256(spec: ModelSpec, version: _Version) -> str | None:
    """The SHA-256 that the content must have: the catalogue's, the pin's, or else the ETag of an LFS file."""
    by_etag = version.etag if re.fullmatch("[0-9a-f]{64}", version.etag) else None
    pin = model_store.read_pin(spec.name)
    expected = spec.sha256 or (pin.sha256 if pin else None)
    if expected and by_etag and by_etag != expected:
        raise ModelUnavailableError(
            f"the hub offers another file as {spec.name} (sha256 {by_etag} instead of {expected}): not fetched; "
            "update nss-wgpu"
        )
    return expected or by_etag


def _transfer(spec: ModelSpec, url: str, part: Path, *, quiet: bool) -> None:
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name=transfer.LIBRARY, library_version=engine.__version__)
    transfer.receive(url, part, name=spec.name, size=spec.size or 0, headers=headers, quiet=quiet)


def _check_digest(spec: ModelSpec, path: Path, expected: str | None) -> str:
    return transfer.check_digest(path, name=spec.name, size=spec.size, expected=expected)


@contextmanager
def _one_line_errors(spec: ModelSpec) -> Iterator[None]:
    try:
        yield
    except ModelUnavailableError:
        raise
    except (transfer.client_error(), OSError) as error:
        raise ModelUnavailableError(_explain(error, spec)) from error


def _explain(error: Exception, spec: ModelSpec) -> str:
    from huggingface_hub import errors

    is_reference = "/" in spec.name  # not a model of the catalogue: a repository that the user named
    by_hand = "or pass the path of an ONNX file"
    if not is_reference:
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
        if is_reference:
            page = f"there is no file {spec.repo} here, and {page}"
        return f"{page} does not exist or is not open to your token: check HF_TOKEN and HF_ENDPOINT, {by_hand}"
    if isinstance(error, errors.RevisionNotFoundError):
        if is_reference and model_store.read_pin(spec.name) is None:
            return f"{page} has no revision {spec.revision}: name a branch, tag or commit that it has"
        return (
            f"{page} no longer has revision {_revision(spec)}: run `nss-wgpu models remove {spec.name}` to forget it, "
            "then pull again"
        )
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return f"{page} has no file {spec.filename}: update nss-wgpu, {by_hand}"
    if status is not None:
        return f"{_endpoint()} answered {status} for {spec.name}: try again later, {by_hand}"
    if isinstance(error, OSError) and not isinstance(error, (TimeoutError, errors.LocalEntryNotFoundError)):
        return f"cannot store {spec.name}: {transfer.reason(error)}"
    return f"cannot reach {_endpoint()} for {spec.name} ({transfer.reason(error)}): check the connection, {by_hand}"


def _revision(spec: ModelSpec) -> str:
    pin = model_store.read_pin(spec.name)
    return pin.commit if pin and pin.repo == spec.repo else spec.revision


def _endpoint() -> str:
    return str(transfer.constants().ENDPOINT)


def _cache_dir() -> Path:
    return Path(transfer.constants().HF_HUB_CACHE)


def _repo_dir(repo: str) -> Path:
    """The folder of a repository in the cache: the layout is documented and part of huggingface_hub's interface."""
    return _cache_dir() / f"models--{repo.replace('/', '--')}"
