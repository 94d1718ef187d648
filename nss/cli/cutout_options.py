"""Options of the commands that make cut-outs, by the sections of their help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from nss.cli.help_sections import BATCH, COLOUR, COMMON, INPUT, MASK, MODEL, OUTPUT


class Mode(StrEnum):
    """The two networks by what they are chosen for."""

    FAST = "fast"
    BEST = "best"


class Hidden(StrEnum):
    """The colour of what is wholly transparent."""

    KEEP = "keep"
    BLEED = "bleed"
    ZERO = "zero"


class Where(StrEnum):
    """What shares the work out, where it is not this process."""

    RAY = "ray"


class WhenExists(StrEnum):
    """What becomes of an output that exists, in the words of ``nss.batch.planning.Exists``."""

    FAIL = "fail"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    RENAME = "rename"


def _option(section: str, *names: str, help: str, show_default: bool = False, **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, rich_help_panel=section, help=help, show_default=show_default, **more)


InputsArgument = Annotated[
    list[str], typer.Argument(metavar="IN", help="Images, directories of images, patterns, or - for standard input.")
]

ModelOption = Annotated[
    str | None,
    _option(
        COMMON,
        "--model",
        metavar="NAME|PATH|REPO",
        help="auto (the best model already here), a name of `models list`, an ONNX file, or OWNER/NAME on the "
        "Hugging Face hub.  [default: auto]",
    ),
]
ModeOption = Annotated[
    Mode | None, _option(COMMON, "--mode", help="fast is rmbg-1.4, best is rmbg-2.0; fetched when missing.")
]
BackgroundOption = Annotated[
    str,
    _option(
        COMMON,
        "--background",
        metavar="WHAT",
        help="A CSS colour (with alpha too), an image, blur or blur:PX for the photo out of focus.  [default: none]",
    ),
]
CropOption = Annotated[
    int | None,
    _option(COMMON, "--crop", metavar="PX", help="Crop to the subject and leave this many pixels around it."),
]
DecontaminateOption = Annotated[
    float,
    _option(
        COMMON,
        "--decontaminate",
        metavar="0..1",
        help="Take the background's colour out of hair and other soft edges, by this amount.",
    ),
]
MaskOnlyOption = Annotated[bool, _option(COMMON, "--mask-only", help="Write the mask instead of the cut-out.")]
FormatOption = Annotated[
    str | None,
    _option(
        COMMON,
        "--format",
        metavar="NAME",
        help="png, webp, avif, jpeg or tiff.  [default: by the output's extension, or png]",
    ),
]
RecursiveOption = Annotated[
    bool, _option(COMMON, "--recursive", "-r", help="Search directories to the end; the output keeps their tree.")
]
ExistsOption = Annotated[
    WhenExists | None,
    _option(
        COMMON,
        "--exists",
        help="What to do with an image whose output exists: fail, skip it, overwrite the output, or rename the new one "
        "(number it). --overwrite, --skip-existing and --rename are --exists overwrite, skip and rename.  "
        "[default: fail]",
    ),
]
OverwriteOption = Annotated[bool, _option(COMMON, "--overwrite", help="--exists overwrite.", hidden=True)]
SkipExistingOption = Annotated[bool, _option(COMMON, "--skip-existing", help="--exists skip.", hidden=True)]
RenameOption = Annotated[bool, _option(COMMON, "--rename", help="--exists rename.", hidden=True)]
JsonLinesOption = Annotated[bool, _option(COMMON, "--json", help="Print one JSON object a line for each image.")]
QuietOption = Annotated[bool, _option(COMMON, "--quiet", "-q", help="Print errors only (and JSON, if asked for).")]

AllFilesOption = Annotated[
    bool, _option(INPUT, "--all-files", help="Search directories for images of any name, by their first bytes.")
]
MaskOption = Annotated[
    str | None,
    _option(
        INPUT,
        "--mask",
        metavar="FILE|DIR",
        help="Use this mask instead of a network's; from a directory, <stem>.mask.png, .cutout.png or .png.",
    ),
]

RequireGpuOption = Annotated[
    bool, _option(MODEL, "--require-gpu", help="Fail with status 4 where no hardware adapter would run the network.")
]

GuidedOption = Annotated[
    float,
    _option(MASK, "--guided", metavar="PX", help="Move the edge to the photo's, by a guided filter of this radius."),
]
BlackOption = Annotated[float, _option(MASK, "--black", metavar="0..1", help="Mask values up to this become 0.")]
WhiteOption = Annotated[float, _option(MASK, "--white", metavar="0..1", help="Mask values from this on become 1.")]
ThresholdOption = Annotated[
    float | None,
    _option(MASK, "--threshold", metavar="0..1", help="Make the mask hard here: --black and --white in one."),
]
DropIslandsOption = Annotated[
    float, _option(MASK, "--drop-islands", metavar="PX2", help="Remove islands of fewer square pixels than this.")
]
FillHolesOption = Annotated[
    float, _option(MASK, "--fill-holes", metavar="PX2", help="Fill holes of fewer square pixels than this.")
]
SmoothOption = Annotated[
    float, _option(MASK, "--smooth", metavar="PX", help="Smooth the contour at this scale, its edge as soft as it was.")
]
ExpandOption = Annotated[
    float, _option(MASK, "--expand", metavar="PX", help="Move the contour outwards; a negative number contracts.")
]
FeatherOption = Annotated[
    float, _option(MASK, "--feather", metavar="PX", help="Soften the edge: a Gaussian of this standard deviation.")
]
InvertOption = Annotated[bool, _option(MASK, "--invert", help="Keep the background and remove the subject.")]

HiddenOption = Annotated[
    Hidden,
    _option(
        COLOUR,
        "--hidden",
        help="Colour under full transparency: keep the photo's (which anyone can restore), "
        "bleed the edge's outwards, or zero.",
        show_default=True,
    ),
]

QualityOption = Annotated[
    int | None, _option(OUTPUT, "--quality", metavar="1..100", help="Of WebP (lossless without), AVIF and JPEG.")
]
EffortOption = Annotated[
    int | None,
    _option(OUTPUT, "--effort", metavar="0..9", help="More makes smaller files, slowly.  [default: a fast one]"),
]
MaskBitsOption = Annotated[
    int, _option(OUTPUT, "--mask-bits", metavar="8|16", help="Bits of a mask of --mask-only.", show_default=True)
]
KeepExifOption = Annotated[
    bool, _option(OUTPUT, "--keep-exif", help="Keep the photo's EXIF, without orientation, thumbnail and place.")
]
KeepGpsOption = Annotated[bool, _option(OUTPUT, "--keep-gps", help="With --keep-exif: keep the place too.")]
SidecarOption = Annotated[
    bool, _option(OUTPUT, "--sidecar", help="Write all settings in effect as JSON beside each output.")
]
ParentsOption = Annotated[bool, _option(OUTPUT, "--parents", help="Make the directories that -o names, where missing.")]

JobsOption = Annotated[
    int | None,
    _option(BATCH, "--jobs", "-j", min=1, metavar="N", help="Images in work at the same time.  [default: one a core]"),
]
MemoryOption = Annotated[
    str | None,
    _option(
        BATCH,
        "--memory",
        metavar="SIZE",
        help="What images in work may take, such as 1G or 500M; a large one waits for room.  "
        "[default: half of what is free]",
    ),
]
UnorderedOption = Annotated[
    bool, _option(BATCH, "--unordered", help="Tell of each image as it ends, not in the order of the inputs.")
]
FailEmptyOption = Annotated[
    bool, _option(BATCH, "--fail-empty", help="Let a photo in which nothing was found fail, and write no file for it.")
]
DryRunOption = Annotated[bool, _option(BATCH, "--dry-run", "-n", help="Say what would be done, and do nothing.")]
VerboseOption = Annotated[
    bool,
    _option(
        BATCH,
        "--verbose",
        "-v",
        help="Say which files a search passes over, and what ran where and how long for each image.",
    ),
]
OnOption = Annotated[
    Where | None,
    _option(
        BATCH,
        "--on",
        help="Hand the work to a cluster of Ray: IN and -o may be s3:// and gs:// too, and a run that was broken off "
        "goes on where it was.",
    ),
]
RayAddressOption = Annotated[
    str | None,
    _option(
        BATCH,
        "--ray-address",
        metavar="ADDRESS",
        help="The cluster for --on ray: auto, HOST:PORT or ray://HOST:PORT.  [default: RAY_ADDRESS, or this machine]",
    ),
]
