"""The models that are on this machine: where each lies, whether it is whole, and fetching what is missing.

A model of the catalogue is looked for in this order: the weights built into the package, ``<name>.onnx`` in the model
folder, what was fetched from the hub or from releases, what rembg has on this machine, and last (only where the caller
allows it) the hub or the release itself. A name never stands for another model, and a file whose size or digest is not
the published one is refused under that name; it can still be used by its path.

The catalogue names a branch and not a commit where no commit hash is known. The first download records the commit that
the branch resolved to, with the file's SHA-256 (`nss.models.weights.model_store.Pin`); from then on this machine looks
up, verifies and fetches that commit, whatever the branch does, until ``nss-wgpu models remove`` forgets it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from nss.errors import ModelUnavailableError
from nss.models.catalogue import CATALOGUE, ModelSpec
from nss.models.weights import hub, model_store, release, rembg_folder, transfer
from nss.notices import Notify, is_heard, logged

Origin = Literal["builtin", "file", "cache", "rembg"]


@dataclass(frozen=True)
class ResolvedModel(os.PathLike[str]):
    """A model that is on this machine. In the place of its path it is not looked for again (`nss.models.resolve`)."""

    spec: ModelSpec
    path: Path
    source: Origin
    """"builtin": in the package; "file": the user's own, or the model folder's; "cache": fetched; "rembg": rembg's."""
    requested: str
    """The name or path in the request."""
    content: bytes | None = field(default=None, repr=False)
    """The file's bytes where it cannot be read again, as a pipe cannot; else None."""

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, 64 hexadecimal digits; computed when first asked for. Raises ModelUnavailableError."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        try:
            return model_store.sha256_of(self.path)
        except OSError as error:
            raise ModelUnavailableError(f"cannot read {self.path}: {error.strerror or error}") from error


def pull(spec: ModelSpec, *, quiet: bool = False, notify: Notify | None = None) -> tuple[Path, bool]:
    """Fetch a model unless nss-wgpu has it; where it is, and whether it was fetched now.

    Raises as `resolve`.
    """
    location = locate(spec, foreign=False)
    say = notify or logged
    model = (
        accept(spec, *location, requested=spec.name, quiet=quiet, notify=say)
        if location
        else _fetch(spec, spec.name, quiet, say)
    )
    return model.path, location is None


def resolve_spec(
    spec: ModelSpec, requested: str, *, allow_fetch: bool, quiet: bool = False, notify: Notify | None = None
) -> ResolvedModel:
    """Find a model of the catalogue that was requested as ``requested``; see `nss.models.resolve.resolve`."""
    notify = notify or logged
    location = locate(spec)
    if location and location[0] == "rembg" and (fault := find_fault(spec, *location)):
        if not quiet:
            notify(f"passed over {spec.name}: {fault}")
        location = None
    if location:
        return accept(spec, *location, requested=requested, quiet=quiet, notify=notify)
    if requested.lower() == spec.rembg and not (spec.release or spec.builtin):
        # what its owner publishes behind a gate: only what rembg has is meant
        raise ModelUnavailableError(
            f"{spec.name} is not on this machine: {requested} is rembg's file, and not fetched; ask for {spec.name}"
        )
    if not allow_fetch and (spec.repo or spec.release):
        raise ModelUnavailableError(f"{spec.name} is not on this machine: 'allow_fetch' would fetch it")
    return _fetch(spec, requested, quiet, notify)


def _fetch(spec: ModelSpec, requested: str, quiet: bool, notify: Notify) -> ResolvedModel:
    if not (spec.repo or spec.release):
        by_hand = f"it is not fetched; put the file at {model_store.model_dir() / spec.name}.onnx"
        remedy = "reinstall nss-wgpu" if spec.builtin else by_hand
        raise ModelUnavailableError(f"{spec.name} is not on this machine: {remedy}")
    # Shown before the transfer begins, and again where that fails: only a file that is here counts as used.
    _show_licence(spec, quiet, notify)
    if spec.release:
        path = release.fetch(spec, quiet=quiet, notify=None if quiet else notify)
    else:
        if not quiet and spec.size:
            notify(transfer.announcement(spec.name, spec.size, f"{spec.repo} on the hub"))
        path = hub.fetch(spec, quiet=quiet)
    if not quiet:
        _mark_licence(spec, notify)
    return ResolvedModel(spec, path, "cache", requested)


def locate(spec: ModelSpec, *, foreign: bool = True) -> tuple[Origin, Path] | None:
    """Where a catalogue model lies on this machine: built-in, model folder, cache, rembg's; None where it does not.

    foreign: whether the folder of another program, rembg, counts.
    Raises ModelUnavailableError where the model folder or the hub's cache is not one that can be looked into.
    """
    if spec.builtin:
        path = Path(__file__).parent / str(spec.filename)
        return ("builtin", path) if path.is_file() else None
    local = model_store.model_dir() / f"{spec.name}.onnx"
    try:
        if local.is_file():
            return "file", local
    except OSError as error:
        raise ModelUnavailableError(f"cannot look for {local}: {error.strerror}; check NSS_MODEL_DIR") from error
    if cache_path := hub.find_cached(spec) or release.find(spec):
        return "cache", cache_path
    rembgs = rembg_folder.find(spec) if foreign else None
    return ("rembg", rembgs) if rembgs else None


def find_fault(spec: ModelSpec, origin: Origin, path: Path, *, fresh: bool = False) -> str | None:
    """What is wrong with the file that stands for a catalogue model, in one line; None where nothing is.

    Compared are the size and the digest, where they are known: the catalogue's, or for a cached file the pin's.
    fresh: read the bytes again instead of trusting a remembered digest.
    """
    remedy = {
        "builtin": "reinstall nss-wgpu",
        "file": "delete it, or pass its path to use it as it is",
        "cache": f"run `nss-wgpu models remove {spec.name}`, then `nss-wgpu models pull {spec.name}`",
        "rembg": "it is rembg's, and left as it is",
    }[origin]
    for companion in spec.companions:
        part = replace(spec, **vars(companion), companions=())
        if fault := find_fault(part, origin, hub.companion_path(spec, path, companion), fresh=fresh):
            return fault
    try:
        size = path.stat().st_size
        if spec.size and size != spec.size:
            return f"{path} is not {spec.name}: {size:,} bytes instead of {spec.size:,}; {remedy}"
        if (algorithm_and_digest := expected_digest(spec, origin)) is None:
            return None
        algorithm, expected = algorithm_and_digest
        digest = model_store.digest_of(path, algorithm, fresh=fresh)
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"
    if digest != expected:
        return f"{path} is not {spec.name}: {algorithm} {digest} instead of {expected}; {remedy}"
    return None


def expected_digest(spec: ModelSpec, origin: Origin) -> tuple[str, str] | None:
    """What a file is checked by, the algorithm and the digest: the catalogue's, or for a cached file the pin's."""
    pin = model_store.read_pin(spec.name) if origin == "cache" else None
    return spec.digest or (("sha256", pin.sha256) if pin else None)


def spec_for_file(path: Path, content: bytes | None = None) -> ModelSpec:
    """How to prepare a photo for a user's own ONNX file; ``content`` is what it holds where it cannot be read again.

    A file with the size and digest that the catalogue names for a model is that model. Of any other nothing is known
    until it is opened.
    Raises ModelUnavailableError where the file cannot be read.
    """

    @cache
    def digest(algorithm: str) -> str:
        if content is None:
            return model_store.digest_of(path, algorithm)
        return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()

    try:
        size = path.stat().st_size if content is None else len(content)
        for spec in CATALOGUE.values():
            if spec.digest and spec.size in (size, None) and digest(spec.digest[0]) == spec.digest[1]:
                return spec
    except OSError as error:
        raise ModelUnavailableError(f"cannot read {path}: {error.strerror or error}") from error
    return ModelSpec(
        name=path.stem,
        title=path.name,
        summary="a file of your own",
        speed="unknown",
        licence="unknown",
        licence_url="",
        commercial="ask",
        size=size,
        sha256=None,
        interface={},
    )


def licence_notice(spec: ModelSpec) -> str | None:
    """The licence in one line; None where it was shown on this machine before, and for what comes with the package."""
    if spec.builtin or model_store.licence_was_shown(spec.name):
        return None
    use = {"yes": "", "no": "; commercial use: no", "ask": "; commercial use needs an agreement with its owner"}
    what = spec.title if spec.title == spec.licence else f"{spec.title}: {spec.licence}"
    return f"licence of {what}{use[spec.commercial]}; see {spec.licence_url}"


def accept(
    spec: ModelSpec, origin: Origin, path: Path, *, requested: str, quiet: bool, notify: Notify
) -> ResolvedModel:
    """The model whose file lies at ``path``, its licence shown. Raises ModelUnavailableError where it is not whole."""
    if fault := find_fault(spec, origin, path):
        raise ModelUnavailableError(fault)
    if _show_licence(spec, quiet, notify):
        _mark_licence(spec, notify)
    return ResolvedModel(spec, path, origin, requested)


def _show_licence(spec: ModelSpec, quiet: bool, notify: Notify) -> bool:
    """Notify of the licence where that is due; whether it was."""
    notice = None if quiet else licence_notice(spec)
    if notice:
        notify(notice)
    return notice is not None


def _mark_licence(spec: ModelSpec, notify: Notify) -> None:
    """Record that the licence was shown, unless only the log had it."""
    if notify is not logged and is_heard(notify):
        model_store.mark_licence_shown(spec.name)


def _names() -> str:
    modes = [spec.mode for spec in CATALOGUE.values() if spec.mode]
    return ", ".join(["auto", *modes, *CATALOGUE]) + ", or owner/name on the Hugging Face hub"
