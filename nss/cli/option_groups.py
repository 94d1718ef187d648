"""The groups of options of the commands that make cut-outs, and the object that each becomes (`nss.cli.grouped`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nss.cli import cutout_options as options
from nss.cli.cutout_options import Hidden, WhenExists
from nss.cli.report import Report
from nss.cli.run_options import (
    Backend,
    BackendOption,
    DevicesOption,
    ImageBackend,
    ImageBackendOption,
    MaxPixelsOption,
    ModelVariantOption,
    NoCacheOption,
    Precision,
    PrecisionOption,
)
from nss.cli.terminal import complain, notify
from nss.errors import ImageError, UsageError
from nss.interfaces.interface import Description, as_json
from nss.photos.image_size import MAX_PIXELS, limit_pillow
from nss.sizes import parse_size

if TYPE_CHECKING:
    from nss.batch.planning import Exists, Job
    from nss.cutouts.compose import Composition
    from nss.files.formats import Encoding
    from nss.masks.refine import Refinement
    from nss.pipeline.budget import MemoryBudget
    from nss.pipes import OneTimeFile
    from nss.removal.remover import Remover


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: a network, or files.

    Attributes:
        model: the model's name or path.
        network: model_variant, backend, device, precision, require_gpu, cache and image_backend, as
            :class:`nss.Remover` takes them.
        masks: the mask, or the directory of masks, that stands for a network; None where one runs.
        max_pixels: how many a photo, or a mask, may have.
        model_config: what is said of the model's interface.
    """

    model: str
    network: dict[str, Any]
    masks: Path | OneTimeFile | None
    max_pixels: int = MAX_PIXELS
    model_config: Description = field(default_factory=Description)

    def described(self, model_config: Description) -> MaskSource:
        """The same, with what is said of the model's interface. Raises UsageError where no model runs."""
        if model_config and self.masks is not None:
            raise UsageError("--mask takes the place of a network: leave the options of its model out")
        return replace(self, model_config=model_config)

    def make_gpu_ready(self) -> None:
        """Begin to open the device that the network will run on, where it may run on one."""
        if self.masks is None and self.network["backend"] in ("auto", "webgpu"):
            from nss.batch import ahead

            backend = "webgpu" if self.network["require_gpu"] else self.network["backend"]
            ahead.make_gpu_ready(backend=backend, device=self.network["device"], precision=self.network["precision"])

    def open(self, *, quiet: bool) -> Remover | None:
        """The network, or None where files stand for it. Raises what :class:`nss.Remover` does."""
        limit_pillow(self.max_pixels)
        if self.masks is not None:
            return None
        from nss.removal.remover import Remover

        return Remover(
            self.model,
            **self.network,
            max_pixels=self.max_pixels,
            quiet=quiet,
            notify=notify,
            model_config=as_json(self.model_config),
        )

    def files(self, jobs: Iterable[Job]) -> list[os.PathLike[str]]:
        """The files that are read for these jobs: the masks, or the model where its path was named."""
        if self.masks is None:
            return [Path(self.model)]
        from nss.batch.stages import mask_for

        masks: list[os.PathLike[str]] = []
        for job in jobs:
            with suppress(ImageError):  # there is none, as the job will say
                masks.append(mask_for(job, self.masks))
        return masks


def mask_source(
    model: options.ModelOption = None,
    model_variant: ModelVariantOption = None,
    mode: options.ModeOption = None,
    backend: BackendOption = Backend.AUTO,
    device: DevicesOption = None,
    require_gpu: options.RequireGpuOption = False,
    precision: PrecisionOption = Precision.F32,
    image_backend: ImageBackendOption = ImageBackend.AUTO,
    no_cache: NoCacheOption = False,
    mask: options.MaskOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> MaskSource:
    """Raises UsageError where the options contradict each other, or the mask is not there."""
    if model == "":
        raise UsageError("--model is empty; give a name, the path of an ONNX file, or leave it out")
    if mode and model:
        raise UsageError("--mode and --model exclude each other: --mode fast is --model rmbg-1.4, best is rmbg-2.0")
    if mode and model_variant:
        raise UsageError("--mode and --model-variant exclude each other: --model rmbg-1.4 takes a variant")
    if image_backend is ImageBackend.WEBGPU and backend in (Backend.NUMPY, Backend.REFERENCE):
        raise UsageError(
            f"--image-backend webgpu is the GPU that the network runs on, and --backend {backend.value} has none; "
            "leave one of them out"
        )
    network = {
        "model_variant": model_variant,
        "backend": backend.value,
        "device": device,
        "precision": precision.value,
        "image_backend": image_backend.value,
        "require_gpu": require_gpu,
        "cache": not no_cache,
    }
    if mask is not None:
        if model or mode or model_variant or require_gpu:
            raise UsageError(
                "--mask takes the place of a network: leave --model, --model-variant, --mode and --require-gpu out"
            )
        try:
            is_there = mask != "" and Path(mask).exists()
        except (OSError, ValueError):
            is_there = False
        if not is_there:
            raise UsageError(f"--mask {mask}: no such file or directory")
    masks = None if mask is None else _readable(mask, "--mask ")
    return MaskSource(model or (mode.value if mode else "auto"), network, masks, max_pixels)


def _readable(path: str, what: str) -> Path | OneTimeFile:
    """The file that an option names, which is read again for each image; what can be read only once is read now."""
    from nss import pipes

    if not pipes.is_pipe(path):
        return Path(path)
    try:
        return pipes.read(path)
    except OSError as error:
        raise UsageError(f"{what}{path}: cannot be read: {error.strerror or error}") from error


def refinement(
    guided: options.GuidedOption = 0.0,
    black: options.BlackOption = 0.0,
    white: options.WhiteOption = 1.0,
    threshold: options.ThresholdOption = None,
    drop_islands: options.DropIslandsOption = 0.0,
    fill_holes: options.FillHolesOption = 0.0,
    smooth: options.SmoothOption = 0.0,
    expand: options.ExpandOption = 0.0,
    feather: options.FeatherOption = 0.0,
) -> Refinement:
    """Raises UsageError where a value is out of its range, or a threshold stands beside a black or white point."""
    from nss.masks.refine import Refinement

    return Refinement.with_threshold(
        threshold,
        guided=guided,
        black=black,
        white=white,
        drop_islands=drop_islands,
        fill_holes=fill_holes,
        smooth=smooth,
        expand=expand,
        feather=feather,
    )


def composition(
    background: options.BackgroundOption = "none",
    decontaminate: options.DecontaminateOption = 0.0,
    crop: options.CropOption = None,
    mask_only: options.MaskOnlyOption = False,
    mask_bits: options.MaskBitsOption = 8,
    invert: options.InvertOption = False,
    hidden: options.HiddenOption = Hidden.KEEP,
    keep_exif: options.KeepExifOption = False,
    keep_gps: options.KeepGpsOption = False,
) -> Composition:
    """Raises UsageError where the options contradict each other, or the background is nothing that is there."""
    from nss.cutouts.background import check
    from nss.cutouts.compose import Composition

    check(background)
    readable = _readable(background, "background ")
    return Composition(
        background=background if isinstance(readable, Path) else readable,
        hidden=hidden.value,
        decontaminate=decontaminate,
        invert=invert,
        mask_only=mask_only,
        mask_bits=mask_bits,
        crop=crop,
        keep_exif=keep_exif,
        keep_gps=keep_gps,
    )


@dataclass(frozen=True)
class EncodingOptions:
    """Format, quality and effort as they were asked for."""

    format: str | None
    quality: int | None
    effort: int | None

    @property
    def suffix(self) -> str:
        """The extension of outputs that the user gives no name; that of PNG for an unknown format."""
        from nss.files import formats

        return formats.suffix_of(self.format or "png")

    def encoding(self, target: Path | None) -> Encoding:
        """The encoding of outputs: ``target`` is the name that the user gave, if any.

        Raises:
            UsageError: the format is unknown or contradicts the name, or has no such quality.
        """
        from nss.files import formats
        from nss.files.output_file import is_special

        if target is None or (not target.suffix and is_special(target)):  # as standard output, which has no name either
            target = Path("x" + self.suffix)
        return formats.choose(target, self.format, self.quality, self.effort)


def encoding(
    format: options.FormatOption = None,  # noqa: A002 - the option's name
    quality: options.QualityOption = None,
    effort: options.EffortOption = None,
) -> EncodingOptions:
    """As it is; what they mean depends on the output."""
    return EncodingOptions(format, quality, effort)


@dataclass(frozen=True)
class BatchOptions:
    """How many images are gone through, and what is said of them.

    Attributes:
        recursive, all_files, parents, sidecar, verbose: as `nss.batch.planning.plan` takes them.
        exists: what becomes of an output that exists.
        jobs: images in work at the same time; None is one a core.
        memory: bytes that images in work may take; None is half of what is free.
        unordered: tell of each image as it ends, not in the order of the inputs.
        fail_empty: a photo in which nothing was found fails.
        dry_run: say what would be done, and do nothing.
        as_json: one JSON object a line for each image.
        quiet: errors only, and the JSON.
    """

    recursive: bool
    all_files: bool
    parents: bool
    exists: Exists
    sidecar: bool
    jobs: int | None
    memory: int | None
    unordered: bool
    fail_empty: bool
    dry_run: bool
    as_json: bool
    verbose: bool
    quiet: bool

    def plan(self, inputs: Sequence[str], output: str | None, *, suffix: str) -> list[Job]:
        """The work list, as `nss.batch.planning.plan` makes it. Raises what that does."""
        from nss.batch import planning

        return planning.plan(
            inputs,
            output,
            recursive=self.recursive,
            exists=self.exists,
            suffix=suffix,
            parents=self.parents,
            sidecar=self.sidecar,
            all_files=self.all_files,
            verbose=self.verbose,
            notify=None if self.quiet else complain,
        )

    def budget(self, taken: int = 0) -> MemoryBudget:
        """What images in work may take; ``taken``: bytes of it that others have already.

        What they took goes back to the system from now on.
        """
        from nss.pipeline import budget, heap

        heap.return_large_blocks()
        return budget.MemoryBudget(max(1, (budget.default_bytes() if self.memory is None else self.memory) - taken))

    def report(self, *, to_stderr: bool = False) -> Report:
        """What says what became of each image; ``to_stderr``: standard output holds an image."""
        return Report(self.as_json, self.quiet, to_stderr=to_stderr, verbose=self.verbose)


def batch(
    recursive: options.RecursiveOption = False,
    all_files: options.AllFilesOption = False,
    parents: options.ParentsOption = False,
    exists: options.ExistsOption = None,
    overwrite: options.OverwriteOption = False,
    skip_existing: options.SkipExistingOption = False,
    rename: options.RenameOption = False,
    sidecar: options.SidecarOption = False,
    jobs: options.JobsOption = None,
    memory: options.MemoryOption = None,
    unordered: options.UnorderedOption = False,
    fail_empty: options.FailEmptyOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonLinesOption = False,
    verbose: options.VerboseOption = False,
    quiet: options.QuietOption = False,
) -> BatchOptions:
    """Raises UsageError where the options contradict each other, or the memory is no size."""
    if verbose and quiet:
        raise UsageError("--verbose and --quiet exclude each other")
    return BatchOptions(
        recursive=recursive,
        all_files=all_files,
        parents=parents,
        exists=when_exists(exists, overwrite=overwrite, skip_existing=skip_existing, rename=rename),
        sidecar=sidecar,
        jobs=jobs,
        memory=memory_bytes(memory),
        unordered=unordered,
        fail_empty=fail_empty,
        dry_run=dry_run,
        as_json=as_json,
        verbose=verbose,
        quiet=quiet,
    )


def memory_bytes(text: str | None) -> int | None:
    """The bytes that ``--memory`` says. Raises UsageError where it is no size, or nothing."""
    if text is None:
        return None
    if not (nbytes := parse_size(text)):
        raise UsageError(f"--memory {text}: is no size; 1G and 500M are possible")
    return nbytes


def when_exists(exists: WhenExists | None, *, overwrite: bool, skip_existing: bool, rename: bool) -> Exists:
    """What becomes of an output that exists, by ``--exists`` or one of the options that are short for a value of it.

    Raises UsageError where two of them differ.
    """
    values: dict[str, Exists] = {} if exists is None else {f"--exists {exists.value}": exists.value}
    if overwrite:
        values["--overwrite"] = "overwrite"
    if skip_existing:
        values["--skip-existing"] = "skip"
    if rename:
        values["--rename"] = "rename"
    if len(set(values.values())) > 1:
        raise UsageError(f"{' and '.join(values)} exclude each other")
    return next(iter(values.values()), "fail")
