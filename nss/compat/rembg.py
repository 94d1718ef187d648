"""rembg's ``remove`` and ``new_session`` on nss: ``from nss.compat import rembg`` in place of ``import rembg``.

Parameters, return types, sizes and modes are those of rembg 2.0: bytes give the bytes of a PNG file, a PIL image gives
a PIL image, an array gives an array; RGBA, or greyscale with ``only_mask``. What differs:

- The cut-out has straight alpha: its colours are the photo's. rembg darkens them towards soft edges, but with
  ``putalpha=True``.
- ``remove`` without a session takes the best model on this machine (``nss.Remover("auto")``), keeps it loaded and
  fetches nothing. ``new_session(name)`` fetches a model that is missing, as rembg does.
- The photo is divided by 255 and not by its own maximum; for "u2netp" and "bria-rmbg" it is resized by antialiased
  bilinear, and not by Lanczos. Each mask is stretched to 0..1, as rembg does. Masks of one model are within 0.02 of
  rembg's, on average over a photo.
- "bria-rmbg" is used where rembg has it on this machine, and not fetched; "rmbg-2.0" is, from BRIA.
- ``alpha_matting`` takes the same thresholds. In the band between them the mask follows the photo's edges by a guided
  filter (`nss.masks.guided`), where rembg solves for closed-form matting; colours are estimated likewise
  (`nss.cutouts.foreground`).
- ``bgcolor`` is converted to the photo's colour space, and the photo's ICC profile is kept.
- Errors are `nss.NssError`; where rembg raises ValueError, they are that too. Arguments that mean nothing here are
  refused, and not passed over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from nss.errors import UsageError, quoted

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from nss.cutouts.compose import Composition, Cutout
    from nss.photos.source import Source

__all__ = ["ArgumentError", "Session", "new_session", "remove"]

CUSTOM = ("u2net_custom", "dis_custom", "ben_custom")
"""rembg's names for a file of one's own, which ``model_path`` gives."""

_ABSENT = {
    "sam": "needs prompts, which masks of one photo have no place for",
    "u2net_cloth_seg": "tells kinds of clothes apart, and not a foreground",
    "withoutbg": "sends photos to a service",
    "atlascloud": "sends photos to a service",
}
"""Sessions of rembg that are not here, and why."""


class ArgumentError(UsageError, ValueError):
    """An argument that rembg refuses with ValueError, or that means nothing here."""


class Session:
    """A loaded model; any number of threads may share one.

    Attributes:
        model_name: the name that it was asked for by.
    """

    def __init__(self, model_name: str, *, model: str | os.PathLike[str], backend: str) -> None:
        from nss.removal.remover import Remover

        self.model_name = model_name
        self._remover = Remover(model, backend=backend, stretch=True)

    def predict(self, img: Image.Image, *_: Any, **__: Any) -> list[Image.Image]:
        """The mask of a photo, in a list: a PIL image of mode L and the photo's size."""
        return [_image(self.cut_out(img), _mask_alone())]

    def cut_out(self, data: Source) -> Cutout:
        """The whole result, which rembg's sessions do not give."""
        return self._remover.remove(data)


def new_session(model_name: str = "u2net", *args: Any, **kwargs: Any) -> Session:
    """Load a model, which is fetched where it is not on this machine.

    Args:
        model_name: a name that rembg knows, or any model that :class:`nss.Remover` takes.
        args: none.
        kwargs: ``model_path``, the file for "u2net_custom" and its like, whose interface is what the file says;
            ``providers``: ["CPUExecutionProvider"] alone is backend "numpy", anything else "auto"; ``sess_opts`` says
            nothing here.

    Raises:
        ArgumentError: there is no such session, or no such argument.
        NssError: as :class:`nss.Remover`.
    """
    model_path, providers = kwargs.pop("model_path", None), kwargs.pop("providers", None)
    kwargs.pop("sess_opts", None)
    _refuse("new_session", args, kwargs)
    if not isinstance(model_name, str):
        raise ArgumentError(f"'model_name' is the name of a session, not {type(model_name).__name__}")
    if model_name in _ABSENT:
        raise ArgumentError(f"there is no session {quoted(model_name)}: it {_ABSENT[model_name]}; use rembg for it")
    if (model_path is not None) != (model_name in CUSTOM):
        raise ArgumentError(f"{quoted(model_name)}: 'model_path' goes with {', '.join(CUSTOM)}, and these need it")
    on_processor = providers is not None and list(providers) == ["CPUExecutionProvider"]
    model = model_name if model_path is None else os.path.expanduser(model_path)  # noqa: PTH111 - as rembg does
    return Session(model_name, model=model, backend="numpy" if on_processor else "auto")


def remove(
    data: bytes | Image.Image | np.ndarray,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Session | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    bgcolor: Sequence[int] | None = None,
    force_return_bytes: bool = False,
    *args: Any,
    **kwargs: Any,
) -> bytes | Image.Image | np.ndarray:
    """Cut the foreground out of one image; what goes in says what comes out.

    Args:
        data: the bytes of an image file, a PIL image, or an array; with ``force_return_bytes`` anything that
            :func:`nss.remove` takes.
        alpha_matting: find the alpha of the band between the two thresholds anew, and the colours in it.
        alpha_matting_foreground_threshold: mask values above it, 0..255, are foreground.
        alpha_matting_background_threshold: mask values below it are background.
        alpha_matting_erode_size: by how many pixels, in all, both are narrowed first.
        session: what ``new_session`` gave; by default the best model on this machine.
        only_mask: the mask, greyscale.
        post_process_mask: make the mask hard: opened by a cross of 3x3, blurred by 2 pixels, cut at 127.
        bgcolor: red, green, blue and alpha in 0..255 to put behind.
        force_return_bytes: the bytes of a PNG file, whatever ``data`` is.
        args: none.
        kwargs: ``decontaminate``: take the background's colour out of soft edges; ``putalpha``: the mask takes the
            place of the image's own alpha, which it is else multiplied with.

    Raises:
        ArgumentError: ``data`` is of another type, ``bgcolor`` is no colour, or there is no such argument.
        NssError: as :func:`nss.remove`.
    """
    decontaminate, putalpha = bool(kwargs.pop("decontaminate", False)), bool(kwargs.pop("putalpha", False))
    if kwargs.pop("vitmatte", False) or kwargs.pop("vitmatte_model", None):
        raise ArgumentError("there is no ViTMatte here; use 'alpha_matting', or rembg for it")
    _refuse("remove", args, kwargs)
    if session is not None and not isinstance(session, Session):
        raise ArgumentError(f"'session' is what new_session gives, not {type(session).__name__}")
    form = "bytes" if force_return_bytes else _form(data)
    background = "none" if bgcolor is None or only_mask else _css(bgcolor)
    from dataclasses import replace

    from nss.cutouts.compose import Composition
    from nss.masks.photo_mask import PhotoMask

    cutout = (session or _default_session(os.getpid())).cut_out(data)
    if post_process_mask:
        cutout = replace(cutout, photo_mask=PhotoMask.of_array(_harden(cutout.mask)))
    if only_mask:
        return _in_form(cutout, _mask_alone(), form)
    if alpha_matting:
        thresholds = alpha_matting_foreground_threshold, alpha_matting_background_threshold
        mask = _matte(cutout, *thresholds, alpha_matting_erode_size)
        cutout = replace(cutout, photo_mask=PhotoMask.of_array(mask))
    if putalpha:
        cutout = replace(cutout, own_alpha=None)
    composition = Composition(background=background, decontaminate=float(bool(decontaminate or alpha_matting)))
    return _in_form(cutout, composition, form)


@cache
def _default_session(_: int) -> Session:
    """One for each process: a child of a fork has no use for its parent's GPU."""
    return Session("auto", model="auto", backend="auto")


def _refuse(function: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    if args or kwargs:
        if kwargs:
            raise ArgumentError(f"{function} has no argument {quoted(next(iter(kwargs)))}")
        raise ArgumentError(f"{function} takes fewer arguments by position: give the last {len(args)} by name")


def _form(data: object) -> str:
    import numpy as np
    from PIL import Image

    if isinstance(data, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(data, (Image.Image, np.ndarray)):
        return "image" if isinstance(data, Image.Image) else "array"
    raise ArgumentError(
        f"input of type {type(data).__name__} is not supported; give bytes, a PIL image or an array, or ask for bytes "
        "with 'force_return_bytes'"
    )


def _css(colour: Sequence[int]) -> str:
    try:
        levels = [int(level) for level in colour]
    except (TypeError, ValueError):
        levels = []
    if len(levels) not in (3, 4) or not all(0 <= level <= 255 for level in levels):
        raise ArgumentError(f"'bgcolor' {quoted(colour)}: red, green, blue and alpha in 0 to 255 are possible")
    red, green, blue, alpha = (*levels, 255)[:4]
    return f"rgb({red} {green} {blue} / {alpha / 2.55:.6f}%)"


def _mask_alone() -> Composition:
    from nss.cutouts.compose import Composition

    return Composition(mask_only=True)


def _image(cutout: Cutout, composition: Composition) -> Image.Image:
    """Mode L for a mask, which the photo's own alpha has no part in, else RGBA."""
    from dataclasses import replace

    own_alpha = None if composition.mask_only else cutout.own_alpha
    image = replace(cutout, composition=composition, own_alpha=own_alpha).image
    if image.mode == "RGB":
        image.putalpha(255)
    return image


def _in_form(cutout: Cutout, composition: Composition, form: str) -> bytes | Image.Image | np.ndarray:
    import numpy as np

    image = _image(cutout, composition)
    if form == "image":
        return image
    if form == "array":
        return np.array(image)
    from nss.files import export, file_objects, formats
    from nss.files.picture import Picture

    picture = Picture(np.asarray(image), image.info.get("icc_profile"))
    return export.encode(picture, formats.Encoding("png"), file_objects.IN_MEMORY)


def _harden(mask: np.ndarray) -> np.ndarray:
    """The mask as 0 and 1: specks and spurs of a pixel go, and the contour is smoothed at the scale of 2 pixels."""
    import numpy as np

    from nss.masks.refine import feather

    def extreme(samples: np.ndarray, of: Any) -> np.ndarray:
        """The least, or the largest, of each pixel and its four neighbours."""
        padded_samples = np.pad(samples, 1, mode="edge")
        upright = of(of(padded_samples[:-2, 1:-1], padded_samples[2:, 1:-1]), samples)
        result: np.ndarray = of(of(padded_samples[1:-1, :-2], padded_samples[1:-1, 2:]), upright)
        return result

    opening = extreme(extreme(mask, np.minimum), np.maximum)
    return (feather(opening, 2.0) >= np.float32(127 / 255)).astype(np.float32)


def _matte(cutout: Cutout, foreground: int, background: int, erode: int) -> np.ndarray:
    """The mask with 1 and 0 where the thresholds are sure of it, and by the photo's edges in between."""
    import numpy as np

    from nss.masks.guided import guided
    from nss.masks.refine import expand

    sure = (cutout.mask * 255 > foreground, cutout.mask * 255 < background)
    inside, outside = (expand(part.astype(np.float32), -max(erode, 2) / 2) >= 0.5 for part in sure)
    mask = guided(cutout.mask, cutout.rgb, max(erode, 1))
    mask = np.where(inside, np.float32(1), np.where(outside, np.float32(0), mask))
    return mask.astype(np.float32, copy=False)
