"""The catalogue: what is published about each model that `nss` knows by name."""

from __future__ import annotations

from dataclasses import dataclass

from nss.interface import IMAGENET_MEAN as IMAGENET_MEAN
from nss.interface import IMAGENET_STD as IMAGENET_STD
from nss.interface import Description, Filter, FixedSize


@dataclass(frozen=True)
class ModelSpec:
    """What is published about a model."""

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
    interface: Description
    """What it wants of a photo, and where its mask is."""
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

    # until the network asks for an Interface
    @property
    def input_hw(self) -> tuple[int, int] | None:
        size = self.interface.get("size")
        return (size.height, size.width) if isinstance(size, FixedSize) else None

    @property
    def resize(self) -> Filter:
        return self.interface.get("filter", "bilinear-antialias")

    @property
    def mean(self) -> tuple[float, ...]:
        return self.interface.get("mean", IMAGENET_MEAN)

    @property
    def std(self) -> tuple[float, ...]:
        return self.interface.get("std", IMAGENET_STD)

    @property
    def input_name(self) -> str | None:
        return self.interface.get("input")

    @property
    def output_name(self) -> str | None:
        output = self.interface.get("output")
        return output if isinstance(output, str) else None

    @property
    def logits(self) -> bool:
        return self.interface.get("activation") == "sigmoid"


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
            interface={
                "input": "input.1",
                "size": FixedSize(320, 320),
                # U²-Net's own code reduces with scikit-image's bilinear behind a Gaussian, rembg with Lanczos: both
                # low-pass before they decimate. Of the two filters here only the antialiased one does.
                "filter": "bilinear-antialias",
                "mean": IMAGENET_MEAN,
                "std": IMAGENET_STD,
                "output": "1959",
                "activation": "none",
            },
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
            interface={
                "input": "input",
                "size": FixedSize(1024, 1024),
                "filter": "bilinear",
                "mean": (0.5, 0.5, 0.5),
                "std": (1.0, 1.0, 1.0),
                "output": "output",
                "activation": "none",
            },
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
            interface={
                "input": "pixel_values",
                "size": FixedSize(1024, 1024),
                "filter": "bilinear-antialias",
                "mean": IMAGENET_MEAN,
                "std": IMAGENET_STD,
                "output": "alphas",
                "activation": "none",
            },
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
