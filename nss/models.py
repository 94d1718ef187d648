"""The way from the name of a model to its file.

``resolve`` looks in this order: the weights built into the package, ``<name>.onnx`` in the model folder, the cache of
huggingface_hub, and last (only where the caller allows it) the hub itself. A name never stands for another model, and a
file whose size or SHA-256 is not the published one is refused under that name; it can still be used by its path.

The catalogue names a branch and not a commit where no commit hash is known. The first download records the commit that
the branch resolved to, with the file's SHA-256 (`nss.model_store.Pin`); from then on this machine looks up, verifies
and fetches that commit, whatever the branch does, until ``nss-wgpu models remove`` forgets it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from nss import hub, model_store, once
from nss.catalogue import CATALOGUE as CATALOGUE
from nss.catalogue import IMAGENET_MEAN as IMAGENET_MEAN
from nss.catalogue import IMAGENET_STD as IMAGENET_STD
from nss.catalogue import ModelSpec as ModelSpec
from nss.catalogue import spec_named as spec_named
from nss.errors import ModelUnavailableError, one_line
from nss.interface import FixedSize

Source = Literal["builtin", "file", "cache"]
Notify = Callable[[str], None]


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is on this machine."""

    spec: ModelSpec
    path: Path
    source: Source
    """"builtin": in the package; "file": the user's own file or the model folder; "cache": the hub's cache."""
    requested: str
    """The name or path that was asked for."""
    content: bytes | None = field(default=None, repr=False)
    """The file's bytes where it cannot be read again, as a pipe cannot; else None."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, 64 hexadecimal digits; computed when first asked for. Raises ModelUnavailableError."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        try:
            return model_store.sha256_of(self.path)
        except OSError as error:
            raise ModelUnavailableError(f"cannot read {self.path}: {error.strerror or error}") from error


def resolve(
    model: str | os.PathLike[str], *, allow_fetch: bool, quiet: bool = False, notify: Notify | None = None
) -> ResolvedModel:
    """Find the model that a name or a path stands for.

    model: a catalogue name, "fast", "best", "auto" or the path of an ONNX file. "auto" is the finest model already on
    this machine that may be chosen unasked; it fetches nothing and ends at the built-in one.
    allow_fetch: whether a named model that is missing is downloaded.
    quiet: no progress display and no notices; the licence of a model is then shown at its first use without quiet.
    notify: gets each notice as one line; by default standard error.
    Raises ModelUnavailableError: unknown name, missing file, wrong size or hash, or a refused or failed download.
    """
    requested = os.fspath(model)
    if requested == "auto":
        return next(auto_candidates(quiet=quiet, notify=notify))
    spec = spec_named(requested)
    if spec is None:
        return _resolve_file(requested)
    found = locate(spec)
    if found is None:
        if not allow_fetch or spec.repo is None:
            advice = f"run `nss-wgpu models pull {spec.name}`" if spec.repo else "reinstall nss-wgpu"
            raise ModelUnavailableError(f"{spec.name} is not on this machine: {advice}")
        # Shown before the transfer begins, and again where that fails: only a file that is here counts as used.
        _show_licence(spec, quiet, notify)
        resolved = ResolvedModel(spec, hub.fetch(spec, quiet=quiet), "cache", requested)
        if not quiet:
            model_store.mark_licence_shown(spec.name)
        return resolved
    return _accept(spec, *found, requested, quiet, notify)


def auto_candidates(*, quiet: bool = False, notify: Notify | None = None) -> Iterator[ResolvedModel]:
    """The models that "auto" may stand for, from the finest to the built-in one; a damaged file is passed over.

    quiet, notify: as for `resolve`; what is passed over is a notice.
    Raises ModelUnavailableError after the last.
    """
    for spec in reversed(CATALOGUE.values()):
        found = locate(spec) if spec.auto else None
        if found is None:
            continue
        try:
            candidate = _accept(spec, *found, "auto", quiet, notify)
        except ModelUnavailableError as error:
            say_passed_over(spec, error, quiet=quiet, notify=notify)
            continue
        yield candidate
    raise ModelUnavailableError("no model is on this machine, not even the built-in one: reinstall nss-wgpu")


def say_passed_over(spec: ModelSpec, error: Exception, *, quiet: bool, notify: Notify | None) -> None:
    """Notify of a model that "auto" does not take, and why."""
    if not quiet:
        (notify or to_stderr)(f"passed over {spec.name}: {one_line(error)}")


def hint(resolved: ResolvedModel) -> str | None:
    """How to get a finer model and under which licence, in one line; None unless ``auto`` ended at the built-in."""
    if resolved.requested != "auto" or resolved.source != "builtin":
        return None
    finer = next((s for s in reversed(CATALOGUE.values()) if s.auto and s.repo), None)
    if finer is None:
        return None
    return (
        f"used the built-in {resolved.spec.title}; for finer edges: `nss-wgpu models pull {finer.name}` "
        f"({format_size(finer.size)}, licence {finer.licence}{'' if finer.commercial else ', non-commercial'})"
    )


def locate(spec: ModelSpec) -> tuple[Source, Path] | None:
    """Where a catalogue model lies on this machine: built-in, model folder, cache; None where it does not.

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
    cached = hub.find_cached(spec)
    return ("cache", cached) if cached else None


def find_fault(spec: ModelSpec, source: Source, path: Path, *, fresh: bool = False) -> str | None:
    """What is wrong with the file that stands for a catalogue model, in one line; None where nothing is.

    Compared are the size and, where one is known, the SHA-256: the catalogue's, or for a cached file the pin's.
    fresh: read the bytes again instead of trusting a remembered digest.
    """
    remedy = {
        "builtin": "reinstall nss-wgpu",
        "file": "delete it, or pass its path to use it as it is",
        "cache": f"run `nss-wgpu models remove {spec.name}`, then `nss-wgpu models pull {spec.name}`",
    }[source]
    pin = model_store.read_pin(spec.name) if source == "cache" else None
    expected = spec.sha256 or (pin.sha256 if pin else None)
    try:
        size = path.stat().st_size
        if size != spec.size:
            return f"{path} is not {spec.name}: {size:,} bytes instead of {spec.size:,}; {remedy}"
        if expected is None:
            return None
        digest = model_store.sha256_of(path, fresh=fresh)
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"
    if digest != expected:
        return f"{path} is not {spec.name}: sha256 {digest} instead of {expected}; {remedy}"
    return None


def spec_for_file(path: Path, content: bytes | None = None) -> ModelSpec:
    """How to prepare a photo for a user's own ONNX file; ``content`` is what it holds where it cannot be read again.

    A file with the size and SHA-256 that the catalogue names for a model is that model. Any other gets antialiased
    bilinear, ImageNet mean and standard deviation, and ``input_hw`` None: see `complete_spec`.
    Raises ModelUnavailableError where the file cannot be read.
    """
    try:
        size = path.stat().st_size if content is None else len(content)
        for spec in CATALOGUE.values():
            if spec.sha256 and size == spec.size:
                digest = model_store.sha256_of(path) if content is None else hashlib.sha256(content).hexdigest()
                if digest == spec.sha256:
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
        commercial=False,
        size=size,
        sha256=None,
        interface={},
        auto=False,
    )


def complete_spec(
    spec: ModelSpec, input_name: str, input_shape: tuple[int | str | None, ...], output_names: tuple[str, ...]
) -> ModelSpec:
    """Fill in what only the opened model file says: the input's size, and the preparation that its names betray.

    A spec that has its ``input_hw`` comes back as it is. ``input_shape`` is the NCHW shape of the first input, a
    symbolic dimension as a str, None or a number below 1.
    A model whose input and output names and input size are those of a catalogue
    model (another precision of the same network, for instance) gets the preparation of that model.
    Raises ModelUnavailableError: not an NCHW image of 3 channels, or height and width that neither the file nor the
    catalogue fixes.
    """
    if spec.input_hw is not None:
        return spec
    sizes = [size if isinstance(size, int) and size >= 1 else None for size in input_shape]
    if len(sizes) != 4 or sizes[1] not in (3, None):
        raise ModelUnavailableError(
            f"{spec.title} takes {input_name} of shape {list(input_shape)}, not an image [1, 3, height, width]"
        )
    height, width = sizes[2:]
    fixed = (height, width) if height and width else None
    for known in CATALOGUE.values():
        same_names = known.input_name == input_name and known.output_name in output_names
        if same_names and fixed in (None, known.input_hw):
            return replace(spec, interface=known.interface)
    if fixed is None:
        raise ModelUnavailableError(
            f"{spec.title} does not fix the height and width of {input_name}: export it with a fixed input size"
        )
    return replace(spec, interface={"size": FixedSize(*fixed), "input": input_name, "output": output_names[0]})


def licence_notice(spec: ModelSpec) -> str | None:
    """The licence in one line; None where it was shown on this machine before, and for what comes with the package."""
    if spec.builtin or model_store.licence_was_shown(spec.name):
        return None
    use = "" if spec.commercial else "; commercial use needs an agreement with its owner"
    what = spec.title if spec.title == spec.licence else f"{spec.title}: {spec.licence}"
    return f"licence of {what}{use}; see {spec.licence_url}"


def format_size(size: int) -> str:
    """Bytes in the decimal unit that people compare: "4.6 MB", "176 MB", "1.02 GB"."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB"


def _accept(
    spec: ModelSpec, source: Source, path: Path, requested: str, quiet: bool, notify: Notify | None
) -> ResolvedModel:
    if fault := find_fault(spec, source, path):
        raise ModelUnavailableError(fault)
    if _show_licence(spec, quiet, notify):
        model_store.mark_licence_shown(spec.name)
    return ResolvedModel(spec, path, source, requested)


def _show_licence(spec: ModelSpec, quiet: bool, notify: Notify | None) -> bool:
    """Notify of the licence where that is due; whether it was."""
    notice = None if quiet else licence_notice(spec)
    if notice:
        (notify or to_stderr)(notice)
    return notice is not None


def _resolve_file(requested: str) -> ResolvedModel:
    try:
        path = Path(requested).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, a name that is too long, or with a NUL byte
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise ModelUnavailableError(
            f"no model file {requested}: {reason}; pass an ONNX file or one of {_names()}"
        ) from error
    if is_directory:
        raise ModelUnavailableError(f"{requested} is a directory: pass an ONNX file or one of {_names()}")
    if not exists:
        looks_like_path = path.suffix == ".onnx" or path.name != requested
        what = "model file" if looks_like_path else "model"
        raise ModelUnavailableError(f"no {what} {requested}: pass an ONNX file or one of {_names()}")
    content = None
    if once.is_pipe(path):
        try:
            content = once.read(path).content
        except OSError as error:
            raise ModelUnavailableError(f"cannot read {path}: {error.strerror or error}") from error
    elif not path.is_file():
        raise ModelUnavailableError(f"{requested} is no file: pass an ONNX file or one of {_names()}")
    return ResolvedModel(spec_for_file(path, content), path, "file", requested, content)


def _names() -> str:
    modes = [spec.mode for spec in CATALOGUE.values() if spec.mode]
    return ", ".join(["auto", *modes, *CATALOGUE])


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
