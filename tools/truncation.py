"""What sums on an adapter's matrix units lose with each addition, beside what kernels give back (split.py, LOSS).

    python tools/truncation.py [--adapter dawn] [--summands 256,768,1536,3072] [--seed 0]

Products of random numbers of either sign are computed in split operands, with nothing given back and with it, and held
to float64's. The loss is a part of the last sum, of which each addition takes about as much. Units that truncate lose
some 2e-8, those that round next to nothing. The exit status is 1 where there is nothing to measure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from engine.caps import Caps
from engine.errors import BackendError
from engine.gpu.device.choice import choose
from engine.gpu.device.device import Device, open_device
from engine.gpu.kernels.convolution.matrix import LONGEST_SUM
from engine.gpu.kernels.convolution.matrix_tiles import MATRIX_TILES
from engine.gpu.kernels.convolution.split import LOSS, PRODUCTS
from engine.gpu.plan.compile_graph import compile_graph
from engine.gpu.run.executor import GpuExecutor
from engine.graph.ir import Graph, Node, TensorType, Value

ROWS, COLUMNS = 256, 128
"""Of a product: so many sums that the loss is known to a hundredth."""

SUMMANDS = (256, 768, 1536, 3072)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--adapter", help="as --device of nss-wgpu; the first hardware adapter by default")
    parser.add_argument("--summands", type=lambda text: tuple(map(int, text.split(","))), default=SUMMANDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        adapter = choose(options.adapter).adapter
    except BackendError as error:
        sys.exit(str(error))
    if adapter is None:
        print("no hardware adapter: nothing was measured", file=sys.stderr)
        return 1
    device = open_device(adapter)
    units = device.caps.matrix_units
    if units is None:
        print(f"{adapter} has no matrix units that kernels use: there is nothing to measure", file=sys.stderr)
        return 1
    print(f"{adapter}: units that {'truncate' if units.truncates else 'round'}, by the probe")
    for summands in options.summands:
        plain, given_back = (
            loss(device, replace(device.caps, matrix_units=replace(units, truncates=truncates)), summands, options.seed)
            for truncates in (False, True)
        )
        print(
            f"{summands:6} summands: {plain:.2e} lost with each addition; {given_back:.2e} with {LOSS:.2e} given back"
        )
    return 0


def loss(device: Device, caps: Caps, summands: int, seed: int) -> float:
    """What sums of so many products lose with each addition, where as much is given back as ``caps`` call for."""
    units = caps.matrix_units
    assert units is not None
    tile = min((tile for tile in MATRIX_TILES if tile.fits(caps, split=True)), key=lambda tile: tile.bm * tile.bn)
    random = np.random.default_rng(seed)
    x, w = (random.standard_normal(shape).astype(np.float32) for shape in ((ROWS, summands), (summands, COLUMNS)))
    float32 = np.dtype(np.float32)
    left, right = Value("x", TensorType(float32, x.shape)), Value("w", TensorType(float32, w.shape), w)
    product = Value("y", TensorType(float32, (ROWS, COLUMNS)))
    graph = Graph([left], [product], [Node("MatMul", [left, right], [product], version=13)])
    model = compile_graph(graph, caps, choices={"convolution": tile.name})
    with closing(GpuExecutor(model, device, in_flight=1)) as executor:
        (sums,) = executor.run([x])
    products = PRODUCTS if summands <= LONGEST_SUM else 1
    return lost(x.astype(np.float64) @ w, sums) / (products * summands / units.k / tile.across_k)


def lost(exact: np.ndarray, sums: np.ndarray) -> float:
    """The part of ``exact`` that ``sums`` lack, by which they are alike but for noise."""
    return 1 - float(np.sum(exact * sums) / np.sum(exact * exact))


if __name__ == "__main__":
    sys.exit(main())
