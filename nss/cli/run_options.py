"""Options that the commands which run a network share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from nss.cli.help_sections import COMMON, INPUT, MODEL


class Backend(StrEnum):
    """Where the network runs."""

    AUTO = "auto"
    WEBGPU = "webgpu"
    NUMPY = "numpy"
    REFERENCE = "reference"


class Precision(StrEnum):
    """How the network's numbers are kept."""

    F32 = "f32"
    F32_STRICT = "f32-strict"
    F16 = "f16"


class ImageBackend(StrEnum):
    """Where photos become the network's input, and masks get the photo's size."""

    AUTO = "auto"
    WEBGPU = "webgpu"
    NUMPY = "numpy"


BackendOption = Annotated[
    Backend,
    typer.Option(
        rich_help_panel=MODEL, help="Where the network runs; auto is webgpu where there is a GPU, else numpy."
    ),
]
ImageBackendOption = Annotated[
    ImageBackend,
    typer.Option(
        "--image-backend",
        rich_help_panel=MODEL,
        help="Where photos and masks are resized; auto is the network's GPU, webgpu also one that is a program.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=MODEL,
        metavar="N|NAME",
        help="The adapter for webgpu: its number, wgpu or dawn, or part of its name, as `nss-wgpu devices` lists them.",
        show_default=False,
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        rich_help_panel=MODEL,
        metavar="N|NAME|all",
        help="The adapter for webgpu: its number, wgpu or dawn, or part of its name, as `nss-wgpu devices` lists them; "
        "several, such as 0,1, share the photos, and so do all.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(rich_help_panel=MODEL, help="f16 keeps numbers in half the memory, on adapters that have it."),
]
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="auto, a catalogue name, an ONNX file, or OWNER/NAME.", show_default=False),
]
ModelVariantOption = Annotated[
    str | None,
    typer.Option(
        "--model-variant",
        rich_help_panel=MODEL,
        metavar="NAME",
        help="Which of a repository's files: fp32, fp16, int8, uint8, q8 (= quantized), q4, q4f16 or bnb4.",
        show_default=False,
    ),
]
NoCacheOption = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        rich_help_panel=MODEL,
        help="Compile the model anew, and keep nothing of that (see `nss-wgpu cache`).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", rich_help_panel=COMMON, help="Print JSON instead of text.")]
MaxPixelsOption = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        rich_help_panel=INPUT,
        min=1,
        metavar="N",
        help="Refuse images of more pixels than this before they are decoded.  [default: 300000000]",
        show_default=False,
    ),
]
