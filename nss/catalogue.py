"""The catalogue: what is published about each model that `nss` knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resize = Literal["bilinear", "bilinear-antialias"]

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
    """Name of the output that is the mask, values 0..1, or its logits."""
    logits: bool = False
    """Whether the output are logits: a sigmoid makes them the mask."""
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


def spec_named(name: str) -> ModelSpec | None:
    """The catalogue entry of a name or of a mode ("fast", "best"); None for anything else."""
    return CATALOGUE.get(name) or next((s for s in CATALOGUE.values() if s.mode == name), None)
