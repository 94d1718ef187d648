"""What a network is shown of a photo with transparency, and how much of a logo's alpha is left."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from nss.removal import visible
from tests.nss import cores
from tests.nss.discs import hard_disc
from tools import fetch_models

BLACK, WHITE, LIGHT_BLUE = (0, 0, 0), (255, 255, 255), (128, 200, 255)
LOGOS = {
    "black on hidden black": (BLACK, BLACK),
    "white on hidden white": (WHITE, WHITE),
    "black over hidden white": (BLACK, WHITE),
    "white over hidden black": (WHITE, BLACK),
}
LEAST_PART = 0.95
"""What must be left of a logo's alpha."""


def ring(size: int = 256) -> np.ndarray:
    """uint8 ``size`` x ``size``: the alpha of a ring with soft edges."""
    centre = (size / 2 - 0.5,) * 2
    return np.rint(255 * (hard_disc(size, centre, 0.36 * size) - hard_disc(size, centre, 0.15 * size))).astype(np.uint8)


def logo(alpha: np.ndarray, colour: tuple[int, ...], hidden: tuple[int, ...]) -> np.ndarray:
    """uint8 HxWx4: one colour where there is alpha, and another one where there is none."""
    return np.dstack([np.where(alpha[..., None] > 0, np.array(colour), np.array(hidden)), alpha]).astype(np.uint8)


def alpha_share(remover: nss.Remover, rgba: np.ndarray) -> float:
    return float(remover.remove(rgba).alpha().sum() / (rgba[..., 3] / 255).sum())


@pytest.fixture(scope="module")
def u2netp() -> Iterator[nss.Remover]:
    with nss.Remover("u2netp", backend="numpy") as remover:
        yield remover


@pytest.mark.parametrize("case", LOGOS)
def test_a_logo_keeps_its_alpha_whatever_it_hides(u2netp: nss.Remover, case: str) -> None:
    assert alpha_share(u2netp, logo(ring(), *LOGOS[case])) >= LEAST_PART


@pytest.mark.parametrize("colours", [(BLACK, WHITE), (BLACK, (128,) * 3, WHITE), ((20, 60, 200), (220, 30, 30))])
def test_a_logo_of_several_colours_keeps_its_alpha(u2netp: nss.Remover, colours: tuple[tuple[int, ...], ...]) -> None:
    rgba = logo(ring(), BLACK, BLACK)
    rgba[..., :3] = np.array(colours, np.uint8)[np.arange(256) // 32 % len(colours)]
    assert alpha_share(u2netp, rgba) >= LEAST_PART


@pytest.mark.models
@pytest.mark.long(reason="four runs of IS-Net; U²-Netp is tested in any case")
def test_two_logos_with_isnet() -> None:
    path = fetch_models.folder() / "isnet_f32.onnx"
    if not path.is_file():
        advice = f"{path} is not there; fetch it with `{fetch_models.COMMAND} isnet_f32`"
        if os.environ.get("NSS_REQUIRE_MODELS") == "1":
            pytest.fail(advice)
        pytest.skip(advice)
    with nss.Remover(path, backend="numpy") as remover:
        # what lies under alpha 0 makes no difference, as the test below shows
        for colour in (BLACK, WHITE):
            assert alpha_share(remover, logo(ring(), colour, colour)) >= LEAST_PART


def test_files_that_differ_only_in_hidden_colours_give_the_same_mask(u2netp: nss.Remover, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (60, 80, 4)).astype(np.uint8)
    first[..., 3] = np.where(rng.random((60, 80)) < 0.5, 0, first[..., 3])
    second = first.copy()
    hidden = first[..., 3] == 0
    second[hidden, :3] = rng.integers(0, 256, (int(hidden.sum()), 3))
    masks = []
    for name, rgba in (("a.png", first), ("b.png", second)):
        Image.fromarray(rgba).save(tmp_path / name)
        masks.append(u2netp.remove(tmp_path / name).mask)
    assert (first != second).any()
    assert np.array_equal(*masks)


def test_an_opaque_photo_is_the_same_array() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert visible.over_backdrop(rgb, None) is rgb
    assert visible.over_backdrop(rgb, np.full((5, 7), 255, np.uint8)) is rgb


def test_each_pixel_is_shown_as_far_as_its_alpha_says() -> None:
    colours, alphas = np.meshgrid(np.arange(256), np.arange(256))
    rgb = np.repeat(colours[..., None], 3, axis=2).astype(np.uint8)
    rgb[..., 1:] = (0, 7)
    result = visible.over_backdrop(rgb, alphas.astype(np.uint8))
    (backdrop,) = np.unique(result[0], axis=0)
    assert tuple(backdrop) in visible.BACKDROPS
    part = alphas[..., None] / 255
    assert np.abs(result - (rgb * part + backdrop * (1 - part))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("visible_colours", "expected"),
    [
        ([BLACK], LIGHT_BLUE),
        ([WHITE], LIGHT_BLUE),
        ([(180, 200, 230)], WHITE),
        ([BLACK, WHITE, (128, 200, 250)], (128, 128, 128)),
        ([*visible.BACKDROPS[:3], BLACK], (255, 200, 128)),
    ],
)
def test_the_backdrop_is_unlike_what_is_visible(
    visible_colours: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    rgb = np.array([[*visible_colours, *visible.BACKDROPS]], np.uint8)
    alpha = np.array([[255] * len(visible_colours) + [0] * len(visible.BACKDROPS)], np.uint8)
    assert tuple(visible.over_backdrop(rgb, alpha)[0, -1]) == expected


def test_a_colour_counts_by_its_alpha() -> None:
    rgb = np.zeros((10, 100, 3), np.uint8)
    rgb[:, :50] = LIGHT_BLUE
    alpha = np.where(np.arange(100) < 50, 1, 255).astype(np.uint8) * np.ones((10, 1), np.uint8)
    alpha[0, 0] = 0  # under 1 % of what is visible is light blue
    assert tuple(visible.over_backdrop(rgb, alpha)[0, 0]) == LIGHT_BLUE
    alpha[1:, :50] = 255
    assert tuple(visible.over_backdrop(rgb, alpha)[0, 0]) == WHITE


def test_a_large_photo_is_shown_in_strips() -> None:
    rgb, alpha = np.zeros((3000, 2000, 3), np.uint8), np.zeros((3000, 2000), np.uint8)
    alpha[1000:, :1000] = 130
    tracemalloc.start()
    try:
        result = visible.over_backdrop(rgb, alpha)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tuple(result[-1, 0]) == (63, 98, 125)  # 125 of 255 of it
    assert tuple(result[-1, -1]) == tuple(result[0, 0]) == LIGHT_BLUE
    assert peak <= rgb.nbytes + (28 << 20)  # the result, and a strip of one megapixel


@pytest.mark.parametrize("number", cores.CORES)
def test_the_bytes_are_those_of_whole_arrays(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All over light blue, which nothing of this photo is like; in several bands."""
    cores.use(number, monkeypatch)
    random = np.random.default_rng(8)
    rgb = random.integers(0, 64, (401, 607, 3), np.uint8)
    alpha = random.integers(0, 256, (401, 607), np.uint8)
    opacity = alpha[..., None].astype(int)
    expected = (rgb * opacity + np.array(LIGHT_BLUE) * (255 - opacity) + 127) // 255
    assert np.array_equal(visible.over_backdrop(rgb, alpha), expected)
