"""The error function, for Erf and Gelu.

W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969): one
rational function of x² below 0.46875, one of x for erfc(x) exp(x²) above. Cody's third, for erfc beyond 4, is
not needed: there erfc is below 2e-8, and the second still has enough of its digits right.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 1 << 15
"""Elements taken at a time, so that the intermediate results stay in the cache."""
_SMALL = 0.46875
_LARGE = 6.0
"""erf rounds to 1 from here on, in float64 too."""

# coefficients of the numerators and denominators, highest power first
_P = (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3)
_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_R = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_S = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t²) from 0 to x, of any shape; float32 or float64, as ``x`` is."""
    flat = x.reshape(-1)
    y = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        y[start : start + _BLOCK] = _erf(flat[start : start + _BLOCK])
    return y.reshape(x.shape)


def _erf(x: np.ndarray) -> np.ndarray:
    magnitude = np.abs(x)
    square = np.square(np.minimum(magnitude, _SMALL))
    near = x * _ratio(_P, _Q, square)
    clipped = np.clip(magnitude, _SMALL, _LARGE)
    far = 1 - np.exp(-np.square(clipped)) * _ratio(_R, _S, clipped)
    y: np.ndarray = np.where(magnitude < _SMALL, near, np.copysign(far, x))
    return y


def _ratio(numerator: tuple[float, ...], denominator: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """The rational function of ``x`` with these coefficients, by Horner's rule."""
    above, below = np.full_like(x, numerator[0]), np.full_like(x, denominator[0])
    for p, q in zip(numerator[1:], denominator[1:], strict=True):
        above *= x
        above += p
        below *= x
        below += q
    above /= below
    return above
