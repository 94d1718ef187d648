"""Units of float32 as float16 and as int8 with scales: by the definition, within bounds, and for good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.compiled.encodings import ENCODINGS, UNIT_BYTES, Encoding, narrow, narrow_units, widen

TINY = float(np.finfo(np.float32).tiny)
FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def floats(largest: float) -> st.SearchStrategy[np.ndarray]:
    """Whole units of float32, some of them large, small, subnormal or 0."""
    limit = float(np.float32(largest))
    return arrays.arrays(np.float32, 128, elements=st.floats(-limit, limit, width=32), fill=st.nothing())


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def widened(stored: np.ndarray, encoding: Encoding) -> np.ndarray:
    units = np.full(stored.size // UNIT_BYTES[encoding] * 256, 0xEE, np.uint8)
    widen(stored, encoding, units)
    return units.view(np.float32)


def test_every_float16_is_widened_to_the_same_number() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    own = widened(halves.view(np.uint8), "f16")
    expected = halves.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(own, expected)
    # by the definition of float16, for those that are finite
    sign, exponent, fraction = halves >> 15, (halves >> 10) & 31, (halves & 1023).astype(np.float64)
    by_hand = np.where(exponent > 0, (1 + fraction / 1024) * 2.0 ** (exponent - 15.0), fraction * 2.0**-24)
    finite = exponent < 31
    np.testing.assert_array_equal(own[finite], np.where(sign, -by_hand, by_hand)[finite])
    assert np.signbit(own[1 << 15])


@FEW
@given(floats(65519.9))
def test_float16_is_the_nearest_one(values: np.ndarray) -> None:
    stored = narrow(bits(values), "f16")
    assert stored.size == 2 * values.size
    own = widened(stored, "f16")
    assert np.isfinite(own).all()
    double = values.astype(np.float64)
    spacing = np.maximum(2.0**-24, 2.0 ** (np.floor(np.log2(np.maximum(np.abs(double), 2.0**-14))) - 10))
    assert (np.abs(own - double) <= spacing / 2).all()
    np.testing.assert_array_equal(narrow(bits(own), "f16"), stored)


@FEW
@given(floats(1.7e38))
def test_int8_is_within_half_a_scale(values: np.ndarray) -> None:
    stored = narrow(bits(values), "q8")
    blocks = stored.reshape(-1, 68)
    scales = np.ascontiguousarray(blocks[:, :4]).view("<f4").astype(np.float64)
    codes = np.ascontiguousarray(blocks[:, 4:]).view(np.int8).astype(np.float64)
    own = widened(stored, "q8").reshape(-1, 64)
    np.testing.assert_array_equal(own, (scales * codes).astype(np.float32))
    largest = np.abs(values.reshape(-1, 64)).max(1, keepdims=True).astype(np.float64)
    assert ((scales == 0) | (scales >= TINY)).all()
    np.testing.assert_allclose(scales, np.where(scales, largest / 127, 0), rtol=2.0**-22)
    assert (largest[scales == 0] < 127.01 * TINY).all()
    errors = np.abs(own - values.reshape(-1, 64).astype(np.float64))
    # a product is rounded, and the scale is, of which there are up to 127
    assert (errors <= np.where(scales, scales / 2 + largest * 2.0**-21, largest)).all()


@FEW
@given(floats(1.7e38))
def test_what_was_widened_is_narrowed_to_the_same_bytes(values: np.ndarray) -> None:
    stored = narrow(bits(values), "q8")
    own = widened(stored, "q8")
    assert narrow_units(own.reshape(-1), "q8").all()
    np.testing.assert_array_equal(narrow(bits(own), "q8"), stored)


def test_every_scale_is_its_own() -> None:
    """Of blocks whose largest number is any of a binade, with both neighbours of each power of 2."""
    ones = np.arange(0x3F800000, 0x40000000, 97, dtype=np.uint32).view(np.float32)
    edges = np.float32(2) ** np.arange(-118, 127, dtype=np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(np.inf))])
    edges = edges[np.abs(edges) < 2.0**127]
    blocks = np.zeros((len(ones) + len(edges), 64), np.float32)
    blocks[:, 5] = np.concatenate([ones, -edges])
    blocks[:, 6] = blocks[:, 5] / 3
    stored = narrow(bits(blocks), "q8")
    assert (np.abs(stored.reshape(-1, 68)[:, 4 + 5].view(np.int8)) == 127).all()
    np.testing.assert_array_equal(narrow(bits(widened(stored, "q8")), "q8"), stored)


def test_a_block_of_zeros_or_of_next_to_nothing_is_zeros() -> None:
    values = np.zeros((3, 64), np.float32)
    values[1, 3] = 1e-45
    values[2, :2] = 126 * TINY, -3.25
    stored = narrow(bits(values), "q8").reshape(3, 68)
    assert not stored[:2].any()
    own = widened(stored.reshape(-1), "q8").reshape(3, 64)
    assert not own[:2].any()
    assert own[2, 1] == np.float32(-3.25)


ALL = 4688
"""Units of the constant below, the last of which is short."""


@pytest.mark.parametrize(
    ("value", "f16", "q8"),
    [
        (np.inf, ALL, ALL),
        (-np.inf, ALL, ALL),
        (np.nan, ALL, ALL),
        (65520.0, ALL, 1),
        (-65520.0, ALL, 1),
        (np.nextafter(np.float32(65520), np.float32(0)), 1, 1),
        (-65504.0, 0, 1),  # beside ones that float16 has, too
        (2.0**127, ALL, ALL),
        (-np.nextafter(np.float32(2.0**127), np.float32(0)), ALL, 1),
        (0.0, 0, 0),
        (8.0, 0, 0),
        (8.01, 1, 1),
    ],
)
@pytest.mark.parametrize("place", [0, 63, 299_967, 299_968, 299_999])
def test_units_with_numbers_that_cannot_be_narrowed_stay(value: float, f16: int, q8: int, place: int) -> None:
    values = np.ones(300_000, np.float32)
    values[place] = value
    for encoding, raw in (("f16", f16), ("q8", q8), ("raw", None)):
        narrow_ones = narrow_units(values, encoding)  # type: ignore[arg-type]
        assert narrow_ones.size == ALL
        if raw is not None:
            assert (~narrow_ones).sum() == raw
            assert raw != 1 or not narrow_ones[place // 64]


def test_outliers_stay_where_they_would_change_and_zeros_do_not_count() -> None:
    values = np.zeros((100, 64), np.float32)
    values[60:] = np.random.default_rng(2).uniform(-1, 1, (40, 64)) / 3
    values[70] *= 50
    values[80] = 0
    values[80, 4] = 127  # a scale of 1
    for encoding, raw in (("f16", [70]), ("q8", [70])):
        narrow_ones = narrow_units(values.reshape(-1), encoding)  # type: ignore[arg-type]
        assert np.flatnonzero(~narrow_ones).tolist() == raw
    assert narrow_units(np.zeros(4097, np.float32), "q8").all()


def test_any_stored_bytes_are_widened() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 1 << 16, np.uint8)
    for encoding in ENCODINGS.values():
        stored = noise[: noise.size // UNIT_BYTES[encoding] * UNIT_BYTES[encoding]]
        with np.errstate(all="raise"):
            widened(stored, encoding)
