"""Measure every distinct layer of some networks with every row of its family's table that supports it.

    python -m tools.kernel_lab MODEL... --adapter dawn --precision f16 --out records.jsonl [--append | --resume]
        [--seconds 60] [--shape 1,3,1024,1024] [--families convolution,matmul] [--rows tiled-wide,direct] [--workers 2]

Each row runs on fresh random input, its result is held to the NumPy executor's, and the GPU's clock times it once it is
awake: the median of several measurements in turn with the other rows, or a single one where a row is far slower than
the best. Layers that networks share are measured once. They come by their work, the most first, so that little is lost
where ``--seconds`` end it, and ``--resume`` goes on there; with ``--seconds 0`` they are counted alone. ``--shape`` is
that of the first input where a model leaves it open. ``--workers`` processes prepare layers side by side, and measure
in turn.

``--out`` gets one JSON object a line. The first one of a run has the adapter's ceilings, measured in the same run
(``"kind": "ceilings"``), the others a layer and a row each (``"kind": "layer"``); ``tools/kernel_lab/records.py`` has
their fields. ``python -m tools.kernel_lab.roofline records.jsonl`` draws them.

Prints for each layer its rows, the best first, with ``*`` at the table's own, and at the end what the layers of each
network take by the table's rows, and by the best.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from engine import ModelFile
from engine.caps import Precision
from engine.errors import BackendError
from engine.gpu.device.choice import choose
from engine.gpu.device.device import open_device
from tools.kernel_lab.ceilings import measure_ceilings
from tools.kernel_lab.measure import Layer, Result, layers_of
from tools.kernel_lab.records import ceilings_record, layer_record, measured, read
from tools.kernel_lab.workers import measure

WORKERS = 2
"""Processes that prepare layers and measure them in turn. Each compiles all programs, which takes most of the time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print. The status is 1 where a row was wrong."""
    options = _parser().parse_args(arguments)
    try:
        choice = choose(options.adapter)
    except BackendError as error:
        sys.exit(str(error))
    adapter = choice.adapter
    if adapter is None:
        sys.exit(f"{choice.reason}; --adapter takes a software adapter, too")
    device, start = open_device(adapter), time.perf_counter()
    workers = options.workers or (1 if adapter.software else WORKERS)
    layers: list[Layer] = []
    files = [(path.stem, ModelFile.read(path)) for path in options.models]
    for precision in options.precision:
        layers += layers_of(files, device.caps, precision, shape=options.shape, families=options.families)
    if options.resume and options.out.exists():
        known = measured(read([options.out]), adapter)
        layers = [layer for layer in layers if (layer.case.precision, layer.case.key) not in known]
    ceilings = measure_ceilings(device)
    count = sum(options.rows is None or row in options.rows for layer in layers for row in layer.case.rows)
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in ceilings.items())
    print(f"{adapter}: {len(layers)} layers with {count} rows; {rates}")
    wrong = 0
    with options.out.open("a" if options.append or options.resume else "w", encoding="utf-8") as file:
        print(json.dumps(ceilings_record(adapter, ceilings)), file=file, flush=True)
        totals: dict[tuple[str, str], list[float]] = {}
        left = options.seconds - (time.perf_counter() - start)
        for layer, results in measure(adapter, layers, seconds=left, rows=options.rows, workers=workers):
            for result in results:
                print(json.dumps(layer_record(adapter, layer, result)), file=file, flush=True)
            _print(layer, results)
            wrong += sum(not result.timing.is_right for result in results)
            right = [result for result in results if result.timing.is_right]
            own = [result.timing.seconds for result in right if result.timing.row == layer.case.row]
            if own:
                best = min(result.timing.seconds for result in right)
                for model, count in layer.models.items():
                    sums = totals.setdefault((model, layer.case.precision), [0.0, 0.0, 0.0])
                    sums[0] += count
                    sums[1] += count * own[0]
                    sums[2] += count * best
    for (model, kind), (number, own_seconds, best_seconds) in totals.items():
        print(
            f"{model} {kind}: {number:.0f} layers, {own_seconds * 1e3:.3f} ms by the table's rows, "
            f"{best_seconds * 1e3:.3f} ms by the best"
        )
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.kernel_lab", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--adapter", help="as --device of nss-wgpu; the first hardware adapter by default")
    parser.add_argument("--precision", type=_precisions, default=("f32",), help="f32, f16, or both: f32,f16")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--append", action="store_true", help="add to the file")
    parser.add_argument("--resume", action="store_true", help="add to the file the layers that it lacks")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--workers", type=int, help=f"processes; {WORKERS} by default, 1 on a software adapter")
    parser.add_argument("--shape", type=_numbers, default=(1, 3, 1024, 1024))
    parser.add_argument("--families", type=_names)
    parser.add_argument("--rows", type=_names)
    return parser


def _precisions(text: str) -> tuple[Precision, ...]:
    if unknown := set(_names(text)) - {"f32", "f16"}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: f32, f16 or both, f32,f16, are possible")
    return cast("tuple[Precision, ...]", _names(text))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _print(layer: Layer, results: Sequence[Result]) -> None:
    """One line: the layer, and its rows with microseconds, TFLOP/s, and the error where it is too large."""
    cells = []
    for result in sorted(results, key=lambda result: result.timing.seconds):
        timing = result.timing
        mark = "*" if timing.row == layer.case.row else ""
        wrong = "" if timing.is_right else f" WRONG by {timing.error:.1e}"
        rate = f" {timing.flops / timing.seconds / 1e12:.1f}T" if timing.flops else ""
        cells.append(f"{timing.row}{mark} {timing.seconds * 1e6:.0f}us{rate}{wrong}")
    print(f"{sum(layer.models.values())} x {layer.case.precision} {layer.case.key}: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
