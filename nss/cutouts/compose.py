"""Mask and photo to a cut-out, and the cut-out to the pixels of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, overload

import numpy as np

from nss.cutouts import pixels
from nss.cutouts.run_info import RunInfo
from nss.errors import UsageError, check_kind, check_number, one_line, quoted
from nss.files.picture import Picture
from nss.masks.photo_mask import PhotoMask
from nss.photos.file_objects import name_of
from nss.pipes import OneTimeFile
from nss.timing import stage

if TYPE_CHECKING:
    from PIL import Image

    from nss.files.formats import Encoding
    from nss.masks.refine import Refinement

HIDDEN = ("keep", "bleed", "zero")

NOTEBOOK_SIDE = 1024
"""The longer side, in pixels, from which a notebook is shown a reduced picture: what it shows is stored in it."""


@dataclass(frozen=True)
class Composition:
    """What a file shows of a cut-out.

    Attributes:
        background: ``"none"`` (transparent), a colour as CSS has it (see `nss.cutouts.css_colour`), translucent too,
            ``"blur"`` or ``"blur:PIXELS"`` (the photo itself, out of focus), or the path of an image, which is scaled
            to cover and centred.
        hidden: the colour of pixels with alpha 0. ``"keep"`` leaves the photo's, from which anyone can restore what was
            removed; ``"bleed"`` continues the edge's colours outwards; ``"zero"`` is black.
        decontaminate: how far the colours of soft pixels go from the photo's to those of the foreground alone, 0 to 1.
        invert: keep what the mask removes.
        mask_only: alpha as a greyscale picture instead of the cut-out.
        mask_bits: 8 or 16, of such a picture.
        crop: pixels to leave around the subject, or None for the whole picture.
        keep_exif: take over the photo's EXIF but for orientation, thumbnail and place.
        keep_gps: and the place too.
    """

    background: str | OneTimeFile = "none"
    hidden: str = "keep"
    decontaminate: float = 0.0
    invert: bool = False
    mask_only: bool = False
    mask_bits: int = 8
    crop: int | None = None
    keep_exif: bool = False
    keep_gps: bool = False

    def __post_init__(self) -> None:
        if self.hidden not in HIDDEN:
            raise UsageError(f"'hidden' {quoted(self.hidden)}: one of {', '.join(HIDDEN)} is possible")
        check_number("decontaminate", self.decontaminate)
        if self.crop is not None:
            check_number("crop", self.crop)
        if not isinstance(self.background, (str, OneTimeFile)):
            wrong = one_line(quoted(self.background))
            raise UsageError(f"'background' {wrong}: a CSS colour, the path of an image, or blur is wanted, as text")
        if not 0 <= self.decontaminate <= 1:
            raise UsageError(f"'decontaminate' {self.decontaminate:g}: an amount from 0 to 1 is possible")
        if self.mask_bits not in (8, 16):
            raise UsageError(f"'mask_bits' {self.mask_bits}: 8 and 16 are possible")
        if self.crop is not None and self.crop < 0:
            raise UsageError(f"'crop' {self.crop}: a padding of 0 pixels or more is possible")
        if self.keep_gps and not self.keep_exif:
            raise UsageError("to keep the place of the photo (GPS) its EXIF must be kept too; give 'keep_exif'")
        if self.mask_only and self.background != "none":
            raise UsageError("a mask alone has no background; leave one of the two out")
        if self.mask_bits == 16 and not self.mask_only:
            raise UsageError("16 bits are for a mask alone")

    @property
    def level_bits(self) -> int | None:
        """The depth of the mask's levels, where the picture takes no more of the mask; else None."""
        if self.mask_only:
            return self.mask_bits if self.crop is None else None
        return 8 if self.crop is None and not self.decontaminate and self.background == "none" else None

    def settings(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        values = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}
        return {name: str(value) if isinstance(value, OneTimeFile) else value for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class ComposedPicture:
    """The picture of a cut-out, ready for a file.

    Attributes:
        picture: the pixels.
        box: left, top, right and bottom of the picture in the photo, in pixels.
        notes: what was decided on the way, one short phrase each.
    """

    picture: Picture
    box: tuple[int, int, int, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Cutout:
    """A photo with its foreground mask.

    ``image``, ``np.asarray(cutout)``, ``to_bytes``, ``save`` and what a notebook shows (reduced to ``NOTEBOOK_SIDE``)
    are what ``composition`` says; ``rgba``, ``rgb`` and ``mask`` are always those of the whole photo.

    Attributes:
        photo_mask: what the network found, at the photo's size; ``mask`` is its array.
        rgb: uint8 HxWx3, the photo's own pixels, untouched.
        own_alpha: uint8 HxW, the alpha that the photo already had, or None.
        icc: the ICC profile of ``rgb``, or None.
        path: the file that the photo came from, or None; it is never overwritten.
        notes: what was done to the photo on the way in, and to the network's output, one short phrase each.
        info: what made the cut-out, and in which time.
        exif: the photo's EXIF block as it was in the file, or None.
        sha256: SHA-256 of the photo's file where it cannot be read again, as a pipe cannot; else None.
        composition: what is shown; None for the photo with straight alpha.
        nothing_found: no value of the mask, as it was before it was stretched or refined, reached
            ``nss.masks.sanity.THRESHOLD``; a note has the largest.
    """

    photo_mask: PhotoMask
    rgb: np.ndarray
    own_alpha: np.ndarray | None
    icc: bytes | None
    path: Path | None
    notes: tuple[str, ...]
    info: RunInfo
    exif: bytes | None = None
    sha256: str | None = None
    composition: Composition | None = None
    nothing_found: bool = False

    def __repr__(self) -> str:
        height, width = self.photo_mask.shape
        origin = f"{self.info.model} on {self.info.backend}" if self.info.model else "with a given mask"
        return f"<Cutout {width} x {height}, {origin}, coverage {self.coverage:.3f}>"

    @property
    def mask(self) -> np.ndarray:
        """float32 HxW in 0..1, made at the first access, and the same array at each."""
        return self.photo_mask.array

    @property
    def coverage(self) -> float:
        """The part of the photo that the mask keeps, 0 to 1: the mean of ``mask``."""
        return self.photo_mask.coverage

    @property
    def rgba(self) -> np.ndarray:
        """uint8 HxWx4, composed anew at each access.

        Straight alpha: RGB as in the photo, A the mask times the photo's own alpha, rounded once.
        """
        return pixels.rgba(self.rgb, self.photo_mask, self.own_alpha, invert=False)

    @property
    def image(self) -> Image.Image:
        """A PIL image, composed anew at each access, with the ICC profile of its colours.

        Its mode is RGBA; RGB on a background that is opaque; L, or I;16, for a mask alone.
        """
        from PIL import Image

        picture = self.composed().picture
        image = Image.fromarray(picture.pixels)
        if picture.icc:
            image.info["icc_profile"] = picture.icc
        return image

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels of ``image`` for NumPy, uint8 HxWx4 (RGBA) unless ``composition`` has it otherwise.

        Raises:
            ValueError: ``copy=False``: there is no array yet that could be shared.
        """
        if copy is False:
            raise ValueError("the array of a cut-out is composed anew each time, never without a copy; leave copy out")
        pixels = self.composed().picture.pixels
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def _repr_png_(self) -> bytes:
        """The PNG file that notebooks show."""
        from nss.files import export, file_objects, formats

        composition = self.composition or Composition()
        image = replace(self, composition=replace(composition, mask_bits=8)).image
        image.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
        picture = Picture(np.asarray(image), image.info.get("icc_profile"))
        return export.encode(picture, formats.Encoding("png"), file_objects.IN_MEMORY)

    def alpha(self, *, invert: bool = False) -> np.ndarray:
        """float32 HxW: the mask, or what it leaves, times the photo's own alpha."""
        return self.photo_mask.alpha(self.own_alpha, invert=invert)

    def refined(self, refinement: Refinement) -> Cutout:
        """The same cut-out with the refined mask.

        Raises:
            UsageError: a setting is out of its range.
        """
        from nss.masks.refine import Refinement

        check_kind("refinement", refinement, Refinement, "an nss.Refinement")
        times: dict[str, float] = {}
        mask = self.photo_mask.refined(refinement, self.rgb, times)
        # without a time where the levels came with the network's mask
        done_elsewhere = not times and mask is not self.photo_mask
        stages = dict.fromkeys(refinement.steps, "webgpu") if done_elsewhere else dict.fromkeys(times, "numpy")
        return replace(self, photo_mask=mask, info=self.info.timed(times, stages))

    def composed(self, composition: Composition | None = None, *, opaque: bool = False) -> ComposedPicture:
        """The pixels of a file; the time they take is the stage "compose".

        Args:
            composition: what the file shows; by default what the cut-out's own ``composition`` says.
            opaque: the file can have no alpha; without a background it gets a white one.

        Raises:
            UsageError: the background is no colour and no image.
            ImageError: the background image cannot be read.
        """
        with self.timed("compose"):
            return self._compose(self._chosen(composition) or Composition(), opaque)

    def _chosen(self, composition: Composition | None) -> Composition | None:
        """What a file shows: ``composition``, or what the cut-out's own says. Raises UsageError for anything else."""
        check_kind("composition", composition, (Composition, type(None)), "an nss.Composition")
        return composition or self.composition

    def _compose(self, composition: Composition, opaque: bool) -> ComposedPicture:
        notes: list[str] = []
        background, transparent = composition.background, True
        if not composition.mask_only:
            from nss.cutouts import background as backgrounds

            transparent = backgrounds.is_none(background)
            if transparent and opaque:
                background, transparent = "white", False
                notes.append("the format has no transparency: put on white (see 'background')")
        mask, own_alpha, invert = self.photo_mask, self.own_alpha, composition.invert
        area = pixels.whole(mask.shape)
        if composition.crop is not None or composition.decontaminate or not transparent:
            # which take alpha as numbers; the others take its levels, and it is never held whole
            alpha = self.alpha(invert=invert)
            if composition.crop is not None:
                area = pixels.subject(alpha, composition.crop, notes)
                alpha = alpha[area]
            mask, own_alpha, invert = PhotoMask.of_array(alpha), None, False
        rows, columns = area
        box = columns.start, rows.start, columns.stop, rows.stop
        if composition.mask_only:
            levels = pixels.levels(mask, own_alpha, invert=invert, bits=composition.mask_bits)
            return ComposedPicture(Picture(levels), box, tuple(notes))
        rgb = photo = self.rgb[area]
        if composition.decontaminate:
            from nss.cutouts.foreground import decontaminate

            rgb = decontaminate(photo, mask.array, composition.decontaminate)
        if transparent:
            picture = pixels.rgba(rgb, mask, own_alpha, invert=invert, hidden=composition.hidden)
        else:
            picture = backgrounds.over(
                rgb, mask.array, background, photo=photo, icc=self.icc, opaque=opaque, notes=notes
            )
        return ComposedPicture(Picture(picture, self.icc, self._exif(composition)), box, tuple(notes))

    @overload
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        composition: Composition | None = ...,
        encoding: Encoding | str | None = ...,
        overwrite: bool = ...,
    ) -> Path: ...

    @overload
    def save(
        self,
        path: IO[bytes],
        *,
        composition: Composition | None = ...,
        encoding: Encoding | str | None = ...,
        overwrite: bool = ...,
    ) -> None: ...

    def save(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        composition: Composition | None = None,
        encoding: Encoding | str | None = None,
        overwrite: bool = False,
    ) -> Path | None:
        """Write the file that ``composition`` describes, verified before it takes its name; returns its path.

        Args:
            path: its extension is the format, unless ``encoding`` says otherwise. A link is kept, and the file that
                it leads to written; a device or a fifo is written through. Or a binary file object, open for writing,
                which gets the bytes once they are verified, where it stands, and is not closed: its ``name`` says the
                format, and without an extension it is PNG. None is returned for it.
            composition: what the file shows; by default what the cut-out's own ``composition`` says.
            encoding: a format's name, or an :class:`nss.Encoding`, which has quality and effort too.
            overwrite: replace a file that exists; the photo itself, its mask and its background are never replaced. A
                file object is written to in any case.

        Raises:
            UsageError: the format is unknown or cannot hold the picture, the path is that of a file that was read, or
                the file object is open for text.
            ImageError: the file exists and ``overwrite`` is false, or it cannot be written.
        """
        from nss.files import export, file_objects
        from nss.files.output_file import InputFiles

        composition = self._chosen(composition)
        files = (self.path, self.info.mask, composition.background if composition else None)
        inputs = InputFiles(file for file in files if file is not None)
        name = path if isinstance(path, str | os.PathLike) else name_of(path)
        file_encoding = _encoding("encoding", encoding, name)
        picture = self.composed(composition, opaque=not file_encoding.has_alpha).picture
        with self.timed("encode"):
            if isinstance(path, str | os.PathLike):
                return export.write(picture, path, encoding=file_encoding, inputs=inputs, overwrite=overwrite)
            file_objects.write(picture, path, encoding=file_encoding, inputs=inputs)
            return None

    def to_bytes(self, format: Encoding | str = "png", *, composition: Composition | None = None) -> bytes:  # noqa: A002 - Pillow's name for it
        """The bytes of the file that ``save`` would write, verified like it.

        Args:
            format: png, webp, avif, jpeg or tiff, or an :class:`nss.Encoding`, which has quality and effort too.
            composition: what the file shows; by default what the cut-out's own ``composition`` says.

        Raises:
            UsageError: the format is unknown or cannot hold the picture.
            ImageError: the picture is too large for the format.
        """
        from nss.files import export, file_objects

        file_encoding = _encoding("format", format, None)
        picture = self.composed(composition, opaque=not file_encoding.has_alpha).picture
        with self.timed("encode"):
            return export.encode(picture, file_encoding, file_objects.IN_MEMORY)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Have ``info`` replaced by one with the wall time of the block as a stage more; who holds the old one keeps
        it as it is.
        """
        times: dict[str, float] = {}
        with stage(times, name):
            yield
        object.__setattr__(self, "info", self.info.timed(times))

    def _exif(self, composition: Composition) -> bytes | None:
        if not composition.keep_exif or self.exif is None:
            return None
        from nss.photos import exif

        return exif.clean(self.exif, gps=composition.keep_gps)


def _encoding(parameter: str, encoding: Encoding | str | None, name: str | os.PathLike[str] | None) -> Encoding:
    """``encoding``, which is the argument of this name, else that of the name's extension, else PNG."""
    from nss.files import formats

    if isinstance(encoding, formats.Encoding):
        return encoding
    check_kind(parameter, encoding, (str, type(None)), "the name of a format, or an nss.Encoding")
    return formats.choose(Path(), encoding or "png") if name is None else formats.choose(Path(name), encoding)
