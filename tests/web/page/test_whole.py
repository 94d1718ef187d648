"""From a photo dropped on the page to the file that is saved, held to the command's with the same model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.engine.models import U2NETP
from tests.web.conftest import ROOT, TIMEOUT, Node, once
from tests.web.models import SIDE, write_small_u2netp

HERE = Path(__file__).parent
EXAMPLES = ROOT / "examples"
TOLERANCE = 2
"""Levels of 255 by which alpha may differ: the order of sums does, and the rounding of what lies between two levels."""


def as_it_is(_folder: Path) -> Path:
    return EXAMPLES / "chelsea.png"


def large(_folder: Path) -> Path:
    return EXAMPLES / "astronaut.png"


def turned(folder: Path) -> Path:
    """A JPEG whose camera was held on its side, with the profile of its colours."""
    photo = Image.open(EXAMPLES / "astronaut.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = folder / "turned.jpg"
    photo.transpose(Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif, icc_profile=profile)
    return path


def with_alpha(folder: Path) -> Path:
    """A PNG that is transparent in part, down to alpha 1, where colours are easily lost."""
    photo = np.array(Image.open(EXAMPLES / "chelsea.png").convert("RGBA"))
    photo[..., 3] = np.linspace(0, 255, photo.shape[1]).round()
    path = folder / "alpha.png"
    Image.fromarray(photo).save(path)
    return path


def without_loss(folder: Path) -> Path:
    path = folder / "odd.webp"
    Image.open(EXAMPLES / "chelsea.png").convert("RGB").resize((333, 217)).save(path, lossless=True)
    return path


PHOTOS = [as_it_is, large, turned, with_alpha, without_loss]


def check(
    node: Node, command: list[str], model: Path, shared: Path, folder: Path, make: Callable[[Path], Path]
) -> None:
    """The page's files of the photo have the command's colours, and its alpha to within `TOLERANCE`."""
    where = None if command[0].endswith("nss-wgpu") else ROOT
    with once(shared, f"site-f32-{model.stem}") as (site, is_first):
        if is_first:
            words = [*command, "export-web", str(model), "-o", str(site), "--weights", "f32", "--quiet"]
            subprocess.run(words, cwd=where, check=True, timeout=TIMEOUT)
    photo = make(folder)
    output = node(HERE / "whole.test.mjs", NSS_SITE=site, NSS_PHOTO=photo, NSS_FOLDER=folder)
    assert "fail 0" in output

    def expected(*options: str) -> Image.Image:
        path = folder / "expected.png"
        words = [*command, "remove", str(photo), "-o", str(path), "--model", str(model), "--exists", "overwrite"]
        subprocess.run([*words, "--quiet", *options], cwd=where, check=True, timeout=TIMEOUT)
        return Image.open(path)

    plain = expected()
    compare(folder / "plain.png", plain)
    compare(folder / f"{photo.stem}.cutout.webp", plain)
    alpha = np.asarray(plain)[..., 3].astype(int)
    assert alpha.min() < 128 < alpha.max()
    with Image.open(folder / f"{photo.stem}.mask.png") as mask:
        assert mask.mode == "L"
        assert np.abs(np.asarray(mask).astype(int) - alpha).max() <= TOLERANCE
    compare(folder / f"{photo.stem}.cutout.png", expected("--expand", "1.5", "--feather", "1", "--hidden", "zero"))


def compare(path: Path, expected: Image.Image) -> None:
    """Colours, profile and size are the same, wherever something is to be seen; alpha is, to within `TOLERANCE`."""
    reference = np.asarray(expected).astype(int)
    with Image.open(path) as cutout:
        assert cutout.info.get("icc_profile") == expected.info.get("icc_profile")
        pixels = np.asarray(cutout.convert("RGBA")).astype(int)
    assert pixels.shape == reference.shape
    either = (pixels[..., 3] == 0) != (reference[..., 3] == 0)  # where hidden colours are taken out of one alone
    assert np.array_equal(pixels[~either, :3], reference[~either, :3])
    assert np.abs(pixels[..., 3] - reference[..., 3]).max() <= TOLERANCE


def test_saved_as_the_command_does(run_node: Node, command: list[str], shared_folder: Path, tmp_path: Path) -> None:
    shared_folder.mkdir(parents=True, exist_ok=True)
    model = write_small_u2netp(shared_folder / f"u2netp-{SIDE}.onnx")
    check(run_node, command, model, shared_folder, tmp_path, as_it_is)


@pytest.mark.long(reason="SwiftShader takes a minute for U²-Netp at its own size")
@pytest.mark.parametrize("make", PHOTOS)
def test_saved_at_full_size(
    run_node: Node, command: list[str], shared_folder: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    check(run_node, command, U2NETP, shared_folder, tmp_path, make)
