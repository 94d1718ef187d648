"""Compare this project's runner with onnxruntime-web and transformers.js, in one Chromium, on one model.

    python tools/web_compare.py MODEL [--side N] [--runs N] [--only NAME…] [--packages FOLDER] [--flag FLAG…] [--json]

MODEL is an ONNX file with one image input, such as nss/models/weights/u2netp.onnx; --side is another size of that
input, for files whose inner sizes follow from it. For each: bytes of code that the page loads, the time to open and to
run, the largest difference from ONNX Runtime on the processor, and what fails. Each has a browser of its own, in turn.

The packages come from npm into FOLDER, or into a temporary one: about 500 MB. Chromium and tests/web/node_modules are
needed. On a machine with a GPU, --flag passes Chromium what it takes to be found, such as
--flag=--enable-features=Vulkan --flag=--use-vulkan=native --flag=--use-angle=vulkan --flag=--ignore-gpu-blocklist.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx

import engine
from tools.fixtures import onnxruntime_session

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("onnxruntime-web@1.30.0", "@huggingface/transformers@4.3.2")
NAMES = ("ours", "ours f16", "onnxruntime-web webgpu", "onnxruntime-web wasm", "transformers.js webgpu")
SHARD = 16 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--side", type=int, help="pixels a side of the input, by default the model's own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--packages", type=Path, help="where the packages are, or are put")
    parser.add_argument("--flag", action="append", default=[], help="for Chromium")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nss-web-compare-") as folder:
        packages = arguments.packages or Path(folder, "packages")
        _install(packages)
        models = Path(folder, "models")
        _prepare(models, arguments.model, arguments.side)
        job = {"names": list(arguments.only), "runs": arguments.runs, "flags": arguments.flag}
        job |= {"models": str(models), "packages": str(packages / "node_modules")}
        done = subprocess.run(
            ["node", ROOT / "tools" / "web_compare.mjs"],
            env=os.environ | {"JOB": json.dumps(job)},
            stdout=subprocess.PIPE,
            text=True,
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        print(json.dumps(row) if arguments.json else _line(row))
    return done.returncode


def _install(folder: Path) -> None:
    """Have npm put the packages into the folder, unless they are there."""
    if (folder / "node_modules" / "@huggingface").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _prepare(folder: Path, path: Path, side: int | None) -> None:
    """Write the model in both forms, an input, and what ONNX Runtime makes of it."""
    proto = onnx.load(path)
    if side is not None:
        for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = side
        for value in proto.graph.output:
            value.type.tensor_type.ClearField("shape")
        del proto.graph.value_info[:]
    model = proto.SerializeToString()
    folder.mkdir()
    # as transformers.js wants a repository to look
    (folder / "hub" / "onnx").mkdir(parents=True)
    (folder / "hub" / "onnx" / "model.onnx").write_bytes(model)
    (folder / "hub" / "config.json").write_text(json.dumps({"model_type": "custom"}), "ascii")
    compiled = engine.compile(model)
    engine.save_compiled(compiled, folder / "f32", shard=SHARD)
    engine.save_compiled(compiled, folder / "f16", shard=SHARD, weights="f16")
    (place,) = compiled.inputs
    output = compiled.outputs[0].name
    x = np.random.default_rng(0).standard_normal(place.shape).astype(np.float32)
    (expected,) = onnxruntime_session(model).run([output], {place.name: x})
    x.tofile(folder / "input.bin")
    expected.astype(np.float32).tofile(folder / "expected.bin")
    names = {"input": place.name, "shape": list(place.shape), "output": output}
    (folder / "names.json").write_text(json.dumps(names), "ascii")


def _line(row: dict[str, Any]) -> str:
    code = f"{row['name']:24} code {row['code'] / 1e6:6.2f} MB   model {row['model'] / 1e6:7.2f} MB"
    if "failed" in row:
        return f"{code}   FAILS: {row['failed']}"
    runs = ", ".join(f"{run:.0f}" for run in row["runs"])
    return f"{code}   open {row['open']:6.0f} ms   runs {runs} ms   off by {row['difference']:.1e}"


if __name__ == "__main__":
    raise SystemExit(main())
