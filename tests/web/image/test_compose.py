"""web/image's composition of pictures against nss's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nss.cutouts.compose import Composition, Cutout
from nss.cutouts.run_info import RunInfo
from nss.masks.photo_mask import PhotoMask
from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases, mask, photo

TRANSPARENT: list[dict[str, Any]] = [
    {},
    {"invert": True},
    {"hidden": "zero"},
    {"hidden": "bleed"},
    {"crop": 0},
    {"crop": 7, "hidden": "bleed", "invert": True},
]
SIZES = [(1, 1), (1, 33), (40, 1), (90, 131), (300, 290)]


def test_compose(run_node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(18)
    cases = Cases(tmp_path / "cases")
    for size in SIZES:
        for alpha in ("none", "soft", "mostly hidden"):
            for settings in TRANSPARENT:
                _add(cases, rng, size, alpha, settings)
        for amount in (0.4, 1.0):
            _add(cases, rng, size, "none", {"decontaminate": amount})
            _add(cases, rng, size, "soft", {"decontaminate": amount, "crop": 3})
        _add_backgrounds(cases, rng, size, tmp_path)
        for bits in (8, 16):
            for settings in ({}, {"invert": True}, {"crop": 2}):
                _add(cases, rng, size, "soft", {"mask_only": True, "mask_bits": bits, **settings})
                _add(cases, rng, size, "none", {"mask_only": True, "mask_bits": bits, **settings}, enlarged=True)
    _add(cases, rng, (20, 30), "none", {"crop": 3}, empty=True)
    _add(cases, rng, (40, 1300), "none", {"decontaminate": 1.0}, enlarged=True)
    run_node(HERE / "image/compose.test.mjs", NSS_CASES=cases.write())


def _add_backgrounds(cases: Cases, rng: np.random.Generator, size: tuple[int, int], folder: Path) -> None:
    for colour in ("#ff8800ff", "#12345680", "#00000001", "#ffffff00"):
        values = list(bytes.fromhex(colour[1:]))
        _add(cases, rng, size, "none", {"background": colour}, background={"colour": values})
        _add(
            cases, rng, size, "soft", {"background": colour, "decontaminate": 1.0, "crop": 1},
            background={"colour": values},
        )  # fmt: skip
    for number, (height, width) in enumerate(((1, 1), (7, 90), (300, 200))):
        image = photo(rng, height, width)[..., :3]
        path = folder / f"background-{size[0]}-{number}.png"
        Image.fromarray(image).save(path)
        _add(cases, rng, size, "none", {"background": str(path)}, image=_with_alpha(image))
    for radius in (1.5, 9, None):
        name = "blur" if radius is None else f"blur:{radius}"
        blur = {"blur": radius} if radius else {"blur": None}
        _add(cases, rng, size, "none", {"background": name}, background=blur)
    _add(cases, rng, size, "soft", {"background": "blur:3", "crop": 2, "decontaminate": 0.5}, background={"blur": 3})


def _with_alpha(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 17, np.uint8)], axis=2)


def _add(
    cases: Cases,
    rng: np.random.Generator,
    size: tuple[int, int],
    alpha: str,
    settings: dict[str, Any],
    *,
    background: dict[str, Any] | None = None,
    image: np.ndarray | None = None,
    enlarged: bool | None = None,
    empty: bool = False,
) -> None:
    """A picture of nss, of a mask at the photo's size or at a network's."""
    rgba = photo(rng, *size, alpha=alpha)
    if enlarged is None:
        enlarged = bool(rng.integers(2))
    raw = mask(rng, 24, 32) if enlarged else mask(rng, *size)
    if empty:
        raw[:] = 0.04
    photo_mask = PhotoMask.enlarged(raw, size) if enlarged else PhotoMask.of_array(raw)
    own = None if alpha == "none" else rgba[..., 3].copy()
    cutout = Cutout(photo_mask, rgba[..., :3], own, None, None, (), RunInfo("model", None, None, None))
    composed = cutout.composed(Composition(**settings))
    shown = {key: value for key, value in settings.items() if key != "background"}
    named = settings.get("background", "none") if image is None else f"an image of {image.shape}"
    cases.add(
        "mask" if settings.get("mask_only") else "picture",
        f"{size} {alpha} {shown} on {named}, {'enlarged' if enlarged else 'whole'}",
        settings=shown, background=background, image=image, rgba=rgba, opaque=own is None, mask=raw,
        result=composed.picture.pixels, box=list(composed.box), notes=list(composed.notes),
    )  # fmt: skip
