"""The foreground's colour: near to the truth of composites, no worse than PyMatting's, and only where alpha is soft."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw

from nss.arrays.tiles import tiles
from nss.cutouts import foreground
from nss.cutouts.foreground import decontaminate
from nss.errors import UsageError
from tests.nss.conftest import EXAMPLES

HEIGHT, WIDTH = 300, 400


def hair() -> np.ndarray:
    """A head with strokes about a pixel wide, drawn at four times the size; alpha float32 HxW."""
    rng = np.random.default_rng(1)
    canvas = Image.new("L", (4 * WIDTH, 4 * HEIGHT))
    draw = ImageDraw.Draw(canvas)
    centre = np.array([2 * WIDTH, 2.4 * HEIGHT])
    draw.ellipse([*(centre - 300), *(centre + 300)], fill=255)
    t = np.linspace(0, 1, 30)[:, None]
    for angle in rng.uniform(0, 2 * np.pi, 220):
        out = np.array([np.cos(angle), np.sin(angle)])
        bend = rng.normal(0, 60) * np.array([-out[1], out[0]])
        points = centre + out * (280 + t * rng.uniform(100, 300)) + bend * t**2
        draw.line([tuple(p) for p in points.tolist()], fill=255, width=int(rng.integers(2, 7)))
    return np.asarray(canvas.reduce(4), np.float32) / 255


def disc() -> np.ndarray:
    """A disc whose rim is twelve pixels wide."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip((110 - np.hypot(y - HEIGHT / 2, x - WIDTH / 2)) / 12 + 0.5, 0, 1).astype(np.float32)


def glass() -> np.ndarray:
    """A pane that goes from clear to nearly clear over its width, within an opaque frame."""
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    alpha[40:260, 60:340] = 1
    alpha[60:240, 80:320] = np.linspace(0.9, 0.1, 240)
    return alpha


def behind(textured: bool) -> np.ndarray:
    """A saturated green, flat or with stripes and noise; float64 HxWx3."""
    colour = np.broadcast_to(np.array([20.0, 210, 40]), (HEIGHT, WIDTH, 3))
    if not textured:
        return colour
    waves = np.sin(np.arange(WIDTH) / 9)[None, :, None] + np.cos(np.arange(HEIGHT) / 14)[:, None, None]
    noise = np.random.default_rng(2).normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(colour + waves * np.array([10, 30, 60]) + noise, 0, 255)


def cat() -> np.ndarray:
    """A photo as the true foreground, float64 HxWx3."""
    with Image.open(EXAMPLES / "chelsea.png") as image:
        return np.asarray(image.convert("RGB").crop((20, 0, 20 + WIDTH, HEIGHT)), np.float64)


def mixed(alpha: np.ndarray, textured: bool) -> np.ndarray:
    """The cat in front of the green, as an 8-bit photo."""
    a = alpha[..., None].astype(np.float64)
    return np.rint(a * cat() + (1 - a) * behind(textured)).astype(np.uint8)


def is_soft(alpha: np.ndarray) -> np.ndarray:
    return (np.rint(alpha * 255) > 0) & (np.rint(alpha * 255) < 255)


def errors(colours: np.ndarray, truth: np.ndarray, alpha: np.ndarray) -> tuple[float, float]:
    """Mean absolute error over soft pixels: each alike, and weighted by alpha."""
    soft = is_soft(alpha)
    error = np.abs(colours.astype(np.float64) - truth).mean(axis=2)[soft]
    return float(error.mean()), float(np.average(error, weights=alpha[soft]))


CASES = [
    pytest.param(make, textured, id=f"{make.__name__}-{'textured' if textured else 'flat'}")
    for make in (hair, disc, glass)
    for textured in (False, True)
]


@pytest.mark.parametrize(("make", "textured"), CASES)
def test_most_of_the_background_goes(make: Callable[[], np.ndarray], textured: bool) -> None:
    alpha = make()
    photo = mixed(alpha, textured)
    before, after = (errors(rgb, cat(), alpha) for rgb in (photo, decontaminate(photo, alpha, 1.0)))
    # 0.16 to 0.35 times what it was, whichever the case
    assert after[0] < 0.45 * before[0]
    assert after[1] < 0.45 * before[1]


@pytest.fixture(scope="session")
def reference() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """PyMatting's estimate, from uint8 HxWx3 and alpha, as float64 HxWx3 in 0..255."""
    module = pytest.importorskip("pymatting", reason="PyMatting, the reference of decontaminate, is not installed")

    def estimate(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        colours = module.estimate_foreground_ml(rgb / 255, alpha.astype(np.float64))
        return np.clip(np.asarray(colours, np.float64) * 255, 0, 255)

    return estimate


@pytest.mark.parametrize(("make", "textured"), CASES)
def test_no_worse_than_pymatting(
    make: Callable[[], np.ndarray], textured: bool, reference: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    alpha = make()
    photo = mixed(alpha, textured)
    own, theirs = decontaminate(photo, alpha, 1.0), reference(photo, alpha)
    # 0.70 to 0.94 times PyMatting's
    for mine, other in zip(errors(own, cat(), alpha), errors(theirs, cat(), alpha), strict=True):
        assert mine < other
    # in levels of 255, measured: means of 1.7 to 4.4, and 7.9 to 12.6
    apart = (np.abs(own - theirs).mean(axis=2) * alpha)[is_soft(alpha)]
    assert apart.mean() < 7
    assert np.percentile(apart, 99) < 20


def test_a_flat_foreground_is_found_exactly() -> None:
    """Where both colours are flat the equations have one solution; what is left is rounding."""
    alpha = disc()
    colour = np.array([200.0, 60, 120])
    photo = np.rint(alpha[..., None] * colour + (1 - alpha[..., None]) * behind(False)).astype(np.uint8)
    apart = np.abs(decontaminate(photo, alpha, 1.0) - colour)[is_soft(alpha)]
    assert apart.max() <= 2


def test_an_iteration_solves_the_equations_of_each_pixel() -> None:
    rng = np.random.default_rng(5)
    height, width = 4, 5
    alpha = rng.random((height, width), np.float32)
    photo = rng.integers(90, 160, (3, height, width), np.uint8)
    start = rng.uniform(0.3, 0.7, (2, 3, height, width)).astype(np.float32)
    colours = foreground._iterate(photo, alpha, start, 1)
    for y, x in np.ndindex(height, width):
        a = np.array([alpha[y, x], 1 - alpha[y, x]], np.float64)
        matrix, right = np.outer(a, a), a[:, None] * photo[:, y, x] / 255
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            row, column = np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)
            weight = 1e-5 + abs(float(alpha[y, x]) - float(alpha[row, column]))
            matrix = matrix + weight * np.eye(2)
            right = right + weight * start[:, :, row, column]
        assert np.abs(colours[:, :, y, x] - np.clip(np.linalg.solve(matrix, right), 0, 1)).max() < 8e-7


@pytest.mark.parametrize("side", [31, 64, 100])
@pytest.mark.parametrize("make", [hair, disc, glass])
def test_the_result_does_not_depend_on_tiles(
    make: Callable[[], np.ndarray], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = make()
    photo = mixed(alpha, True)
    assert is_soft(alpha)[:, 250:262].any()
    whole = decontaminate(photo, alpha, 1.0)
    monkeypatch.setattr(foreground, "tiles", partial(tiles, side=side))
    assert np.array_equal(decontaminate(photo, alpha, 1.0), whole)


@pytest.mark.parametrize("rest", [0, 1])
@pytest.mark.parametrize(("size", "faint"), [(66, 22), (150, 75), (700, 300), (700, 512)])  # 512: a corner of tiles
def test_one_faint_pixel_in_a_large_photo(rest: int, size: int, faint: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that are soft must be seen at every level, and nothing be read there that was not written."""
    empty = np.empty

    def poisoned(shape: tuple[int, ...], dtype: type = float) -> np.ndarray:
        array = empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else 171)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    alpha = np.full((size, size), rest, np.float32)
    alpha[faint, faint] = abs(rest - 1 / 255)
    photo = np.full((size, size, 3), (90, 140, 30), np.uint8)
    assert np.array_equal(decontaminate(photo, alpha, 1.0), photo)


@pytest.mark.parametrize(("make", "textured"), CASES)
def test_hard_pixels_keep_their_colour_and_arguments_theirs(make: Callable[[], np.ndarray], textured: bool) -> None:
    alpha = make()
    # what rounds to 0 or 255 is hard too
    alpha[:20] = np.linspace(0, 0.49 / 255, WIDTH, dtype=np.float32)
    alpha[-20:] = np.linspace(254.51 / 255, 1, WIDTH, dtype=np.float32)
    photo = mixed(alpha, textured)
    copies = photo.copy(), alpha.copy()
    out = decontaminate(photo, alpha, 1.0)
    assert np.array_equal(photo, copies[0])
    assert np.array_equal(alpha, copies[1])
    soft = is_soft(alpha)
    assert np.array_equal(out[~soft], photo[~soft])
    assert (out != photo)[soft].any(axis=1).mean() > 0.99


def test_amounts_between_are_mixtures() -> None:
    alpha = disc()
    photo = mixed(alpha, True)
    assert decontaminate(photo, alpha, 0.0) is photo
    full = decontaminate(photo, alpha, 1.0).astype(np.float64)
    for amount in (0.25, 0.5, 0.9):
        expected = photo + amount * (full - photo)
        apart = (decontaminate(photo, alpha, amount) - expected)[is_soft(alpha)]
        assert np.abs(apart).max() <= 1.01
        assert abs(apart.mean()) < 0.05  # rounded, not cut off


@pytest.mark.parametrize("amount", [-0.01, 1.01, float("nan"), float("inf")])
def test_other_amounts_are_refused(amount: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        decontaminate(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), amount)


LEVELS = st.sampled_from([0.0, 0.5 / 255, 1 / 255, 0.5, 254 / 255, 254.5 / 255, 1.0]) | st.floats(0, 1, width=32)


@settings(deadline=None)
@given(data=st.data(), amount=st.sampled_from([0.3, 1.0]))
def test_any_small_photo(data: st.DataObject, amount: float) -> None:
    shape = data.draw(
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9) | st.just((1, 70)) | st.just((67, 1))
    )
    alpha = data.draw(arrays(np.float32, shape, elements=LEVELS.map(np.float32), fill=LEVELS.map(np.float32)))
    photo = data.draw(arrays(np.uint8, (*shape, 3)))
    out = decontaminate(photo, alpha, amount)
    assert out.dtype == np.uint8
    assert out.shape == photo.shape
    hard = ~is_soft(alpha)
    assert np.array_equal(out[hard], photo[hard])
