"""How far a mask is from the truth, in the measures of matting and of salient object detection.

Matting: SAD, MSE, and the gradient and connectivity errors of C. Rhemann et al., "A perceptually motivated online
benchmark for image matting" (2009), with the constants of the usual evaluation code and over the whole image: without a
trimap no region is singled out. SAD, gradient and connectivity are sums, in thousands, and so grow with the image.

Salient objects: maximal F-measure, weighted F-measure and S-measure. They take the truth as binary: 1 above a half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nss.arrays.components import largest
from nss.arrays.nearest import nearest

GRADIENT_SIGMA = 1.4
CONNECTIVITY_STEPS = 10
CONNECTIVITY_THETA = 0.15
BETA_SQUARED = 0.3

# Rows of an image that are filtered at once: with its copies a band stays in a core's cache.
_BAND = 32


@dataclass(frozen=True)
class Scores:
    """The measures of one mask.

    Attributes:
        mae: mean of the absolute differences.
        sad: their sum, in thousands.
        mse: mean of the squared differences.
        gradient: see ``gradient_error``.
        connectivity: see ``connectivity_error``.
        max_f: see ``max_f_measure``; 1 is best, here and below.
        weighted_f: see ``weighted_f_measure``.
        s_measure: see ``s_measure``.
        colour: see ``colour_error``; None where it was not measured, or no pixel is soft.
    """

    mae: float
    sad: float
    mse: float
    gradient: float
    connectivity: float
    max_f: float
    weighted_f: float
    s_measure: float
    colour: float | None = None


def scores(pred: np.ndarray, truth: np.ndarray) -> Scores:
    """All measures of a mask against the truth, float HxW in 0..1 each.

    Raises:
        ValueError: the two differ in size.
    """
    if pred.shape != truth.shape:
        raise ValueError(f"the mask's shape is {pred.shape}, the truth's {truth.shape}")
    pred, truth = pred.astype(np.float64), truth.astype(np.float64)
    difference = np.abs(pred - truth)
    return Scores(
        mae=float(difference.mean()),
        sad=float(difference.sum()) / 1000,
        mse=float(np.vdot(difference, difference)) / difference.size,
        gradient=gradient_error(pred, truth),
        connectivity=connectivity_error(pred, truth),
        max_f=max_f_measure(pred, truth),
        weighted_f=weighted_f_measure(pred, truth),
        s_measure=s_measure(pred, truth),
    )


def gradient_error(pred: np.ndarray, truth: np.ndarray) -> float:
    """Sum of the squared differences of the gradients' magnitudes, in thousands.

    The gradient is that of Gaussian derivatives of sigma 1.4, 9 taps an axis, whose kernels have a sum of squares of 1;
    at the borders the outermost pixels are repeated.
    """
    radius = 4  # where a Gaussian of this sigma falls below 0.01
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2 * GRADIENT_SIGMA**2))
    slope = x * smooth
    # the kernel is the product of the two, and so is its norm
    smooth /= np.linalg.norm(smooth)
    slope /= np.linalg.norm(slope)
    total = 0.0
    padded_images = [np.pad(image, radius, mode="edge") for image in (pred, truth)]
    for top in range(0, len(pred), _BAND):
        bands = [image[top : top + _BAND + 2 * radius] for image in padded_images]
        magnitudes = [
            np.hypot(_correlate(_correlate(band, smooth).T, slope), _correlate(_correlate(band, slope).T, smooth))
            for band in bands
        ]
        difference = magnitudes[0] - magnitudes[1]
        total += float(np.vdot(difference, difference))
    return total / 1000


def connectivity_error(pred: np.ndarray, truth: np.ndarray) -> float:
    """Sum of the differences in how far pixels are connected to the foreground, in thousands.

    The foreground at a level is the largest component, by 4-connectivity, of where both masks reach the level; levels
    are 0.1 apart. A pixel is connected up to the last level before it first falls out; what a mask has above that
    counts against it where it is 0.15 or more.
    """
    intersection = np.minimum(pred, truth)
    hold = np.ones_like(intersection)
    inside = np.ones(intersection.shape, bool)
    for step in range(1, CONNECTIVITY_STEPS + 1):
        foreground = largest(intersection >= step / CONNECTIVITY_STEPS)
        hold[inside & ~foreground] = (step - 1) / CONNECTIVITY_STEPS
        inside &= foreground
    excess = [np.where(over >= CONNECTIVITY_THETA, over, 0) for over in (pred - hold, truth - hold)]
    return float(np.abs(excess[0] - excess[1]).sum()) / 1000


def max_f_measure(pred: np.ndarray, truth: np.ndarray) -> float:
    """The largest F-measure (beta² = 0.3) of the mask cut at each of the levels 0 to 255 of 8 bits.

    R. Achanta et al., "Frequency-tuned salient region detection" (2009). 0 without foreground.
    """
    # an 8-bit level that went through float32 must not fall below itself
    levels = (pred * 255 + 1e-4).astype(np.intp)
    foreground = truth > 0.5
    every, hits = (np.bincount(subset, minlength=256)[::-1].cumsum() for subset in (levels.ravel(), levels[foreground]))
    # (1 + b) P R / (b P + R), with the fractions of precision and recall cleared
    denominator = every + BETA_SQUARED * np.count_nonzero(foreground)
    return float(((hits + BETA_SQUARED * hits) / np.maximum(denominator, 1)).max())


def weighted_f_measure(pred: np.ndarray, truth: np.ndarray) -> float:
    """F-measure in which errors near each other count less, and false foreground counts more, the farther out it lies.

    R. Margolin, L. Zelnik-Manor and A. Tal, "How to evaluate foreground maps?" (2014), with beta = 1. 0 without
    foreground.
    """
    foreground = truth > 0.5
    if not foreground.any():
        return 0.0
    background = ~foreground
    error = np.abs(pred - foreground)
    rows, columns = nearest(foreground)
    # behind the edge goes on what the error is at the edge, so that it is no part of the mean on this side
    edge_error = error[rows, columns]
    x = np.arange(-3, 4)
    kernel = np.exp(-(x**2) / (2 * 5.0**2))
    kernel /= kernel.sum()
    mean_error = _correlate(_correlate(np.pad(edge_error, 3), kernel).T, kernel).T
    inside = np.minimum(error, mean_error)[foreground]
    height, width = truth.shape
    distance = np.hypot(rows - np.arange(height)[:, None], columns - np.arange(width))[background]
    outside = float((error[background] * (2 - 0.5 ** (distance / 5))).sum())
    hits = inside.size - float(inside.sum())
    recall = hits / inside.size
    precision = hits / max(hits + outside, np.finfo(float).eps)
    return 2 * recall * precision / max(recall + precision, np.finfo(float).eps)


def s_measure(pred: np.ndarray, truth: np.ndarray) -> float:
    """Structural likeness, half of the object and half of the four regions around its centroid.

    D.-P. Fan et al., "Structure-measure: a new way to evaluate foreground maps" (2017).
    """
    foreground = truth > 0.5
    share = float(foreground.mean())
    if share in (0, 1):
        mean = float(pred.mean())
        return mean if share else 1 - mean
    objects = share * _evenness(pred[foreground]) + (1 - share) * _evenness(1 - pred[~foreground])
    row, column = (int(np.rint(axis.mean())) + 1 for axis in np.nonzero(foreground))
    regions = sum(
        _structure(pred[area], foreground[area]) * foreground[area].size
        for area in (
            (rows, columns)
            for rows in (slice(0, row), slice(row, None))
            for columns in (slice(0, column), slice(column, None))
        )
        if foreground[area].size
    )
    return max(0.0, float(objects + regions / foreground.size) / 2)


def colour_error(rgb: np.ndarray, foreground: np.ndarray, alpha: np.ndarray) -> float | None:
    """Mean difference of a colour from the foreground's own, in 8-bit levels, where ``alpha`` is neither 0 nor 1.

    The three channels count alike, and pixels count by their alpha, which is the share of the colour that will be seen.

    Args:
        rgb: uint8 HxWx3, straight colours.
        foreground: uint8 HxWx3, the true ones.
        alpha: float HxW in 0..1.

    Returns:
        The error, or None where no pixel is soft.
    """
    soft = (alpha > 0) & (alpha < 1)
    if not soft.any():
        return None
    difference = np.abs(rgb[soft].astype(np.float64) - foreground[soft])
    return float(np.average(difference.mean(axis=1), weights=alpha[soft]))


def _evenness(x: np.ndarray) -> float:
    """The object score: high where the values are near 1 and alike."""
    mean = float(x.mean())
    deviation = float(x.std(ddof=1)) if x.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation)


def _structure(pred: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity without its stabilising constants; two equal constants are alike."""
    x, y = float(pred.mean()), float(truth.mean())
    a, b = pred - x, truth - y
    samples = max(pred.size - 1, 1)
    joint = 4 * x * y * float(np.vdot(a, b)) / samples
    apart = (x**2 + y**2) * float(np.vdot(a, a) + np.vdot(b, b)) / samples
    if joint:
        return joint / (apart + np.finfo(float).eps)
    return 0.0 if apart else 1.0


def _correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation of rows with an odd kernel, along the first axis and without borders: HxW to (H - taps + 1)xW."""
    length = len(x) - len(kernel) + 1
    out = x[:length] * kernel[0]
    for tap in range(1, len(kernel)):
        out += x[tap : tap + length] * kernel[tap]
    return out
