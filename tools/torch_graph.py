"""A loaded graph as a PyTorch function: the peer that GPU times are held against, and an oracle in float32.

Operators are PyTorch's own, one for one; what PyTorch calls by another name is renamed and nothing is fused by hand.
Only the operators of IS-Net, U²-Net and BiRefNet are here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)

from engine.gpu.device.core_clock import WAKE_SECONDS
from engine.graph.ir import Graph, Node, Value

Operator = Callable[..., Any]


class TorchGraph(torch.nn.Module):  # type: ignore[misc]
    """``graph`` on a device in a dtype; convolutions channels-last where ``channels_last``. Takes and gives tensors.

    Raises KeyError, which names the operator, for one that is not here.
    """

    def __init__(self, graph: Graph, device: str, dtype: torch.dtype, *, channels_last: bool = False) -> None:
        super().__init__()
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._constants: dict[Value, torch.Tensor] = {}
        self._steps: list[tuple[Operator, Node]] = []
        for node in graph.nodes:
            self._steps.append((OPERATORS[node.op], node))
            for value in node.inputs:
                if value is not None and value.data is not None and value not in self._constants:
                    self._constants[value] = self._constant(value.data, device, dtype, channels_last)

    @staticmethod
    def _constant(data: np.ndarray, device: str, dtype: torch.dtype, channels_last: bool) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(data))
        if not tensor.is_floating_point():
            return tensor  # sizes and axes are read on the host
        tensor = tensor.to(device, dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if channels_last and tensor.ndim == 4 else tensor

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values: dict[Value, torch.Tensor] = {**self._constants, **dict(zip(self._inputs, inputs, strict=True))}
        for operator, node in self._steps:
            arguments = [None if value is None else values[value] for value in node.inputs]
            results = operator(node, *arguments)
            values.update(zip(node.used_outputs(), results if isinstance(results, tuple) else (results,), strict=True))
        return tuple(values[value] for value in self._outputs)


def _ints(tensor: torch.Tensor | None) -> list[int]:
    return [] if tensor is None else [int(number) for number in tensor]


def _padding(node: Node, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The padding of a window, or ``x`` padded where its two sides differ."""
    pads = node.attr("pads", (0, 0, 0, 0))
    begin, end = tuple(pads[:2]), tuple(pads[2:])
    if begin == end:
        return x, begin
    return F.pad(x, (begin[1], end[1], begin[0], end[0])), (0, 0)


def _conv(node: Node, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    x, padding = _padding(node, x)
    strides, dilations = (tuple(node.attr(name, (1, 1))) for name in ("strides", "dilations"))
    return F.conv2d(x, w, bias, strides, padding, dilations, node.attr("group", 1))


def _max_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    padded, padding = _padding(node, x)
    kernel, strides = tuple(node.attr("kernel_shape")), tuple(node.attr("strides", (1, 1)))
    return F.max_pool2d(padded, kernel, strides, padding, ceil_mode=bool(node.attr("ceil_mode", 0)))


def _resize(node: Node, x: torch.Tensor, *_: Any) -> torch.Tensor:
    size, mode = node.output.shape[2:], node.attr("mode", "nearest")
    if mode == "nearest":
        return F.interpolate(x, size, mode="nearest")
    aligned = node.attr("coordinate_transformation_mode", "half_pixel") == "align_corners"
    return F.interpolate(x, size, mode="bilinear", align_corners=aligned)


def _slice(
    _: Node, x: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor, axes: torch.Tensor, steps: Any = None
) -> torch.Tensor:
    index = [slice(None)] * x.ndim
    numbers = _ints(starts), _ints(ends), _ints(axes), _ints(steps) or [1] * len(starts)
    for start, end, axis, step in zip(*numbers, strict=True):
        index[axis] = slice(*slice(start, end, step).indices(x.shape[axis]))
    return x[tuple(index)]


def _pad(_: Node, x: torch.Tensor, pads: torch.Tensor, *__: Any) -> torch.Tensor:
    numbers = _ints(pads)
    pairs = [(numbers[axis], numbers[axis + x.ndim]) for axis in reversed(range(x.ndim))]
    return F.pad(x, [number for pair in pairs for number in pair])


def _deform_conv(node: Node, x: Any, w: Any, offset: Any, bias: Any = None, mask: Any = None) -> torch.Tensor:
    from torchvision.ops import deform_conv2d

    numbers = (tuple(node.attr(name, (1, 1))) for name in ("strides", "dilations"))
    strides, dilations = numbers
    padding = tuple(node.attr("pads", (0, 0, 0, 0))[:2])
    return deform_conv2d(x, offset, w, bias, strides, padding, dilations, mask)


def _layer_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, bias: Any = None) -> torch.Tensor:
    return F.layer_norm(x, scale.shape, scale, bias, node.attr("epsilon", 1e-5))


def _batch_norm(node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> torch.Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=node.attr("epsilon", 1e-5))


def _matmul(_: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.matmul(a, b)


OPERATORS: dict[str, Operator] = {
    "Add": lambda _, a, b: a + b,
    "BatchNormalization": _batch_norm,
    "Concat": lambda node, *parts: torch.cat(parts, dim=node.attr("axis")),
    "Conv": _conv,
    "DeformConv": _deform_conv,
    "Gelu": lambda node, x: F.gelu(x, approximate=node.attr("approximate", "none")),
    "Identity": lambda _, x: x,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": lambda _, a, b: a * b,
    "Pad": _pad,
    "ReduceMean": lambda node, x, axes: x.mean(dim=_ints(axes), keepdim=bool(node.attr("keepdims", 1))),
    "Relu": lambda _, x: F.relu(x),
    "Reshape": lambda node, x, _: x.reshape(node.output.shape),
    "Resize": _resize,
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda node, x: F.softmax(x, dim=node.attr("axis", -1)),
    "Squeeze": lambda node, x, _: x.reshape(node.output.shape),
    "Transpose": lambda node, x: x.permute(node.attr("perm")),
}


def milliseconds(run: Callable[[], object], runs: int) -> list[float]:
    """The times of ``runs`` calls by CUDA's events, after calls that bring the GPU's clock up."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < WAKE_SECONDS:
        run()
        torch.cuda.synchronize()
    events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    for _ in range(runs):
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        pair[0].record()
        run()
        pair[1].record()
        events.append(pair)
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in events]


def cuda_graph(module: TorchGraph, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    """A call that replays the module on these inputs as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            module(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        module(*inputs)
    return graph.replay
