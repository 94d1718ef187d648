"""The GPU's time for whole networks, with PyTorch on the same card in the same run, and how exact each result is.

    python tools/gpu_peers.py isnet.onnx swin_l.onnx [--only dawn|wgpu] [--precision f32,f16] [--runs N]
                              [--peers none|graph] [--json FILE]

For each model, implementation and precision: the GPU's own time of a run by timestamps, the dispatches, and the largest
difference from PyTorch's float64 as a share of the output's spread. Then what a network must bear: black, white, noise
and inputs that drive activations beyond float16 give no NaN, and a second run the same bits. Peers run the same graph
by PyTorch, operator by operator: float32, TF32 and float16 channels-last, each as a CUDA graph. The exit status is 1
when a result is out of bounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import engine
from engine.gpu.device.adapters import adapters
from engine.gpu.device.device import open_device
from engine.graph.load import load

LIMITS = {"f32": 1e-4, "f32-strict": 1e-4, "f16": 2e-2}
"""The largest difference, as a share of the spread of the oracle's output."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--only", choices=["wgpu", "dawn"])
    parser.add_argument("--precision", default="f16,f32,f32-strict")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--peers", choices=["none", "graph"], default="graph")
    parser.add_argument("--json", type=Path, help="write every figure there")
    arguments = parser.parse_args()
    cards = [a for a in adapters() if not a.software and arguments.only in (None, a.implementation)]
    if not cards:
        print("no hardware adapter: nothing was measured", file=sys.stderr)
        return 1
    rows: list[dict[str, Any]] = []
    for path in arguments.models:
        rows += _model(path, cards, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    bad = [row for row in rows if row.get("bad")]
    print("within bounds" if not bad else f"OUT OF BOUNDS: {len(bad)} of {len(rows)}")
    return 1 if bad else 0


def _model(path: Path, cards: list[Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    graph = load(path)
    shape = graph.inputs[0].shape
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected, rows = _peers(graph, x, arguments)
    for row in rows:
        row["model"] = path.stem
        print(f"{path.stem:12} {row['what']:28} {row['ms']:8.2f} ms", flush=True)
    for card in cards:
        for precision in arguments.precision.split(","):
            if precision == "f16" and not card.f16:
                continue
            row = _ours(path, card, precision=precision, x=x, expected=expected, runs=arguments.runs)
            rows.append({"model": path.stem, **row})
            print(
                f"{path.stem:12} {row['what']:28} {row['ms']:8.2f} ms  {row['dispatches']:4} dispatches  "
                f"error {row['error']:.1e} of the spread{'  BAD: ' + row['bad'] if row['bad'] else ''}",
                flush=True,
            )
    return rows


def _ours(path: Path, card: Any, *, precision: str, x: np.ndarray, expected: np.ndarray, runs: int) -> dict[str, Any]:
    from engine.compiled.model import GpuPlan

    with engine.Session(
        path, backend="webgpu", adapter=card.implementation, precision=precision, keep_compiled=True
    ) as session:
        assert session.compiled is not None
        plan = session.compiled.plan
        assert isinstance(plan, GpuPlan)
        name = session.inputs[0].name
        y = next(iter(session.run({name: x}).values()))
        again = next(iter(session.run({name: x}).values()))
        error = float(np.abs(y - expected).max() / (expected.max() - expected.min()))
        open_device(card).core_clock.wake(lambda: sum(session.gpu_seconds()))
        seconds = session.gpu_seconds(runs)
        bad = [] if error <= LIMITS[precision] else ["error"]
        bad += [] if np.array_equal(y, again) else ["two runs differ"]
        for kind, bait in _baits(x).items():
            try:
                result = next(iter(session.run({name: bait}).values()))
                bad += [] if np.isfinite(result).all() else [f"NaN for {kind}"]
            except engine.BackendError as refusal:  # float16 says that it did not hold the numbers
                bad += [] if precision == "f16" and kind == "bait" else [f"{kind}: {refusal}"]
        return {
            "what": f"{card.implementation} {precision}",
            "ms": median(seconds) * 1e3,
            "dispatches": len(plan.commands),
            "error": error,
            "matrix_units": session.info.matrix_units,
            "bad": ", ".join(bad),
        }


def _baits(x: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs that a network must bear: no picture at all, noise, and numbers beyond float16 on the way."""
    return {
        "black": np.zeros_like(x),
        "white": np.ones_like(x),
        "noise": np.random.default_rng(2).uniform(-1, 1, x.shape).astype(np.float32),
        "bait": x * np.float32(1e5),
    }


def _peers(graph: Any, x: np.ndarray, arguments: argparse.Namespace) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """PyTorch's float64 result, and the times of its other forms."""
    import torch

    from tools.torch_graph import TorchGraph, cuda_graph, milliseconds

    torch.backends.cudnn.benchmark = True
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        oracle = TorchGraph(graph, "cuda", torch.float64)
        expected = oracle(torch.from_numpy(x).to("cuda", torch.float64))[0].cpu().numpy()
    del oracle
    forms = [("f32", torch.float32, False, False), ("TF32", torch.float32, True, True)]
    forms += [("f16", torch.float16, True, True)]
    for name, dtype, fast, last in () if arguments.peers == "none" else forms:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = fast
        module = TorchGraph(graph, "cuda", dtype, channels_last=last)
        given = torch.from_numpy(x).to("cuda", dtype)
        if last:
            given = given.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            replay = cuda_graph(module, [given])
            rows.append({"what": f"PyTorch {name}, graph", "ms": median(milliseconds(replay, 10))})
        torch.cuda.empty_cache()
    return expected, rows


if __name__ == "__main__":
    sys.exit(main())
