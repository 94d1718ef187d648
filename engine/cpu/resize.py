"""Resize and Upsample, axis by axis.

Along one axis each output is a weighted sum of a few neighbouring inputs. When the axis grows by a whole factor s, the
weights repeat every s outputs: each of the s phases is a sum of scaled copies of the input, moved by whole steps, and
additions over long runs do it. Any other factor is a product with a banded matrix cut into blocks: a block of outputs
depends on a short run of inputs, so its weights form a small dense matrix, and BLAS does the gathering and the sum at
once. Selections (nearest) are copied.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.resize import REMEMBERED, AxisTaps, taps_of

BLOCK = 48
"""Outputs of one block: wide enough for BLAS, narrow enough that few of its weights are zero."""

STRIP_BYTES = 2 << 20
"""What is held between the axes, for as many planes as fit."""

PHASES = 4
"""The largest factor that is done phase by phase; beyond it the phases are many and short."""


def supports(node: Node) -> bool:
    """Whether the node resamples float32 without extrapolating."""
    return node.input(0).dtype == np.float32 and not any(table.outside.any() for _, table in taps_of(node))


class ResizeKernel(KernelBase):
    """Separable resampling of float32 tensors of any rank."""

    static = True

    def __init__(self, node: Node) -> None:
        shape = list(node.input(0).shape)
        # the axis that shrinks most goes first, the one that grows most last
        by_growth = sorted(taps_of(node), key=lambda step: len(step[1].indices) / shape[step[0]])
        self.axes = [_axis(axis, shape[axis], table) for axis, table in by_growth]
        self.first = min((axis for axis, _ in by_growth), default=0)
        self.leading = prod(shape[: self.first])
        needs = []
        for axis in self.axes:
            copy_elements = axis.copies * prod(shape[self.first :])
            shape[axis.axis] = axis.count
            needs.append((copy_elements, prod(shape[self.first :])))
        # the result of each axis but the last lies in scratch while the next one reads it
        self.plane = sum(result for _, result in needs[:-1]) + max(
            (copy_elements for copy_elements, _ in needs), default=0
        )
        self.planes = min(max(1, STRIP_BYTES // (4 * max(1, self.plane))), self.leading)
        self.scratch = self.planes * self.plane
        self.nanoseconds = node.output.type.size * 0.5

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, y = present(inputs, 0), present(outputs, 0)
        if not self.axes:
            pool.each(lambda _, copy: np.copyto(*copy), [(y, x)])
            return
        x, y = x.reshape(self.leading, *x.shape[self.first :]), y.reshape(self.leading, *y.shape[self.first :])

        def part(worker: int, rows: Range) -> None:
            source, scratch = x[slice(*rows)], pool.scratch(worker)
            for step, axis in enumerate(self.axes):
                at = axis.axis - self.first + 1
                shape = (*source.shape[:at], axis.count, *source.shape[at + 1 :])
                if step == len(self.axes) - 1:
                    target = y[slice(*rows)]
                else:
                    target, scratch = scratch[: prod(shape)].reshape(shape), scratch[prod(shape) :]
                axis.apply(source, target, at, scratch)
                source = target

        pool.each(part, pool.ranges(self.leading, self.nanoseconds, self.planes))


class _Axis:
    """How one axis is resampled: by selection, by phases with the odd outputs at the ends apart, or by blocks."""

    def __init__(self, axis: int, extent: int, table: AxisTaps) -> None:
        self.axis, self.count = axis, len(table.indices)
        self.selection = table.indices[:, 0] if table.is_selection else None
        self.phases: list[tuple[slice, list[tuple[float, slice]]]] = []
        irregular = np.arange(self.count)
        factor = self.count // extent
        if self.count == factor * extent and 1 < factor <= PHASES and not table.is_selection:
            phases, ends = _phases(table, factor)
            # with align_corners the weights drift from output to output, and little is regular
            if len(ends) <= self.count // 2:
                self.phases, irregular = phases, ends
        self.weights = sorted({weight for _, taps in self.phases for weight, _ in taps})
        self.copies = len(self.weights)
        self.blocks = [] if table.is_selection else _blocks(table, irregular)

    def apply(self, x: np.ndarray, y: np.ndarray, axis: int, scratch: np.ndarray) -> None:
        """Resample ``x`` along ``axis`` into ``y``; ``scratch`` has room for ``copies`` times ``x``."""
        if self.selection is not None:
            np.take(x, self.selection, axis, out=y, mode="clip")
            return
        lead = (slice(None),) * axis
        products = {}
        for index, weight in enumerate(self.weights):
            products[weight] = scratch[index * x.size : (index + 1) * x.size].reshape(x.shape)
            np.multiply(x, np.float32(weight), out=products[weight])
        for outs, taps in self.phases:
            terms = [products[weight][(*lead, inputs)] for weight, inputs in taps]
            target = y[(*lead, outs)]
            if len(terms) == 1:
                np.copyto(target, terms[0])
            else:
                np.add(terms[0], terms[1], out=target)
            for term in terms[2:]:
                np.add(target, term, out=target)
        trailing = prod(x.shape[axis + 1 :])
        x, y = x.reshape(-1, x.shape[axis], trailing), y.reshape(-1, y.shape[axis], trailing)
        for outs, ins, weights in self.blocks:
            if trailing == 1:
                np.matmul(x[:, ins, 0], weights.T, out=y[:, outs, 0])
            else:
                np.matmul(weights, x[:, ins], out=y[:, outs])


_axis = lru_cache(REMEMBERED)(_Axis)


def _phases(table: AxisTaps, factor: int) -> tuple[list[tuple[slice, list[tuple[float, slice]]]], np.ndarray]:
    """For each phase: the outputs where it is regular, and (weight, inputs) of each tap; also the outputs left over."""
    phases = []
    irregular: list[int] = []
    for phase in range(factor):
        outputs = np.arange(phase, len(table.indices), factor)
        steps = table.indices[outputs] - np.arange(len(outputs))[:, None]
        middle = len(outputs) // 2
        regular = (steps == steps[middle]).all(axis=1) & np.isclose(
            table.weights[outputs], table.weights[outputs[middle]], rtol=0, atol=1e-9
        ).all(axis=1)
        # the regular run around the middle: one further out would leave irregular outputs within
        breaks = np.flatnonzero(~regular)
        first = int(breaks[breaks < middle].max(initial=-1)) + 1
        last = int(breaks[breaks > middle].min(initial=len(outputs))) - 1
        irregular.extend(outputs[:first])
        irregular.extend(outputs[last + 1 :])
        taps = [
            (float(weight), slice(first + int(step), last + int(step) + 1))
            for weight, step in zip(table.weights[outputs[middle]], steps[middle], strict=True)
            if weight
        ]
        phases.append((slice(int(outputs[first]), int(outputs[last]) + 1, factor), taps))
    return phases, np.array(sorted(irregular), np.int64)


def _blocks(table: AxisTaps, outputs: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """Runs of ``outputs`` of at most BLOCK, each with the run of inputs it reads and its float32 weights."""
    blocks = []
    for stretch in np.split(outputs, np.flatnonzero(np.diff(outputs) != 1) + 1):
        for first in range(0, len(stretch), BLOCK):
            run = stretch[first : first + BLOCK]
            indices = table.indices[run]
            low, high = int(indices.min()), int(indices.max()) + 1
            matrix = np.zeros((len(run), high - low))
            np.add.at(matrix, (np.arange(len(run))[:, None], indices - low), table.weights[run])
            blocks.append((slice(int(run[0]), int(run[-1]) + 1), slice(low, high), matrix.astype(np.float32)))
    return blocks
