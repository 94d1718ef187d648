"""Mask and photo to a cut-out with straight alpha."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class RunInfo:
    """What made a cut-out.

    Attributes:
        model: the model's name.
        model_sha256: SHA-256 of the model file, 64 hexadecimal digits.
        backend: the engine's backend that ran, ``"numpy"`` for instance.
        device: the adapter or processor it ran on.
        backend_reason: why that backend ran.
        precision: ``"f32"``, or ``"f16"`` on the GPU.
        milliseconds: wall time by stage: decode, load_model, preprocess, infer, postprocess, and encode once saved.
            Only the first image of a :class:`nss.Remover` carries the time that its model took to load.
    """

    model: str
    model_sha256: str
    backend: str
    device: str
    backend_reason: str = ""
    precision: str = "f32"
    milliseconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Cutout:
    """A photo with its foreground mask.

    Attributes:
        mask: float32 HxW in 0..1, what the network found, at the photo's size.
        rgb: uint8 HxWx3, the photo's own pixels, untouched.
        own_alpha: uint8 HxW, the alpha that the photo already had, or None.
        icc: the ICC profile of ``rgb``, or None.
        path: the file that the photo came from, or None; it is never overwritten.
        notes: what was done to the photo on the way in, and to the network's output, one short phrase each.
        info: what made the cut-out, and in which time.
    """

    mask: np.ndarray
    rgb: np.ndarray
    own_alpha: np.ndarray | None
    icc: bytes | None
    path: Path | None
    notes: tuple[str, ...]
    info: RunInfo

    @property
    def rgba(self) -> np.ndarray:
        """uint8 HxWx4, composed anew at each access.

        Straight alpha: RGB as in the photo, A the mask times the photo's own alpha, rounded once.
        """
        own = np.uint8(255) if self.own_alpha is None else self.own_alpha
        rgba = np.empty((*self.mask.shape, 4), np.uint8)
        rgba[..., :3] = self.rgb
        rgba[..., 3] = np.rint(self.mask * own)
        return rgba

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a PNG with straight alpha and the photo's ICC profile, verified before it takes its name.

        Raises:
            UsageError: the name does not end in ``.png``, or it is the photo itself.
            ImageError: the file exists and ``overwrite`` is false, or it cannot be written.
        """
        from nss import export
        from nss.timing import stage

        with stage(self.info.milliseconds, "encode"):
            return export.write(self.rgba, path, icc=self.icc, source=self.path, overwrite=overwrite)
