"""Check and measure the WebGPU executor on a machine with a GPU, on every implementation that is installed.

    python tools/gpu_check.py [--model FILE] [--runs N] [--sessions N] [--repeats N] [--profile] [--only wgpu|dawn]

IS-Net's int8 file, and the same weights as float32, run in f32 and f16 on each hardware adapter. For each: the largest
and mean difference of the mask from ONNX Runtime's on the same file, the time of a whole `run()` (upload, pass and
readback), the GPU's own time, and memory. Then many runs of one session, whose results must be the same bit for bit,
and many sessions opened and closed, whose memory must stay flat. The exit status is 1 when something is out of bounds.

Times are medians after a warm-up that brings the clocks up: an idle GPU runs at a fraction of its speed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx

from engine import Session
from engine.gpu.device.adapters import Adapter, adapters
from engine.gpu.device.device import open_device
from tools.dequantize import dequantize
from tools.fixtures import NETWORKS, onnxruntime_session

LIMITS = {"f32": 1e-3, "f16": 1e-2}
"""The largest difference of the mask. An int8 file is bound by its mean: a last bit before a rounding moves a pixel by
whole steps."""

INT8_MEAN = 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=NETWORKS["isnet_int8"].path, help="IS-Net's int8 file")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=200, help="runs that must be identical")
    parser.add_argument("--sessions", type=int, default=20, help="sessions to open and close")
    parser.add_argument("--only", choices=["wgpu", "dawn"])
    parser.add_argument("--profile", action="store_true", help="the time of each kernel")
    arguments = parser.parse_args()
    fitting_adapters = [a for a in adapters() if not a.software and arguments.only in (None, a.implementation)]
    if not fitting_adapters:
        print("no hardware adapter: nothing was checked", file=sys.stderr)
        return 1
    x = NETWORKS["isnet_int8"].photo_input()
    int8 = onnx.load(arguments.model)
    models = {"float": dequantize(int8).SerializeToString(), "int8": int8.SerializeToString()}
    expected = {name: _onnxruntime(model, x) for name, model in models.items()}
    good = True
    for adapter in fitting_adapters:
        print(f"\n{adapter}: {adapter.driver}")
        for name, model in models.items():
            for precision in ("f32", "f16") if adapter.f16 else ("f32",):
                good &= _check(
                    adapter, name, model=model, precision=precision, x=x, expected=expected[name], arguments=arguments
                )
        good &= _endure(adapter, models["float"], x, arguments)
    print("\nwithin bounds" if good else "\nOUT OF BOUNDS")
    return 0 if good else 1


def _onnxruntime(model: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime_session(model)
    return session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: x})[0]


def _check(
    adapter: Adapter,
    name: str,
    model: bytes,
    precision: str,
    x: np.ndarray,
    expected: np.ndarray,
    arguments: argparse.Namespace,
) -> bool:
    start = time.perf_counter()
    with Session(model, backend="webgpu", adapter=str(adapter.index), precision=precision) as session:
        load_seconds = time.perf_counter() - start
        feeds = {session.inputs[0].name: x}
        start = time.perf_counter()
        (mask,) = session.run(feeds).values()
        first = time.perf_counter() - start
        difference = np.abs(mask - expected)
        open_device(adapter).core_clock.wake(lambda: sum(session.gpu_seconds()))
        wall, parts = [], []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            session.run(feeds)
            wall.append((time.perf_counter() - start) * 1e3)
            parts.append(session.milliseconds)
        gpu = session.gpu_seconds(arguments.runs)
        shares = ", ".join(f"{part} {median(p[part] for p in parts):.2f}" for part in parts[0])
        info = session.info
        print(
            f"{name} {precision}: largest difference {difference.max():.2e}, mean {difference.mean():.2e}; run() "
            f"{median(wall):.2f} ms (least {min(wall):.2f}; {shares}), GPU {median(gpu) * 1e3:.2f} ms "
            f"(least {min(gpu) * 1e3:.2f}); load {load_seconds:.2f} s, first run {first * 1e3:.0f} ms; activations "
            f"{info.peak_activation_bytes >> 20} MiB, weights {info.weight_bytes >> 20} MiB",
            flush=True,
        )
        if arguments.profile:
            _print_profile(session, feeds)
    if name == "int8":
        return float(difference.mean()) <= INT8_MEAN
    return float(difference.max()) <= LIMITS[precision]


def _print_profile(session: Session, feeds: dict[str, np.ndarray]) -> None:
    times: dict[str, list[float]] = {}
    session.run(feeds, observe=lambda op, node, seconds: times.setdefault(f"{op} {node}", []).append(seconds))
    total = sum(map(sum, times.values()))
    for name, seconds in sorted(times.items(), key=lambda item: -sum(item[1]))[:40]:
        print(f"    {sum(seconds) * 1e6:8.0f} us {100 * sum(seconds) / total:5.1f} %  {name}")


def _endure(adapter: Adapter, model: bytes, x: np.ndarray, arguments: argparse.Namespace) -> bool:
    with Session(model, backend="webgpu", adapter=str(adapter.index)) as session:
        feeds = {session.inputs[0].name: x}
        (first,) = session.run(feeds).values()
        before = _gpu_mebibytes(), _resident_mebibytes()
        same = all(np.array_equal(first, next(iter(session.run(feeds).values()))) for _ in range(arguments.repeats))
        after = _gpu_mebibytes(), _resident_mebibytes()
    print(f"{arguments.repeats} runs: identical {same}; GPU and process MiB {before} -> {after}")
    memory = []
    for _ in range(arguments.sessions):
        with Session(model, backend="webgpu", adapter=str(adapter.index)) as session:
            session.run(feeds)
        memory.append((_gpu_mebibytes(), _resident_mebibytes()))
    later = memory[2:] or memory
    flat = all(last - first <= 64 for first, last in zip(later[0], later[-1], strict=True))
    print(f"{arguments.sessions} sessions: GPU and process MiB {memory[0]} … {later[0]} … {memory[-1]}; flat {flat}")
    return same and flat


def _gpu_mebibytes() -> int:
    """Memory in use on the first NVIDIA GPU; 0 where that cannot be asked."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0


def _resident_mebibytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
