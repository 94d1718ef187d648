"""The catalogue: what is published about each model that `nss` knows by name.

The files of U²-Net, IS-Net and BiRefNet are those of rembg's releases, as its users have them; hashes and sizes are
those that rembg and other tools pin. What is not published of a file is None, and a licence that is not known is
"unknown". The licences are those of the projects that trained the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nss.interfaces.interface import IMAGENET_MEAN, USUAL, Description, EdgeSize, FixedSize

Commercial = Literal["yes", "no", "ask"]
"""Whether a licence allows commercial use; "ask": by agreement with the owner, or not known."""


@dataclass(frozen=True)
class Companion:
    """A file of a repository without which a model's own file is not whole, or not understood."""

    filename: str
    """Path in the repository."""
    size: int
    """Bytes."""
    sha256: str | None = None

    @property
    def shared(self) -> bool:
        """Whether other models of the repository have the same: a configuration, not weights."""
        return self.filename.endswith(".json")


@dataclass(frozen=True)
class ModelSpec:
    """What is published about a model."""

    name: str
    title: str
    summary: str
    speed: str
    licence: str
    licence_url: str
    commercial: Commercial
    size: int | None
    """Size of the file in bytes; None where it is not known."""
    sha256: str | None
    """SHA-256 of the file; None where it is not known."""
    interface: Description
    """What it wants of a photo, and where its mask is: all keys but perhaps "input"; none where nothing is known."""
    md5: str | None = None
    """MD5 of the file; what it is checked by where no SHA-256 is known."""
    filename: str | None = None
    """Path of the file in the package (built-in) or in the repository; None where it is neither."""
    repo: str | None = None
    """Repository on the hub; None where nothing is fetched from there."""
    revision: str = "main"
    release: str | None = None
    """Name of the file in rembg's release; None where nothing is fetched from there."""
    vendor: str | None = None
    """Whose model it is, as repositories name them; the model's name may be preceded by it."""
    mode: str | None = None
    """The other name of the model: what ``--mode`` calls it."""
    rembg: str | None = None
    """What rembg calls the model and its file; None where rembg does not have it."""
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    builtin: bool = False
    companions: tuple[Companion, ...] = ()
    """What comes along from the repository: external data, the configuration of the pre-processing."""

    @property
    def whole_size(self) -> int | None:
        """Size of the file and its companions in bytes; None where it is not known."""
        return None if self.size is None else self.size + sum(companion.size for companion in self.companions)

    @property
    def digest(self) -> tuple[Literal["sha256", "md5"], str] | None:
        """What the file is checked by: the algorithm, and the digest in hexadecimal."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None

    @property
    def names(self) -> set[str]:
        """What the model is called, in small letters; any case is meant."""
        names = {name for name in (self.name, self.rembg) if name}
        names |= {f"{self.vendor}/{name}" for name in names if self.vendor}
        return {name.lower() for name in (*names, self.mode, self.repo) if name}


# rembg gives the mask of the first output, whatever it is called; it reduces photos by Lanczos.
_U2NET: Description = {**USUAL, "size": FixedSize(320, 320), "filter": "lanczos-antialias", "output": 0}
_BIREFNET: Description = {**_U2NET, "size": FixedSize(1024, 1024), "activation": "sigmoid"}
_ISNET: Description = {
    **_U2NET,
    "size": FixedSize(1024, 1024),
    "mean": (0.5, 0.5, 0.5),
    "std": (1.0, 1.0, 1.0),
}


def _from_rembg(
    name: str,
    title: str,
    summary: str,
    *,
    release: str | None = None,
    md5: str,
    size: int | None = None,
    sha256: str | None = None,
    interface: Description,
    speed: str = "not measured",
    licence: str = "Apache-2.0",
    vendor: str = "xuebinqin",
    project: str = "U-2-Net",
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        summary=summary,
        speed=speed,
        licence=licence,
        licence_url=f"https://github.com/{vendor}/{project}",
        commercial="yes",
        size=size,
        sha256=sha256,
        interface=interface,
        md5=md5,
        release=release or f"{name}.onnx",
        vendor=vendor,
        rembg=name,
    )


def _birefnet(
    variant: str, file: str, summary: str, *, md5: str, size: int | None = None, sha256: str | None = None
) -> ModelSpec:
    return _from_rembg(
        f"birefnet-{variant.lower()}",
        f"BiRefNet {variant}",
        summary,
        release=f"BiRefNet-{file}.onnx",
        md5=md5,
        size=size,
        sha256=sha256,
        interface=_BIREFNET,
        speed="slow without a GPU",
        licence="MIT",
        vendor="ZhengPeng7",
        project="BiRefNet",
    )


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
            commercial="yes",
            size=4_574_861,
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            interface={
                **USUAL,
                "input": "input.1",
                "size": FixedSize(320, 320),
                # U²-Net's own code reduces with scikit-image's bilinear behind a Gaussian, rembg with Lanczos: both
                # low-pass before they decimate.
                "filter": "bilinear-antialias",
                "output": "1959",
            },
            md5="8e83ca70e441ab06c318d82300c84806",
            filename="weights/u2netp.onnx",
            vendor="xuebinqin",
            rembg="u2netp",
            builtin=True,
        ),
        _from_rembg(
            "silueta",
            "Silueta",
            "U²-Net made smaller, 320² mask",
            md5="55e59e0d8062d2f5d013f4725ee84782",
            size=44_173_029,
            sha256="75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
            interface=_U2NET,
        ),
        _from_rembg(
            "u2net",
            "U²-Net",
            "salient-object network, 320² mask",
            md5="60024c5c889badc19c04ad937298a77b",
            size=175_997_641,
            sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            interface=_U2NET,
        ),
        _from_rembg(
            "u2net_human_seg",
            "U²-Net human segmentation",
            "people only, 320² mask",
            md5="c09ddc2e0104f800e3e1bb4652583d1f",
            size=175_997_641,
            sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
            interface=_U2NET,
        ),
        _from_rembg(
            "isnet-general-use",
            "IS-Net general use",
            "1024² mask",
            md5="fc16ebd8b0c10d971d3513d564d01e29",
            size=178_648_008,
            sha256="60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            interface=_ISNET,
            speed="seconds on a CPU",
            project="DIS",
        ),
        _from_rembg(
            "isnet-anime",
            "IS-Net anime",
            "anime characters only, 1024² mask",
            md5="6f184e756bb3bd901c8849220a83e38e",
            size=176_069_933,
            sha256="f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
            interface={**_ISNET, "mean": IMAGENET_MEAN},
            speed="seconds on a CPU",
            vendor="SkyTNT",
            project="anime-segmentation",
        ),
        ModelSpec(
            name="modnet",
            title="MODNet",
            summary="portraits only, the photo's shape with a short side of 512; known by its file, not fetched",
            speed="about a second on a CPU",
            licence="Apache-2.0",
            licence_url="https://github.com/ZHKKKe/MODNet",
            commercial="yes",
            size=25_888_640,
            sha256="07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
            interface={
                **USUAL,  # with 0.5 and 0.5 behind it this is x/127.5 - 1
                "input": "input",
                "size": EdgeSize("shortest", 512, 32),
                "filter": "bilinear-antialias",  # MODNet's own code reduces by the mean of areas
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
                "output": "output",
            },
            vendor="ZHKKKe",
        ),
        ModelSpec(
            name="rmbg-1.4",
            title="BRIA RMBG-1.4",
            summary="IS-Net, 1024² mask",
            speed="seconds on a CPU",
            licence="BRIA RMBG-1.4",
            licence_url="https://bria.ai/bria-huggingface-model-license-agreement/",
            commercial="no",
            size=176_153_355,
            sha256=None,  # not published where it could be checked; the first download pins it
            interface={
                **_ISNET,
                "input": "input",
                "filter": "bilinear",
                "output": "output",
            },
            filename="onnx/model.onnx",
            repo="briaai/RMBG-1.4",
            vendor="briaai",
            mode="fast",
        ),
        _birefnet(
            "general-lite",
            "general-bb_swin_v1_tiny-epoch_232",
            "a smaller BiRefNet, 1024² mask",
            md5="4fab47adc4ff364be1713e97b7e66334",
            size=224_005_088,
            sha256="5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
        ),
        _birefnet(
            "general",
            "general-epoch_244",
            "1024² mask",
            md5="7a35a0141cbbc80de11d9c9a28f52697",
            size=972_666_916,
            sha256="58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
        ),
        _birefnet(
            "massive",
            "massive-TR_DIS5K_TR_TEs-epoch_420",
            "trained on more data, 1024² mask",
            md5="33e726a2136a3d59eb0fdf613e31e3e9",
        ),
        _birefnet("portrait", "portrait-epoch_150", "portraits, 1024² mask", md5="c3a64a6abf20250d090cd055f12a3b67"),
        _birefnet(
            "DIS", "DIS-epoch_590", "finely structured objects, 1024² mask", md5="2d4d44102b446f33a4ebb2e56c051f2b"
        ),
        _birefnet("HRSOD", "HRSOD_DHU-epoch_115", "large photos, 1024² mask", md5="c017ade5de8a50ff0fd74d790d268dda"),
        _birefnet("COD", "COD-epoch_125", "camouflaged objects, 1024² mask", md5="f6d0d21ca89d287f17e7afe9f5fd3b45"),
        ModelSpec(
            name="rmbg-2.0",
            title="BRIA RMBG-2.0",
            summary="BiRefNet, 1024² mask",
            speed="slow without a GPU",
            licence="CC BY-NC 4.0",
            licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
            commercial="ask",
            size=1_024_331_469,
            sha256="5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
            interface={
                **USUAL,
                "input": "pixel_values",
                "size": FixedSize(1024, 1024),
                "filter": "bilinear-antialias",
                "output": "alphas",
            },
            filename="onnx/model.onnx",
            repo="briaai/RMBG-2.0",
            vendor="briaai",
            mode="best",
            rembg="bria-rmbg",
            gated=True,
        ),
    )
}

AUTO_ORDER = (
    "birefnet-general",
    "birefnet-general-lite",
    "rmbg-1.4",
    "isnet-general-use",
    "u2net",
    "silueta",
    "u2netp",
)
"""The order of ``auto``, by what is published about the models: transformers before convolutions, masks of 1024²
before 320², larger before smaller. Models for one kind of subject are not in it, nor RMBG-2.0, whose licence each
account has to accept."""

HINTS = ("birefnet-general-lite", "isnet-general-use")
"""Models to point to where the built-in one was used: in the order of ``auto`` those that may be used commercially
and are no larger than a user may want to fetch unasked for."""


def spec_by_name(name: str) -> ModelSpec | None:
    """The catalogue entry of a name, in any case and with or without the vendor, or of a mode; None for any other."""
    key = name.lower()
    return next((spec for spec in CATALOGUE.values() if key in spec.names), None)
