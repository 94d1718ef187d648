"""What is filled block by block has the bits of the whole mask, enlarged, stretched, and rounded once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nss.arrays.resample import resize_bilinear
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from nss.masks.sanity import THRESHOLD, nothing_found
from tests.nss import cores

SIZES = [((2, 2), (1, 1)), ((2, 3), (1, 9)), ((20, 20), (13, 7)), ((40, 40), (203, 311)), ((32, 32), (32, 32))]


def raw_mask(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A network's mask that leaves 0..1 a little."""
    return np.random.default_rng(seed).uniform(-0.005, 1.005, size).astype(np.float32)


def whole(raw: np.ndarray, size: tuple[int, int], stretch: bool = False) -> np.ndarray:
    mask = np.clip(resize_bilinear(raw, size, antialias=True), 0, 1)
    if stretch and mask.max() > mask.min():
        mask = (mask - float(mask.min())) / (float(mask.max()) - float(mask.min()))
    return mask


def levels(mask: np.ndarray, own: np.ndarray | None, invert: bool, dtype: Any) -> np.ndarray:
    kept = 1 - mask if invert else mask
    if own is not None:
        kept = kept * (own * np.float32(1 / 255))
    return np.rint(kept * np.float32(np.iinfo(dtype).max)).astype(dtype)


@pytest.mark.parametrize("number", cores.CORES)
@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize(("small", "size"), SIZES)
def test_bits_are_those_of_the_whole(
    number: int, stretch: bool, small: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores.use(number, monkeypatch)
    raw = raw_mask(small)
    before = raw.copy()
    expected = whole(raw, size, stretch)
    own_alpha = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    mask = PhotoMask.enlarged(raw, size, stretch)
    assert mask.shape == size
    for photo_mask in (mask, PhotoMask.of_array(expected)):
        for dtype in (np.uint8, np.uint16):
            for own in (None, own_alpha):
                for invert in (False, True):
                    rgba = np.full((*size, 4), 77, dtype)
                    photo_mask.fill_alpha(rgba[..., 3], own_alpha=own, invert=invert)
                    assert np.array_equal(rgba[..., 3], levels(expected, own, invert, dtype))
                    assert (rgba[..., :3] == 77).all()
        for own in (None, own_alpha):
            for invert in (False, True):
                kept = 1 - expected if invert else expected
                kept = kept if own is None else kept * (own * np.float32(1 / 255))
                assert np.array_equal(photo_mask.alpha(own, invert=invert), kept)
        assert photo_mask.coverage == pytest.approx(expected.mean(dtype=np.float64), rel=0, abs=1e-12)
    assert mask.array.dtype == np.float32
    assert np.array_equal(mask.array, expected)
    assert mask.array is mask.array
    assert np.array_equal(raw, before)


def test_coverage_does_not_depend_on_cores_or_on_what_was_asked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    values = set()
    for number in cores.CORES:
        cores.use(number, monkeypatch)
        for first in ("coverage", "array", "alpha"):
            mask = PhotoMask.enlarged(raw_mask((320, 320)), (601, 907))
            if first == "array":
                assert mask.array.any()
            elif first == "alpha":
                mask.fill_alpha(np.empty(mask.shape, np.uint8), own_alpha=None, invert=True)
            values.add(mask.coverage)
    assert len(values) == 1


def test_a_constant_mask_is_not_stretched() -> None:
    constant = np.full((3, 3), 0.1, np.float32)
    assert np.array_equal(PhotoMask.enlarged(constant, (3, 3), stretch=True).array, constant)


def test_the_mask_given_is_the_array() -> None:
    array = np.zeros((3, 5), np.float32)
    assert PhotoMask.of_array(array).array is array


@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 60))
def test_nothing_found_is_that_of_the_whole_mask(data: st.DataObject, height: int, width: int) -> None:
    """Peaks about the threshold, where the network's mask alone does not tell."""
    small = data.draw(st.tuples(st.integers(2, 30), st.integers(2, 30)))
    raw = np.zeros(small, np.float32)
    at = data.draw(st.integers(0, small[0] - 1)), data.draw(st.integers(0, small[1] - 1))
    raw[at] = data.draw(st.one_of(st.floats(0.4375, 1.0, width=32), st.just(0.5)))
    raw[raw == 0] = data.draw(st.sampled_from([0.0, -0.009]))
    own = data.draw(st.sampled_from([None, "opaque", "some", "none"]))
    alpha = None
    if own is not None:
        most = np.full((height, width), 255, np.uint8)
        some = np.random.default_rng(height).integers(0, 2, (height, width), np.uint8)
        alpha = {"opaque": most, "some": some, "none": 0 * most}[own]
    expected = whole(raw, (height, width))
    visible = expected if alpha is None else expected[alpha > 0]
    note = nothing_found(PhotoMask.enlarged(raw, (height, width)), alpha)
    held_note = nothing_found(PhotoMask.of_array(expected), alpha)
    assert note == held_note
    assert (note is None) == (visible.size > 0 and visible.max() >= THRESHOLD)
    if note and visible.size:
        assert note.endswith(f"{float(visible.max()):.3f}")


def test_a_clear_mask_is_not_enlarged_to_see_that_something_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhotoMask, "_each_enlarged", None)
    raw = np.zeros((320, 320), np.float32)
    raw[100:200, 50:250] = 1
    assert nothing_found(PhotoMask.enlarged(raw, (3000, 4000)), None) is None


def test_refined_is_the_refinement_of_the_array() -> None:
    rgb = np.zeros((50, 60, 3), np.uint8)
    mask = PhotoMask.enlarged(raw_mask((9, 9)), (50, 60))
    assert mask.refined(Refinement(), rgb) is mask
    times: dict[str, float] = {}
    refined = mask.refined(Refinement(feather=2), rgb, times)
    assert list(times) == ["feather"]
    assert np.array_equal(refined.array, Refinement(feather=2).apply(whole(raw_mask((9, 9)), (50, 60)), rgb))


class TestLevelsComputedElsewhere:
    """They are given out as they are wherever they are what is asked for."""

    SIZE = (30, 41)
    ALPHA = np.random.default_rng(5).integers(0, 256, SIZE, np.uint8)

    def filled(self, mask: PhotoMask, *, dtype: Any = np.uint8, invert: bool = False, own: Any = None) -> np.ndarray:
        out = np.empty(self.SIZE, dtype)
        mask.fill_alpha(out, own_alpha=own, invert=invert)
        return out

    def test_they_are_copied_and_inverted(self) -> None:
        mask = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE, alpha=self.ALPHA)
        assert np.array_equal(self.filled(mask), self.ALPHA)
        assert np.array_equal(self.filled(mask, invert=True), 255 - self.ALPHA)
        assert mask.array.shape == self.SIZE
        assert mask.coverage == pytest.approx(self.ALPHA.mean() / 255)

    @pytest.mark.parametrize(
        "asked", [{"dtype": np.uint16}, {"own": np.full(SIZE, 99, np.uint8)}], ids=["depth", "own alpha"]
    )
    def test_other_levels_are_made_of_the_mask(self, asked: dict[str, Any]) -> None:
        mask = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE, alpha=self.ALPHA)
        plain = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE)
        assert np.array_equal(self.filled(mask, **asked), self.filled(plain, **asked))
        assert np.array_equal(mask.array, plain.array)

    def test_refined_ones_belong_to_that_refinement_alone(self) -> None:
        rgb = np.zeros((*self.SIZE, 3), np.uint8)
        refinement = Refinement(feather=1.5)
        plain = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE)
        mask = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE, alpha=self.ALPHA, refinement=refinement)
        assert np.array_equal(self.filled(mask), self.filled(plain))
        refined = mask.refined(Refinement(feather=1.5), rgb)
        assert np.array_equal(self.filled(refined), self.ALPHA)
        assert np.array_equal(refined.array, refinement.apply(plain.array, rgb))
        other = mask.refined(Refinement(feather=2), rgb)
        assert np.array_equal(other.array, Refinement(feather=2).apply(plain.array, rgb))
        assert np.array_equal(self.filled(other), self.filled(plain.refined(Refinement(feather=2), rgb)))

    def test_an_identity_is_no_refinement(self) -> None:
        mask = PhotoMask.enlarged(raw_mask((9, 9)), self.SIZE, alpha=self.ALPHA, refinement=Refinement())
        assert np.array_equal(self.filled(mask), self.ALPHA)


@pytest.mark.parametrize(
    "make", [lambda raw: PhotoMask.enlarged(raw, (40, 60), stretch=True), PhotoMask.of_array], ids=["raw", "array"]
)
def test_a_mask_goes_from_process_to_process(make: Callable[[np.ndarray], PhotoMask]) -> None:
    mask = make(raw_mask((20, 30)).clip(0, 1))
    assert np.array_equal(pickle.loads(pickle.dumps(mask)).array, mask.array)
