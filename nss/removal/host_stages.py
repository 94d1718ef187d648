"""What is done for a photo before the network and after it, for one model.

It is data, unlike a `nss.removal.remover.Remover`: another process can be sent it, and do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nss.cutouts.compose import Cutout
from nss.cutouts.run_info import RunInfo
from nss.interfaces.interface import Interface
from nss.masks import sanity
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from nss.photos import image_io
from nss.photos.image_io import Photo
from nss.photos.image_size import MAX_PIXELS
from nss.photos.source import Source
from nss.removal import preprocess
from nss.timing import Milliseconds, stage


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """A photo before the network: what ``Remover.prepare`` gives and ``Remover.infer`` takes.

    Attributes:
        network_input: None where the GPU makes it of the photo.
        times: of the stages so far, in milliseconds.
        refinement: what will be done to the mask.
        mask_bits: the depth in which its levels are wanted, 8 or 16, where the GPU can make them; else None.
    """

    photo: Photo
    network_input: np.ndarray | None
    times: Mapping[str, float]
    refinement: Refinement | None = None
    mask_bits: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", Milliseconds(self.times))


@dataclass(frozen=True, eq=False)
class InferredMask:
    """A photo after the network, with its mask at the network's size: what ``Remover.finish`` takes.

    Attributes:
        levels: the mask's at the photo's size, uint8 or uint16 HxW, where the GPU has made them.
        refinement: what was done to the mask before its levels were made.
    """

    photo: Photo
    raw: np.ndarray
    notes: tuple[str, ...]
    info: RunInfo
    levels: np.ndarray | None = None
    refinement: Refinement | None = None


@dataclass(frozen=True)
class HostStages:
    """All but the network.

    Attributes:
        interface: how the model takes a photo.
        max_pixels: how many pixels a photo may have.
        stretch: widen each mask to 0..1 (see `nss.masks.photo_mask.PhotoMask.enlarged`).
        fewest_gpu_pixels: how many pixels a photo has that goes to the network as it is (`nss.removal.photo_input`);
            None where none does.
    """

    interface: Interface
    max_pixels: int = MAX_PIXELS
    stretch: bool = False
    fewest_gpu_pixels: int | None = None

    def prepare(
        self,
        image: Source | Photo,
        name: str | None = None,
        *,
        refinement: Refinement | None = None,
        mask_bits: int | None = None,
    ) -> PreparedPhoto:
        """Decode, and make the network's input; as ``Remover.prepare``."""
        times: dict[str, float] = {}
        with stage(times, "decode"):
            photo = image if isinstance(image, Photo) else image_io.load(image, name, max_pixels=self.max_pixels)
        times["load_model"] = 0.0
        network_input = None
        with stage(times, "preprocess"):
            goes_as_it_is = self.fewest_gpu_pixels is not None and photo.rgb[..., 0].size >= self.fewest_gpu_pixels
            if goes_as_it_is:
                preprocess.input_size(photo.rgb, self.interface, photo.name)
            else:
                network_input = preprocess.prepare(photo.rgb, self.interface, photo.alpha, photo.name)
        bits = mask_bits if goes_as_it_is and not self.stretch else None
        return PreparedPhoto(photo, network_input, times, refinement, bits)

    def finish(self, inferred: InferredMask) -> Cutout:
        """The mask at the photo's size, which is made when it is asked for."""
        photo = inferred.photo
        times: dict[str, float] = {}
        with stage(times, "postprocess"):
            mask = PhotoMask.enlarged(
                inferred.raw, photo.size, self.stretch, alpha=inferred.levels, refinement=inferred.refinement
            )
            nothing = sanity.nothing_found(mask, photo.alpha)
        notes = (*photo.notes, *inferred.notes)
        return cutout_of(mask, photo, notes=notes, info=inferred.info.timed(times), nothing=nothing)


def cutout_of(mask: PhotoMask, photo: Photo, *, notes: tuple[str, ...], info: RunInfo, nothing: str | None) -> Cutout:
    """A photo with its mask; ``nothing``: the note on a mask in which nothing is found."""
    return Cutout(
        photo_mask=mask,
        rgb=photo.rgb,
        own_alpha=photo.alpha,
        icc=photo.icc,
        path=photo.path,
        notes=(*notes, nothing) if nothing else notes,
        info=info,
        exif=photo.exif,
        sha256=photo.sha256,
        nothing_found=nothing is not None,
    )
