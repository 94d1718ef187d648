"""Options of ``nss-wgpu serve`` that no other command has, and what is made of those that it shares."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import cutout_options as options
from nss.cli import option_groups as groups
from nss.cli.cutout_options import WhenExists
from nss.cli.grouped import moved
from nss.cli.help_sections import BATCH, COMMON, OUTPUT, SERVER, WATCH
from nss.cli.option_groups import MaskSource
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
from nss.errors import UsageError
from nss.photos.image_size import MAX_PIXELS
from nss.sizes import parse_size

if TYPE_CHECKING:
    from nss.batch.planning import Exists

LEAST_MEMORY = 8 << 20
"""Bytes that a server may take, at the least; one who writes 500 for 500M would have every photo refused."""


def _option(section: str, *names: str, help: str, show_default: bool = False, **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, rich_help_panel=section, help=help, show_default=show_default, **more)


PortOption = Annotated[
    int,
    _option(
        COMMON,
        "--port",
        min=0,
        max=65535,
        metavar="N",
        help="Where it listens; 0 is any that is free.  [default: 8765]",
    ),
]
OpenOption = Annotated[bool, _option(COMMON, "--open", help="Open the page in a browser.")]
ModelsOption = Annotated[
    list[str] | None,
    _option(
        COMMON,
        "--model",
        metavar="NAME|PATH|REPO",
        help="A model as remove takes it; may be given several times, and the first is for who names none.  "
        "[default: auto]",
    ),
]
WatchOption = Annotated[
    tuple[str, str] | None,
    _option(
        WATCH, "--watch", metavar="IN OUT", help="Cut out photos that appear in the folder IN, into the folder OUT."
    ),
]
HostOption = Annotated[
    str, _option(SERVER, "--host", metavar="ADDRESS", help="The address that it listens on.  [default: 127.0.0.1]")
]
AllowRemoteOption = Annotated[
    bool,
    _option(
        SERVER,
        "--allow-remote",
        help="Let --host be reached by other computers; needs a token of your own, in the file that "
        "NSS_SERVE_TOKEN_FILE names.",
    ),
]
PublicUrlsOption = Annotated[
    list[str] | None,
    _option(
        SERVER,
        "--public-url",
        metavar="URL",
        help="An address under which it is reached too, behind a proxy say, https://cut.example; may be given several "
        "times.",
    ),
]
OriginsOption = Annotated[
    list[str] | None,
    _option(
        SERVER,
        "--allow-origin",
        metavar="ORIGIN",
        help="Another site whose pages may use the API, https://shop.example; may be given several times.",
    ),
]
QueueOption = Annotated[
    int,
    _option(
        SERVER, "--queue", min=1, metavar="N", help="Jobs that wait or are in work; more are refused.  [default: 64]"
    ),
]
KeepOption = Annotated[
    str, _option(SERVER, "--keep", metavar="TIME", help="How long results are kept: 90, 10m, 2h.  [default: 1h]")
]
MaxBytesOption = Annotated[
    str, _option(SERVER, "--max-bytes", metavar="SIZE", help="Refuse uploads of more than this.  [default: 256M]")
]
MemoryOption = Annotated[
    str | None,
    _option(
        SERVER,
        "--memory",
        metavar="SIZE",
        help="What photos, uploads and results may take in all, such as 1G.  [default: half of what is free]",
    ),
]
JobsOption = Annotated[
    int | None,
    _option(
        SERVER,
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Photos in work at a time, of each model.  [default: one a core]",
    ),
]
ExistsOption = Annotated[
    WhenExists | None,
    _option(WATCH, "--exists", help="What to do with a photo whose output exists, as for remove.  [default: skip]"),
]
VerboseOption = Annotated[
    bool, _option(WATCH, "--verbose", "-v", help="Say of each photo that its cut-out is written.")
]
QuietOption = Annotated[bool, _option(COMMON, "--quiet", "-q", help="Print the address, and what goes wrong.")]


@dataclass(frozen=True)
class WatchedFiles:
    """What is done with files of a watched folder.

    Attributes:
        exists, recursive, sidecar, fail_empty: as `nss.cli.option_groups.BatchOptions` has them.
        verbose: say of each photo that its cut-out is written.
    """

    exists: Exists
    recursive: bool
    sidecar: bool
    fail_empty: bool
    verbose: bool


def models(
    model: ModelsOption = None,
    model_variant: ModelVariantOption = None,
    mode: options.ModeOption = None,
    backend: BackendOption = Backend.AUTO,
    device: DevicesOption = None,
    require_gpu: options.RequireGpuOption = False,
    precision: PrecisionOption = Precision.F32,
    image_backend: ImageBackendOption = ImageBackend.AUTO,
    no_cache: NoCacheOption = False,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> tuple[MaskSource, ...]:
    """One for each model, at least one.

    Raises UsageError where the options contradict each other, or a model is there twice.
    """
    names: Sequence[str | None] = model or [None]
    if model and len(set(model)) < len(model):
        twice = next(name for name in model if model.count(name) > 1)
        raise UsageError(f"--model {twice}: is there {model.count(twice)} times; once is enough")
    if model_variant and len(names) > 1:
        raise UsageError(
            "--model-variant: of which of the models? Name the file instead, --model owner/name:onnx/model.onnx"
        )
    return tuple(
        groups.mask_source(
            model=name,
            model_variant=model_variant,
            mode=mode,
            backend=backend,
            device=device,
            require_gpu=require_gpu,
            precision=precision,
            image_backend=image_backend,
            no_cache=no_cache,
            max_pixels=max_pixels,
        )
        for name in names
    )


_SECTIONS = {COMMON: WATCH, OUTPUT: WATCH, BATCH: WATCH}
refinement = moved(groups.refinement, _SECTIONS)
composition = moved(groups.composition, _SECTIONS)
encoding = moved(groups.encoding, _SECTIONS)


def _watched_files(
    exists: ExistsOption = None,
    recursive: options.RecursiveOption = False,
    sidecar: options.SidecarOption = False,
    fail_empty: options.FailEmptyOption = False,
    verbose: VerboseOption = False,
) -> WatchedFiles:
    return WatchedFiles(
        exists=(exists or WhenExists.SKIP).value,
        recursive=recursive,
        sidecar=sidecar,
        fail_empty=fail_empty,
        verbose=verbose,
    )


files = moved(_watched_files, _SECTIONS)

FIELDS = frozenset(
    name for group in (refinement, composition, encoding) for name in inspect.signature(group).parameters
) | {"fail_empty"}
"""Parameters that the API takes too, with each photo."""
OF_PHOTOS = FIELDS | inspect.signature(files).parameters.keys()
"""Parameters that say what becomes of photos of a watched folder."""


def watch(context: typer.Context, watch: WatchOption = None) -> tuple[Path, Path] | None:
    """The folders IN and OUT, None where none is watched.

    Raises UsageError where a folder has no name, or an option says what becomes of photos and none is watched.
    """
    if watch is not None:
        if "" in watch:
            raise UsageError("--watch takes two folders, IN and OUT, and one of them is empty")
        return Path(watch[0]), Path(watch[1])
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name in OF_PHOTOS:
            option = max(parameter.opts, key=len)
            reason = "; who asks the API says it with each photo" if name in FIELDS else ""
            raise UsageError(f"{option} is for the photos of --watch IN OUT, which is not there{reason}")
    return None


def seconds(option: str, text: str) -> float:
    """How long "90", "90s", "10m", "2h" or "1d" is. Raises UsageError where it is no time, or none at all."""
    number = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", text.strip(), re.ASCII | re.IGNORECASE)
    value = 0.0 if number is None else float(number[1]) * _UNITS[number[2].lower()]
    if not value:
        raise UsageError(f"{option} {text}: is no time; 90 (seconds), 10m and 2h are possible")
    return value


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def memory_bytes(text: str | None) -> int | None:
    """The bytes that ``--memory`` says. Raises UsageError where it is no size, or leaves an upload hardly any."""
    size = groups.memory_bytes(text)
    if size is not None and size < LEAST_MEMORY:
        raise UsageError(f"--memory {text}: an upload may take an eighth of it, which is too little; give 8M or more")
    return size


def nbytes(option: str, text: str) -> int:
    """The bytes that an option says. Raises UsageError where it is no size, or nothing."""
    if not (size := parse_size(text)):
        raise UsageError(f"{option} {text}: is no size; 1G and 500M are possible")
    return size
