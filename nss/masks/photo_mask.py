"""A mask at the photo's size, which is made when it is asked for, and never whole where only its levels are wanted.

The network's mask is small. Enlarged it takes 4 bytes a pixel, and most cut-outs need no more of it than the alpha
channel of a file: that is filled block by block, each enlarged, rounded and written while it lies in a core's cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nss.arrays.quantisation import quantise
from nss.arrays.resample import map_resized
from nss.arrays.tiles import Area, bands, parallel, tiles

if TYPE_CHECKING:
    from nss.masks.refine import Refinement

Receive = Callable[[Area, np.ndarray], None]
"""Takes an area of the photo and what is there, which it leaves as it is."""


class PhotoMask:
    """A photo's mask, float32 HxW in 0..1. Any number of threads may read one.

    Made by ``of_array``, ``enlarged`` or ``refined``. What it gives depends neither on the number of cores nor on what
    of it was asked for before.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        array: np.ndarray | None = None,
        raw: np.ndarray | None = None,
        stretch: bool = False,
        alpha: np.ndarray | None = None,
        refinement: Refinement | None = None,
        base: tuple[PhotoMask, np.ndarray] | None = None,
    ) -> None:
        """Use ``of_array`` and ``enlarged``. One of ``array``, ``raw`` and ``base`` (refined, over which photo) is."""
        self._shape = shape
        self._array, self._raw, self._base = array, raw, base
        self._stretch = stretch
        self._alpha, self._refinement = alpha, refinement
        self._range: tuple[float, float] | None = None
        self._coverage: float | None = None

    @classmethod
    def of_array(cls, mask: np.ndarray) -> PhotoMask:
        """Of a mask that is there: float32 HxW in 0..1, which becomes ``array`` itself."""
        return cls((mask.shape[0], mask.shape[1]), array=mask)

    @classmethod
    def enlarged(
        cls,
        raw: np.ndarray,
        size: tuple[int, int],
        stretch: bool = False,
        *,
        alpha: np.ndarray | None = None,
        refinement: Refinement | None = None,
    ) -> PhotoMask:
        """Of a network's mask, resampled to the photo's size and clipped to 0..1.

        Bilinear with half-pixel centres; where the photo is smaller than the mask the filter widens, so that edges do
        not turn into steps.

        Args:
            raw: float32 hxw, finite, at the network's size.
            size: the photo's (height, width).
            stretch: move the smallest value to 0 and the largest to 1, unless they are one, as U-2-Net's and BRIA's
                reference code does in the end. It turns "nothing found" into a full mask, and is no default for any
                model: where something is found the networks reach both ends by themselves (U²-Netp: below 2e-7 and
                above 1 - 1e-5 on both photos in examples/).
            alpha: uint8 or uint16 HxW, the mask's levels as they were computed elsewhere; with a ``refinement`` that
                changes something, those of the refined mask, which ``refined`` with an equal one then gives.
            refinement: see ``alpha``.
        """
        if refinement is not None and refinement.is_identity:
            refinement = None
        return cls(size, raw=raw, stretch=stretch, alpha=alpha, refinement=refinement)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self._shape

    @property
    def array(self) -> np.ndarray:
        """float32 HxW in 0..1; made at the first access, and kept."""
        if self._array is None:
            if self._base is not None:
                assert self._refinement is not None
                mask, rgb = self._base
                self._array = self._refinement.apply(mask.array, rgb)
            else:
                whole = np.empty(self._shape, np.float32)

                def put(area: Area, values: np.ndarray) -> None:
                    whole[area] = values

                self._each(put)
                self._array = whole
        return self._array

    @property
    def coverage(self) -> float:
        """The mean, 0 to 1.

        Of an enlarged mask: float64 sums of blocks, which are the same on any number of cores, added exactly; NumPy's
        mean of ``array`` is within 1e-12 of it. Of one whose levels were computed elsewhere: their mean.
        """
        if self._coverage is None:
            if (levels := self._held_alpha()) is not None:
                white = 2 ** (8 * levels.dtype.itemsize) - 1
                self._coverage = int(levels.sum(dtype=np.int64)) / (white * levels.size)
            elif self._raw is not None:
                self._each(lambda *_: None)  # which sums
            else:
                self._coverage = float(self.array.mean(dtype=np.float64))
        assert self._coverage is not None
        return self._coverage

    def alpha(self, own_alpha: np.ndarray | None, *, invert: bool = False) -> np.ndarray:
        """float32 HxW in 0..1: the mask, or what it leaves, times the photo's own alpha, uint8 HxW or None."""
        if own_alpha is None and not invert:
            return self.array
        alpha = np.empty(self._shape, np.float32)

        def put(area: Area, values: np.ndarray) -> None:
            alpha[area] = _alpha(values, None if own_alpha is None else own_alpha[area], invert)

        self._each(put)
        return alpha

    def fill_alpha(self, out: np.ndarray, *, own_alpha: np.ndarray | None, invert: bool) -> None:
        """Write the mask's levels, over all cores.

        Args:
            out: uint8 or uint16 HxW, which receives them; any strides, as the alpha channel of HxWx4 has them. Its
                dtype is their depth.
            own_alpha: uint8 HxW, the photo's own, which the mask is multiplied with; or None.
            invert: write what the mask leaves.
        """

        def write(area: Area, levels: np.ndarray) -> None:
            out[area] = levels

        self.each_levels(write, out.dtype.itemsize * 8, own_alpha=own_alpha, invert=invert)

    def each_levels(
        self, receive: Receive, bits: int = 8, *, own_alpha: np.ndarray | None = None, invert: bool = False
    ) -> None:
        """Give the mask's levels area by area, over all cores: each area's once, in any order.

        Args:
            receive: takes an area of the photo and its levels, uint8 or uint16, which it leaves as they are.
            bits: 8 or 16.
            own_alpha: as ``fill_alpha`` takes it.
            invert: as ``fill_alpha`` takes it.
        """
        held = self._held_alpha()
        if held is not None and own_alpha is None and held.dtype.itemsize * 8 == bits:
            levels, white = held, held.dtype.type(2**bits - 1)

            def give(rows: slice) -> None:
                part = levels[rows]
                receive((rows, slice(0, levels.shape[1])), white - part if invert else part)

            parallel(give, bands(self._shape))
            return

        def round_off(area: Area, values: np.ndarray) -> None:
            own = None if own_alpha is None else own_alpha[area]
            receive(area, quantise(_alpha(values, own, invert), bits))

        self._each(round_off)

    def refined(self, refinement: Refinement, rgb: np.ndarray, times: dict[str, float] | None = None) -> PhotoMask:
        """The refined mask; the same where the refinement changes nothing.

        Args:
            refinement: what is done.
            rgb: uint8 HxWx3, the photo.
            times: receives the wall time of each step that is done, in milliseconds, by its name.
        """
        if refinement.is_identity:
            return self
        if self._alpha is not None and self._base is None and refinement == self._refinement:
            return PhotoMask(self._shape, alpha=self._alpha, refinement=refinement, base=(self, rgb))
        return PhotoMask.of_array(refinement.apply(self.array, rgb, times))

    def largest(self, own_alpha: np.ndarray | None = None) -> float:
        """The largest value, before it was stretched; of what the photo's own alpha, uint8 HxW, does not hide."""
        if own_alpha is None:
            return self._bounds()[1]
        visible = own_alpha > 0
        if self._raw is None:
            return float(self.array.max(where=visible, initial=0))
        found: list[float] = []
        self._each_enlarged(lambda area, values: found.append(float(values.max(where=visible[area], initial=0))))
        return max(found)

    def surely_reaches(self, value: float) -> bool:
        """Whether the largest value, before it was stretched, is ``value`` at least; False where that is not clear.

        Clear from the network's mask alone: where it is enlarged, some pixel of the photo lies within half a pixel of
        the photo from the centre of the largest value, so that this counts there with that much less of its weight.
        """
        if self._raw is None or not self._raw.size:
            return False
        scales = [own / length for own, length in zip(self._raw.shape, self._shape, strict=True)]
        if max(scales) > 1:
            return False
        # what stands around it may be below 0 by as much as it is clipped
        least = min(float(self._raw.min()), 0.0)
        weight = (1 - scales[0] / 2) * (1 - scales[1] / 2)
        return float(self._raw.max()) * weight + least * (1 - weight) >= value + 1e-5

    def _held_alpha(self) -> np.ndarray | None:
        """The levels that were computed elsewhere, if they are this mask's."""
        return self._alpha if self._refinement is None or self._base is not None else None

    def _bounds(self) -> tuple[float, float]:
        """The smallest and the largest value, before they were stretched."""
        if self._range is None:
            if self._raw is None:
                self._range = float(self.array.min()), float(self.array.max())
            else:
                found: list[tuple[float, float]] = []
                self._each_enlarged(lambda _, values: found.append((float(values.min()), float(values.max()))))
                self._range = min(low for low, _ in found), max(high for _, high in found)
        return self._range

    def _each_enlarged(self, receive: Receive) -> None:
        """Give every block of the network's mask at the photo's size, clipped, over all cores."""

        def clip(area: Area, values: np.ndarray) -> None:
            top, left = area[0].start, area[1].start
            for tile in tiles(values.shape):
                rows, columns = tile.core
                part = slice(top + rows.start, top + rows.stop), slice(left + columns.start, left + columns.stop)
                receive(part, np.clip(values[tile.core], 0, 1))

        assert self._raw is not None
        map_resized(self._raw, self._shape, "bilinear-antialias", clip)

    def _each(self, receive: Receive) -> None:
        """Give every block of the mask, over all cores."""
        if self._array is not None or self._raw is None:
            array = self.array
            parallel(lambda rows: receive((rows, slice(0, array.shape[1])), array[rows]), bands(array.shape))
            return
        minimum, maximum = self._bounds() if self._stretch else (0.0, 0.0)
        sums: list[float] = []
        lock = threading.Lock()

        def give(area: Area, values: np.ndarray) -> None:
            if maximum > minimum:
                values -= minimum
                values /= maximum - minimum
            total = float(values.sum(dtype=np.float64))
            with lock:
                sums.append(total)
            receive(area, values)

        self._each_enlarged(give)
        if self._coverage is None and self._held_alpha() is None:
            self._coverage = math.fsum(sums) / (self._shape[0] * self._shape[1])


def _alpha(mask: np.ndarray, own_alpha: np.ndarray | None, invert: bool) -> np.ndarray:
    kept = 1 - mask if invert else mask
    return kept if own_alpha is None else kept * (own_alpha * np.float32(1 / 255))
