"""The models that `nss` knows, and the way from a name to a file.

``resolve`` looks in this order: the weights built into the package, ``<name>.onnx`` in the model folder, the cache of
huggingface_hub, and last (only where the caller allows it) the hub itself. A name never stands for another model, and a
file whose size or SHA-256 is not the published one is refused under that name; it can still be used by its path.

The catalogue names a branch and not a commit where no commit hash is known. The first download records the commit that
the branch resolved to, with the file's SHA-256 (`nss.model_store.Pin`); from then on this machine looks up, verifies
and fetches that commit, whatever the branch does, until ``nss-wgpu models remove`` forgets it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from nss import hub, model_store
from nss.errors import ModelUnavailableError

Resize = Literal["bilinear", "bilinear-antialias"]
Source = Literal["builtin", "file", "cache"]
Notify = Callable[[str], None]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelSpec:
    """What is published about a model, and how a photo is prepared for it.

    Preparation: resize to ``input_hw``, divide by 255, subtract ``mean``, divide by ``std`` (RGB order, NCHW float32).
    """

    name: str
    title: str
    summary: str
    speed: str
    licence: str
    licence_url: str
    commercial: bool
    """Whether the licence allows commercial use without a further agreement."""
    size: int
    """Size of the file in bytes."""
    sha256: str | None
    """SHA-256 of the file; None where it is not known."""
    input_hw: tuple[int, int] | None
    """Height and width of the network's input in pixels; None: the model file says it (see `complete_spec`)."""
    resize: Resize
    """"bilinear": half-pixel centres, no antialias; "bilinear-antialias": as Pillow, filter widened when reducing."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_name: str | None = None
    output_name: str | None = None
    """Name of the output that is the mask, values 0..1."""
    filename: str | None = None
    """Path of the file in the package (built-in) or in the repository; None for a user's own file."""
    repo: str | None = None
    """Repository on the hub; None where nothing is fetched."""
    revision: str = "main"
    mode: str | None = None
    """The other name of the model: what ``--mode`` calls it."""
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    builtin: bool = False
    auto: bool = True
    """Whether ``auto`` may choose the model."""


# From the coarsest to the finest: `auto` takes the last that it may and that is here.
CATALOGUE: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="u2netp",
            title="U²-Netp",
            summary="small salient-object network, 320² mask, comes with the package",
            speed="well under a second on a CPU",
            licence="Apache-2.0",
            licence_url="https://www.apache.org/licenses/LICENSE-2.0",
            commercial=True,
            size=4_574_861,
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            input_hw=(320, 320),
            # U²-Net's own code reduces with scikit-image's bilinear behind a Gaussian, rembg with Lanczos: both
            # low-pass before they decimate. Of the two filters here only the antialiased one does.
            resize="bilinear-antialias",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            input_name="input.1",
            output_name="1959",
            filename="weights/u2netp.onnx",
            builtin=True,
        ),
        ModelSpec(
            name="rmbg-1.4",
            title="BRIA RMBG-1.4",
            summary="IS-Net, 1024² mask, finer edges",
            speed="seconds on a CPU",
            licence="BRIA RMBG-1.4",
            licence_url="https://bria.ai/bria-huggingface-model-license-agreement/",
            commercial=False,
            size=176_153_355,
            sha256=None,  # not published where it could be checked; the first download pins it
            input_hw=(1024, 1024),
            resize="bilinear",
            mean=(0.5, 0.5, 0.5),
            std=(1.0, 1.0, 1.0),
            input_name="input",
            output_name="output",
            filename="onnx/model.onnx",
            repo="briaai/RMBG-1.4",
            mode="fast",
        ),
        ModelSpec(
            name="rmbg-2.0",
            title="BRIA RMBG-2.0",
            summary="BiRefNet, 1024² mask, the finest edges",
            speed="slow without a GPU",
            licence="CC BY-NC 4.0",
            licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
            commercial=False,
            size=1_024_331_469,
            sha256="5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
            input_hw=(1024, 1024),
            resize="bilinear-antialias",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            input_name="pixel_values",
            output_name="alphas",
            filename="onnx/model.onnx",
            repo="briaai/RMBG-2.0",
            mode="best",
            gated=True,
            auto=False,
        ),
    )
}


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is on this machine."""

    spec: ModelSpec
    path: Path
    source: Source
    """"builtin": in the package; "file": the user's own file or the model folder; "cache": the hub's cache."""
    requested: str
    """The name or path that was asked for."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, 64 hexadecimal digits; computed when first asked for. Raises ModelUnavailableError."""
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
    quiet: no progress display. The licence of a model is shown once, before its first use, all the same.
    notify: gets each notice as one line; by default standard error.
    Raises ModelUnavailableError: unknown name, missing file, wrong size or hash, or a refused or failed download.
    """
    notify = notify or _to_stderr
    requested = os.fspath(model)
    if requested == "auto":
        return _resolve_auto(notify)
    spec = spec_named(requested)
    if spec is None:
        return _resolve_file(requested)
    found = locate(spec)
    if found is None:
        if not allow_fetch or spec.repo is None:
            advice = f"run `nss-wgpu models pull {spec.name}`" if spec.repo else "reinstall nss-wgpu"
            raise ModelUnavailableError(f"{spec.name} is not on this machine: {advice}")
        # Shown before the transfer begins, and again where that fails: only a file that is here counts as used.
        if notice := licence_notice(spec):
            notify(notice)
        resolved = ResolvedModel(spec, hub.fetch(spec, quiet=quiet), "cache", requested)
        model_store.mark_licence_shown(spec.name)
        return resolved
    return _accept(spec, *found, requested, notify)


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


def spec_named(name: str) -> ModelSpec | None:
    """The catalogue entry of a name or of a mode ("fast", "best"); None for anything else."""
    return CATALOGUE.get(name) or next((s for s in CATALOGUE.values() if s.mode == name), None)


def locate(spec: ModelSpec) -> tuple[Source, Path] | None:
    """Where a catalogue model lies on this machine: built-in, model folder, cache; None where it does not."""
    if spec.builtin:
        path = Path(__file__).parent / str(spec.filename)
        return ("builtin", path) if path.is_file() else None
    local = model_store.model_dir() / f"{spec.name}.onnx"
    if local.is_file():
        return "file", local
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


def spec_for_file(path: Path) -> ModelSpec:
    """How to prepare a photo for a user's own ONNX file.

    A file with the size, and where it is known the SHA-256, of a catalogue model is that model. Any other gets
    antialiased bilinear, ImageNet mean and standard deviation, and ``input_hw`` None: see `complete_spec`.
    Raises ModelUnavailableError where the file cannot be read.
    """
    try:
        size = path.stat().st_size
        for spec in CATALOGUE.values():
            if size == spec.size and (spec.sha256 is None or model_store.sha256_of(path) == spec.sha256):
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
        input_hw=None,
        resize="bilinear-antialias",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        auto=False,
    )


def complete_spec(
    spec: ModelSpec, input_name: str, input_shape: tuple[int | str | None, ...], output_names: tuple[str, ...]
) -> ModelSpec:
    """Fill in what only the opened model file says: the input's size, and the preparation that its names betray.

    A spec that has its ``input_hw`` comes back as it is. ``input_shape`` is the NCHW shape of the first input, a
    symbolic dimension as a str or None. A model whose input and output names and input size are those of a catalogue
    model (another precision of the same network, for instance) gets the preparation of that model.
    Raises ModelUnavailableError: not an NCHW image of 3 channels, or height and width that neither the file nor the
    catalogue fixes.
    """
    if spec.input_hw is not None:
        return spec
    if len(input_shape) != 4 or (isinstance(input_shape[1], int) and input_shape[1] != 3):
        raise ModelUnavailableError(
            f"{spec.title} takes {input_name} of shape {list(input_shape)}, not an image [1, 3, height, width]"
        )
    height, width = input_shape[2:]
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    for known in CATALOGUE.values():
        same_names = known.input_name == input_name and known.output_name in output_names
        if same_names and fixed in (None, known.input_hw):
            return replace(
                spec,
                input_hw=known.input_hw,
                resize=known.resize,
                mean=known.mean,
                std=known.std,
                input_name=known.input_name,
                output_name=known.output_name,
            )
    if fixed is None:
        raise ModelUnavailableError(
            f"{spec.title} does not fix the height and width of {input_name}: export it with a fixed input size"
        )
    return replace(spec, input_hw=fixed, input_name=input_name, output_name=output_names[0])


def licence_notice(spec: ModelSpec) -> str | None:
    """The licence in one line; None where it was shown on this machine before, and for what comes with the package."""
    if spec.builtin or model_store.licence_was_shown(spec.name):
        return None
    use = "" if spec.commercial else "; commercial use needs an agreement with its owner"
    return f"licence of {spec.title}: {spec.licence}{use}; see {spec.licence_url}"


def format_size(size: int) -> str:
    """Bytes in the decimal unit that people compare: "4.6 MB", "176 MB", "1.02 GB"."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB"


def _accept(spec: ModelSpec, source: Source, path: Path, requested: str, notify: Notify) -> ResolvedModel:
    if fault := find_fault(spec, source, path):
        raise ModelUnavailableError(fault)
    if notice := licence_notice(spec):
        notify(notice)
        model_store.mark_licence_shown(spec.name)
    return ResolvedModel(spec, path, source, requested)


def _resolve_auto(notify: Notify) -> ResolvedModel:
    for spec in reversed(CATALOGUE.values()):
        found = locate(spec) if spec.auto else None
        if found is None:
            continue
        try:
            return _accept(spec, *found, "auto", notify)
        except ModelUnavailableError as error:
            notify(f"passed over {spec.name}: {error}")
    raise ModelUnavailableError("no model is on this machine, not even the built-in one: reinstall nss-wgpu")


def _resolve_file(requested: str) -> ResolvedModel:
    path = Path(requested).expanduser()
    if path.is_dir():
        raise ModelUnavailableError(f"{requested} is a directory: pass an ONNX file or one of {_names()}")
    if not path.exists():
        looks_like_path = path.suffix == ".onnx" or path.name != requested
        what = "model file" if looks_like_path else "model"
        raise ModelUnavailableError(f"no {what} {requested}: pass an ONNX file or one of {_names()}")
    return ResolvedModel(spec_for_file(path), path, "file", requested)


def _names() -> str:
    modes = [spec.mode for spec in CATALOGUE.values() if spec.mode]
    return ", ".join(["auto", *modes, *CATALOGUE])


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
