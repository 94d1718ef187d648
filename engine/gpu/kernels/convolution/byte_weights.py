"""8-bit weights of a convolution that stay packed on the GPU, those of four output channels in a word (conv.wgsl).

They are integers of the file: weights of ConvInteger, or those that a DequantizeLinear makes float32 of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.product.requantize import channel_vector
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import Operand
from engine.graph.ir import Quantized, TensorType
from engine.ops.integer_products import place

CENTRE = 128
"""What is subtracted from a uint8 weight, and from its zero point, to make both signed."""


@dataclass(frozen=True, slots=True)
class ByteWeights:
    """The weights of a layer: ``integers`` less their zero points, and of a float layer times ``scale``.

    ``integers`` are int8 or uint8, of the shape of the layer's weights. They are stored less ``centre`` (int32,
    broadcasts to them), which makes signed bytes of them: less the zero point itself where all of them fit then.
    Otherwise ``zero`` is what is still to be subtracted. ``zero`` (int32) and ``scale`` (float32) have one entry for
    each output channel of all groups.
    """

    integers: np.ndarray
    centre: np.ndarray
    zero: np.ndarray | None
    scale: np.ndarray | None

    @staticmethod
    def of(layer: Layer) -> ByteWeights | None:
        """The integers behind the constant weights of a layer; None where there are none that a loader can widen."""
        value, source = layer.node.input(1), _source(layer)
        if source is None or source.block or (layer.deform_inputs and not layer.integer):
            return None
        axis = 1 if layer.node.op == "MatMul" else 0
        zero, scale = (channel_vector(parameter, axis, value.shape) for parameter in (source.zero, source.scale))
        if zero is None or scale is None:
            return None
        scale = None if layer.integer else scale
        by_channel = np.moveaxis(source.integers, axis, 0).reshape(len(zero), -1)
        low, high = by_channel.min(1, initial=127) - zero, by_channel.max(1, initial=0) - zero
        if low.min(initial=0) >= -CENTRE and high.max(initial=0) < CENTRE:
            return ByteWeights(source.integers, source.zero, None, scale)
        centre = np.array(CENTRE if source.integers.dtype == np.uint8 else 0, np.int32)
        return ByteWeights(source.integers, centre, zero - centre, scale)

    def operands(self, layer: Layer, lowering: Lowering, *, k_padded: int, n_padded: int) -> list[Operand]:
        """What conv.wgsl reads: ``w`` as u32 ``[groups, K, N / 4]``, and what the loader subtracts and multiplies by.

        K and N are padded as given, with zeros. ``w_zero`` is int32 ``[groups, N]``, for integers. ``w_scale`` is
        float32 ``[1 or 2, groups, N]``, for floats; its second row, if there is one, are the zero points.
        """
        value, zero_point = layer.node.input(1), layer.node.optional_input(3) if layer.integer else None
        groups, k, n = layer.groups, layer.window.taps * layer.channels, layer.outputs

        def words() -> np.ndarray:
            padded = np.zeros((groups, k_padded, n_padded), np.int8)
            if self.zero is not None:
                padded[:, k:, :n] = self.zero.reshape(groups, 1, n)
            padded[:, :k, :n] = layer.by_tap((self.integers - self.centre).astype(np.int8)).reshape(groups, k, n)
            return padded.view("<u4")

        def table() -> np.ndarray:
            padded = np.zeros((len(rows), groups, n_padded), np.int32 if layer.integer else np.float32)
            padded[:, :, :n] = np.stack(rows).reshape(len(rows), groups, n)
            return padded

        form = f"bytes{f' less {zero_point.name}' if zero_point else ''} for {k_padded} x {n_padded}"
        kind = TensorType(np.dtype(np.uint32), (groups, k_padded, n_padded // 4))
        reads = [Operand("w", lowering.derived_constant(value, form, words, dtype="u32", kind=kind))]
        rows = [row for row in (self.scale, self.zero) if row is not None]
        if rows:
            constant = lowering.derived_constant(value, f"columns of {form}", table)
            reads.append(Operand("w_zero" if layer.integer else "w_scale", constant, None, 4))
        return reads


def _source(layer: Layer) -> Quantized | None:
    """The integers, scale and zero point of constant weights, if they were integers in the file."""
    value = layer.node.input(1)
    if not layer.integer:
        return value.quantized
    assert value.data is not None
    points = layer.node.constant(3)
    zero = np.zeros((), np.int32) if points is None else place(points, 0, len(value.shape)).astype(np.int32)
    return Quantized(value.data, np.ones((), np.float32), zero)
