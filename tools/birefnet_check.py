"""Check and measure the network of RMBG-2.0 on one machine: parity with ONNX Runtime, times, dispatches and memory.

    python tools/birefnet_check.py [--size swin-l] [--form opset14] [--backend webgpu|numpy] [--precision f32,f16]
                                   [--adapter NAME] [--runs N] [--profile] [--reference FILE.npy]

The network is a stand-in with random weights (make_birefnet.py). Differences are a share of the spread (largest
minus smallest value) of ONNX Runtime's output, which is computed here, or read from FILE where that exists, and kept
there where it does not. The exit status is 1 when a difference is out of bounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from engine import Session
from engine.gpu.device.choice import choose
from engine.gpu.device.device import open_device
from tools.fixtures import onnxruntime_session
from tools.make_birefnet import FORMS, SIZES, make_birefnet

LIMITS = {"f32": 1e-3, "f16": 2e-2}
"""The largest difference, as a share of the spread."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="swin-l")
    parser.add_argument("--form", choices=FORMS, default="opset14")
    parser.add_argument("--image", type=int, help="side of the input in pixels, where the size's own is too large")
    parser.add_argument("--backend", choices=["webgpu", "numpy"], default="webgpu")
    parser.add_argument("--adapter", help="as for nss-wgpu; default: the first hardware adapter")
    parser.add_argument("--precision", default="f32", help="f32, f16 or both, with a comma")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="the time of each kind of kernel, and the longest")
    parser.add_argument("--reference", type=Path, help="ONNX Runtime's output, read or kept")
    arguments = parser.parse_args()
    side = arguments.image or SIZES[arguments.size].image
    x = np.random.default_rng(1).standard_normal((1, 3, side, side)).astype(np.float32)
    model = make_birefnet(arguments.size, arguments.form, image=side).SerializeToString()
    print(f"{arguments.size} {arguments.form} {side}²: {len(model):,} bytes")
    expected = _reference(model, x, arguments.reference)
    good = True
    for precision in arguments.precision.split(","):
        good &= _check(model, x, expected=expected, precision=precision, arguments=arguments)
    print("within bounds" if good else "OUT OF BOUNDS")
    return 0 if good else 1


def _reference(model: bytes, x: np.ndarray, file: Path | None) -> np.ndarray:
    if file is not None and file.exists():
        return np.load(file)
    session = onnxruntime_session(model)
    start = time.perf_counter()
    (expected,) = session.run(None, {"pixel_values": x})
    print(f"ONNX Runtime CPU: {time.perf_counter() - start:.2f} s, spread {np.ptp(expected):.3f}")
    if file is not None:
        np.save(file, expected)
    return expected


def _check(model: bytes, x: np.ndarray, expected: np.ndarray, precision: str, arguments: argparse.Namespace) -> bool:
    start = time.perf_counter()
    with Session(
        model,
        backend=arguments.backend,
        precision=precision,
        adapter=arguments.adapter,
        input_shapes={"pixel_values": x.shape},
    ) as session:
        load_seconds = time.perf_counter() - start
        feeds = {"pixel_values": x}
        (mask,) = session.run(feeds).values()
        difference = float(np.abs(mask - expected).max() / np.ptp(expected))
        if adapter := choose(arguments.adapter).adapter if arguments.backend == "webgpu" else None:
            open_device(adapter).core_clock.wake(lambda: sum(session.gpu_seconds()))
        wall = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            session.run(feeds)
            wall.append((time.perf_counter() - start) * 1e3)
        info = session.info
        print(
            f"{info.device} {precision}: largest difference {difference:.1e} of the spread; run() {median(wall):.1f} "
            f"ms (least {min(wall):.1f}); load {load_seconds:.1f} s; {info.nodes_in_file:,} nodes in the file, "
            f"{info.nodes_loaded:,} loaded, {info.nodes_planned:,} planned; activations "
            f"{info.peak_activation_bytes >> 20} MiB at most, {info.activation_buffer_bytes >> 20} MiB allocated, "
            f"weights {info.weight_bytes >> 20} MiB",
            flush=True,
        )
        if info.backend == "webgpu":
            gpu_times = session.gpu_seconds(max(3, arguments.runs // 2))
            print(f"    {len(session.profile(feeds))} dispatches, GPU {median(gpu_times) * 1e3:.2f} ms")
        if arguments.profile:
            _print_profile(session, feeds)
    return difference <= LIMITS[precision]


def _print_profile(session: Session, feeds: dict[str, np.ndarray]) -> None:
    nodes: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, list[float]] = defaultdict(list)
    for entry in session.profile(feeds):
        kind = entry.op if entry.kernel == entry.op else f"{entry.op} {entry.kernel}"
        rate = f" {entry.flops / max(entry.seconds, 1e-9) / 1e12:.1f} TFLOP/s" if entry.flops else ""
        nodes[f"{kind} {entry.node}{rate}"].append(entry.seconds)
        kinds[kind].append(entry.seconds)
    for title, times, rows in (("kinds", kinds, 24), ("nodes", nodes, 40)):
        total = sum(map(sum, times.values()))
        print(f"  {title}: {total * 1e3:.2f} ms")
        for name, seconds in sorted(times.items(), key=lambda item: -sum(item[1]))[:rows]:
            print(f"    {sum(seconds) * 1e6:9.0f} us {len(seconds):4} x  {name}")


if __name__ == "__main__":
    sys.exit(main())
