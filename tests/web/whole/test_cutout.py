"""From a photo dropped on the page to the file that is saved: the same as what the command writes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT
from tests.web.conftest import Node, lacks, require
from tests.web.whole.cutouts import EXAMPLES, assert_same, turned_jpeg

HERE = Path(__file__).parent

SETTINGS: dict[str, tuple[dict[str, object], str]] = {
    "plain": ({}, ""),
    "edges": (
        {
            "Smooth": 2.5,
            "Expand": -1.5,
            "Feather": 1.5,
            "Black point": 0.1,
            "White point": 0.8,
            "Remove islands": 40,
            "Fill holes": 30,
            "Under what is transparent": "zero",
            "Crop to the subject": True,
            "Space around it": 7,
        },
        "--smooth 2.5 --expand -1.5 --feather 1.5 --black 0.1 --white 0.8 --drop-islands 40 --fill-holes 30 "
        "--hidden zero --crop 7",
    ),
    "colour": (
        {
            "Background": "#2060a0",
            "Follow the photo": 4,
            "Keep the background": True,
        },
        "--background #2060a0 --guided 4 --invert",
    ),
}
"""The page's controls, and the command's options that mean the same."""


def png_with_alpha(path: Path) -> Path:
    """The cat with a wedge of own alpha."""
    photo = Image.open(EXAMPLES / "chelsea.png").convert("RGBA")
    wedge = np.linspace(0, 255, photo.width).round().astype(np.uint8)
    photo.putalpha(Image.fromarray(np.tile(wedge, (photo.height, 1))))
    photo.save(path)
    return path


def grey_jpeg(path: Path) -> Path:
    Image.open(EXAMPLES / "chelsea.png").convert("L").save(path, quality=90)
    return path


def odd_png(path: Path) -> Path:
    """A prime number of pixels each way, much wider than high."""
    Image.open(EXAMPLES / "chelsea.png").convert("RGB").crop((20, 40, 421, 193)).save(path)
    return path


def large_jpeg(path: Path) -> Path:
    return turned_jpeg(path, (4000, 3000))


def visit(run_node: Node, site: Path, folder: Path, photo: Path, runs: dict[str, list[str]]) -> None:
    """Drop a photo and save its files: ``<folder>/<name of the settings>.<format>.<extension>``."""
    downloads = folder / "downloads"
    downloads.mkdir()
    wanted = [{"name": name, "settings": SETTINGS[name][0], "formats": formats} for name, formats in runs.items()]
    visits = folder / "visits.json"
    visits.write_text(json.dumps([{"photo": str(photo), "runs": wanted}]), "utf-8")
    run_node(HERE / "cutout.test.mjs", NSS_SITE=site, NSS_FOLDER=folder, NSS_VISITS=visits)


def remove(command: list[str], photo: Path, model: str | Path, name: str) -> Image.Image:
    """What the command under test writes for the photo, with the settings of that name."""
    output = photo.parent / f"command-{name}.png"
    options = SETTINGS[name][1].split()
    arguments = [*command, "remove", photo, "--model", model, "-o", output, "--quiet", *options]
    subprocess.run(arguments, cwd=photo.parent if os.environ.get("NSS_TEST_COMMAND") else ROOT, check=True, timeout=200)
    return Image.open(output)


def test_a_photo_becomes_what_the_command_makes_of_it(
    run_node: Node, site: Path, shared_folder: Path, tmp_path: Path, command: list[str]
) -> None:
    photo, model = turned_jpeg(tmp_path / "cat.jpg"), shared_folder / "small.onnx"
    visit(
        run_node, site, tmp_path, photo, {"plain": ["png", "webp", "mask"], "edges": ["png", "mask"], "colour": ["png"]}
    )

    source = Image.open(photo)
    plain, expected = Image.open(tmp_path / "plain.png.png"), remove(command, photo, model, "plain")
    assert plain.size == (451, 300)
    assert plain.info["icc_profile"] == source.info["icc_profile"]
    assert_same(plain, expected)
    assert np.asarray(expected)[..., 3].max() > 200  # there is a subject
    upright = source.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(plain)[..., :3], np.asarray(upright))

    webp = Image.open(tmp_path / "plain.webp.webp")
    assert webp.info["icc_profile"] == source.info["icc_profile"]
    assert np.array_equal(np.asarray(webp), np.asarray(plain))
    mask = Image.open(tmp_path / "plain.mask.png")
    assert mask.mode == "L"
    # made by the processor, where the PNG's alpha is the GPU's
    assert np.abs(np.asarray(mask, np.int16) - np.asarray(expected)[..., 3]).max() <= 2

    erased, undone = (np.asarray(Image.open(tmp_path / f"{name}.png"), np.int16) for name in ("erased", "undone"))
    assert np.array_equal(undone, np.asarray(plain))
    assert np.array_equal(erased[..., :3], undone[..., :3])
    assert erased[150, 215:236, 3].max() == 0
    assert undone[150, 215:236, 3].min() > 0
    assert np.abs(erased[:50, :, 3] - undone[:50, :, 3]).max() <= 1  # away from the stroke

    edges, cropped = Image.open(tmp_path / "edges.png.png"), Image.open(tmp_path / "edges.mask.png")
    assert_same_shown(edges, remove(command, photo, model, "edges"))
    assert cropped.size == edges.size != plain.size
    assert np.abs(np.asarray(cropped, np.int16) - np.asarray(edges)[..., 3]).max() <= 2
    # a share of the background in each colour, by an alpha that is within two
    assert_same(Image.open(tmp_path / "colour.png.png"), remove(command, photo, model, "colour"), colours=2)


def assert_same_shown(page: Image.Image, expected: Image.Image) -> None:
    """As ``assert_same`` where hidden colours are zeroed: a colour counts where both show something of it."""
    assert (page.size, page.mode) == (expected.size, expected.mode)
    got, wanted = (np.array(image) for image in (page, expected))
    for pixels, other in ((got, wanted.copy()), (wanted, got.copy())):
        pixels[..., :3][other[..., 3] == 0] = 0
    assert_same(Image.fromarray(got, "RGBA"), Image.fromarray(wanted, "RGBA"))
    assert page.info.get("icc_profile") == expected.info.get("icc_profile")


@pytest.fixture(scope="module")
def site_320(tmp_path_factory: pytest.TempPathFactory, command: list[str]) -> Path:
    """A site with U²-Netp as it is published."""
    require(lacks("harness.mjs"))
    folder = tmp_path_factory.mktemp("whole")
    arguments = [*command, "export-web", "u2netp", "-o", folder / "site", "--quiet"]
    subprocess.run(arguments, cwd=folder if os.environ.get("NSS_TEST_COMMAND") else ROOT, check=True, timeout=200)
    return folder / "site"


@pytest.mark.long(reason="SwiftShader takes a minute for each")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("turned.jpg", turned_jpeg),
        ("alpha.png", png_with_alpha),
        ("grey.jpg", grey_jpeg),
        ("odd.png", odd_png),
        ("large.jpg", large_jpeg),
    ],
)
def test_photos_at_the_size_that_is_published(
    run_node: Node, site_320: Path, tmp_path: Path, command: list[str], name: str, write: Callable[[Path], Path]
) -> None:
    photo = write(tmp_path / name)
    visit(run_node, site_320, tmp_path, photo, {"plain": ["png"]})
    assert_same(Image.open(tmp_path / "plain.png.png"), remove(command, photo, "u2netp", "plain"))
