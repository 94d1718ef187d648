"""Options of the commands that make cut-outs: what is done to the mask, and to what becomes of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.errors import UsageError

if TYPE_CHECKING:
    from nss.batch.planning import Exists


class Mode(StrEnum):
    """The two networks by what they are chosen for."""

    FAST = "fast"
    BEST = "best"


class Hidden(StrEnum):
    """The colour of what is wholly transparent."""

    KEEP = "keep"
    BLEED = "bleed"
    ZERO = "zero"


def _option(*names: str, help: str, metavar: str | None = None, **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, metavar=metavar, show_default=False, **more)


InputsArgument = Annotated[
    list[str], typer.Argument(metavar="IN", help="Images, directories of images, patterns, or - for standard input.")
]
ModelOption = Annotated[
    str | None,
    _option(
        "--model",
        metavar="NAME|PATH|REPO",
        help="auto (the best model already here), a name of `models list`, an ONNX file, or OWNER/NAME on the "
        "Hugging Face hub.  [default: auto]",
    ),
]
ModeOption = Annotated[Mode | None, _option("--mode", help="fast is rmbg-1.4, best is rmbg-2.0; fetched when missing.")]
RequireGpuOption = Annotated[
    bool, typer.Option("--require-gpu", help="Fail with status 4 where no hardware adapter would run the network.")
]
MaskOption = Annotated[
    str | None,
    _option(
        "--mask",
        metavar="FILE|DIR",
        help="Use this mask instead of a network's; from a directory, <stem>.mask.png, .cutout.png or .png.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only (and JSON, if asked for).")]

GuidedOption = Annotated[
    float, _option("--guided", metavar="PX", help="Move the edge to the photo's, by a guided filter of this radius.")
]
BlackOption = Annotated[float, _option("--black", metavar="0..1", help="Mask values up to this become 0.")]
WhiteOption = Annotated[float, _option("--white", metavar="0..1", help="Mask values from this on become 1.")]
ThresholdOption = Annotated[
    float | None, _option("--threshold", metavar="0..1", help="Make the mask hard here: --black and --white in one.")
]
DropIslandsOption = Annotated[
    float, _option("--drop-islands", metavar="PX2", help="Remove islands of fewer square pixels than this.")
]
FillHolesOption = Annotated[
    float, _option("--fill-holes", metavar="PX2", help="Fill holes of fewer square pixels than this.")
]
SmoothOption = Annotated[
    float, _option("--smooth", metavar="PX", help="Smooth the contour at this scale, its edge as soft as it was.")
]
ExpandOption = Annotated[
    float, _option("--expand", metavar="PX", help="Move the contour outwards; a negative number contracts.")
]
FeatherOption = Annotated[
    float, _option("--feather", metavar="PX", help="Soften the edge: a Gaussian of this standard deviation.")
]

DecontaminateOption = Annotated[
    float,
    _option("--decontaminate", metavar="0..1", help="Take the background's colour out of soft edges, by this amount."),
]
HiddenOption = Annotated[
    Hidden,
    typer.Option(
        help="Colour under full transparency: keep the photo's (which anyone can restore), "
        "bleed the edge's outwards, or zero."
    ),
]
BackgroundOption = Annotated[
    str,
    _option(
        "--background",
        metavar="WHAT",
        help="A CSS colour (with alpha too), an image, blur or blur:PX for the photo out of focus.  [default: none]",
    ),
]
InvertOption = Annotated[bool, typer.Option("--invert", help="Keep the background and remove the subject.")]
MaskOnlyOption = Annotated[bool, typer.Option("--mask-only", help="Write the mask instead of the cut-out.")]
MaskBitsOption = Annotated[int, typer.Option("--mask-bits", metavar="8|16", help="Bits of such a mask.")]
CropOption = Annotated[
    int | None, _option("--crop", metavar="PX", help="Crop to the subject and leave this many pixels around it.")
]

FormatOption = Annotated[
    str | None,
    _option(
        "--format", metavar="NAME", help="png, webp, avif, jpeg or tiff.  [default: by the output's extension, or png]"
    ),
]
QualityOption = Annotated[
    int | None,
    _option("--quality", metavar="1..100", help="Of WebP (lossless without), AVIF and JPEG."),
]
EffortOption = Annotated[
    int | None, _option("--effort", metavar="0..9", help="More makes smaller files, slowly.  [default: a fast one]")
]
KeepExifOption = Annotated[
    bool,
    typer.Option("--keep-exif", help="Keep the photo's EXIF, without orientation, thumbnail and place."),
]
KeepGpsOption = Annotated[bool, typer.Option("--keep-gps", help="With --keep-exif: keep the place too.")]
SidecarOption = Annotated[
    bool, typer.Option("--sidecar", help="Write all settings in effect as JSON beside each output.")
]

ParentsOption = Annotated[bool, typer.Option("--parents", help="Make the directories that -o names, where missing.")]
RecursiveOption = Annotated[
    bool, typer.Option("--recursive", "-r", help="Search directories to the end; the output keeps their tree.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
SkipOption = Annotated[bool, typer.Option("--skip-existing", help="Leave out images whose output exists.")]
RenameOption = Annotated[bool, typer.Option("--rename", help="Number outputs whose name is taken.")]
JobsOption = Annotated[
    int | None,
    _option("--jobs", "-j", min=1, metavar="N", help="Images in work at the same time.  [default: one a core]"),
]
AllFilesOption = Annotated[
    bool,
    typer.Option("--all-files", help="Search directories for images of any name, by their first bytes."),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Say which files a search passes over, and what ran where and how long for each image."
    ),
]
FailEmptyOption = Annotated[
    bool, typer.Option("--fail-empty", help="Let a photo in which nothing was found fail, and write no file for it.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")]


def when_exists(overwrite: bool, skip: bool, rename: bool) -> Exists:
    """What becomes of an output that exists, in the words of ``nss.batch.planning.plan``."""
    if overwrite + skip + rename > 1:
        raise UsageError("--overwrite, --skip-existing and --rename exclude each other")
    return "overwrite" if overwrite else "skip" if skip else "rename" if rename else "fail"
