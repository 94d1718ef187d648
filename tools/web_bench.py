"""What a model takes in a browser on this machine's GPU, from decoded pixels to the cut-out, beside the engine alone.

    python tools/web_bench.py MODEL… --chromium chromium-headless-shell --vulkan      on a card
    python tools/web_bench.py MODEL… --software --runs 2 --photo 64x48                to try it out, without one
    python tools/web_bench.py MODEL… --native dawn --no-browser                       the engine alone

MODEL is a folder that was compiled for browsers (``nss-wgpu export-web`` writes them below ``models/``), or an ONNX
file, which is compiled first. Prints JSON lines, milliseconds, a line for each model and place.

"chromium": ``open``, with what it consists of in ``opening``; in ``network`` the ``first`` run, ``run`` with the
input's upload and the readback of all outputs, and ``computed`` without either; in ``photo``, for a photo of noise that
is new each time, ``cut`` from decoded pixels to the composed RGBA bytes in memory that was used before,
``cut_into_new_memory``, ``cut_with_mask`` with the network's mask besides, and ``gpu``, by the GPU's own clock (which
browsers round to 0.1 ms), what comes before the network, the network, and what comes behind it. Each model gets a
browser of its own, whose page posts its figures here: no driver of browsers is needed.

"onnxruntime-web": the ONNX file by ``--peer FOLDER``, the folder dist of that npm package, with WebGPU: ``open``, the
``first`` run and ``run``, with the input's upload and the readback of its first output.

"native": the same compiled model by the engine (``--native`` names the adapter): ``run``, ``gpu`` by the GPU's clock,
and in ``differences`` how far the first output of each of the others is from its own, for the same input. So
``photo.gpu.network`` over ``gpu``, and ``network.run`` over ``run``, say what the browser costs.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import engine

ROOT = Path(__file__).resolve().parents[1]
VULKAN = (
    "--enable-features=Vulkan",
    "--use-vulkan=native",
    "--use-angle=vulkan",
    "--disable-vulkan-surface",
    "--ignore-gpu-blocklist",
)
"""By which headless Chromium on Linux gets to a card: without ``--use-vulkan=native`` there is no adapter."""

WARM_UP = 5
TYPES = {".mjs": "text/javascript", ".json": "application/json"}
PAGE = b'<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="/bench.mjs"></script>'


class Page(BaseHTTPRequestHandler):
    """Answers the page: with itself, web/, the kernels and one model; what it posts goes into ``results``."""

    protocol_version = "HTTP/1.1"
    folders: Mapping[str, Path]
    kernels: bytes
    results: queue.Queue[dict[str, Any]]
    outputs: list[np.ndarray]

    def do_GET(self) -> None:
        """A file, by its path."""
        name = urlsplit(self.path).path
        if name == "/":
            return self.answer(200, "text/html", PAGE)
        if name == "/kernels.json":
            return self.answer(200, "application/json", self.kernels)
        if name == "/bench.mjs":
            return self.answer(200, "text/javascript", Path(__file__).with_suffix(".mjs").read_bytes())
        for prefix, folder in self.folders.items():
            file = (folder / name.removeprefix(prefix)).resolve()
            if name.startswith(prefix) and file.is_relative_to(folder.resolve()) and file.is_file():
                return self.answer(200, TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes())
        return self.answer(404, "text/plain", b"")

    def do_POST(self) -> None:
        """The figures, or an output of the network."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/output":
            self.outputs.append(np.frombuffer(content, np.float32))
        else:
            self.results.put(json.loads(content))
        self.answer(204, "text/plain", b"")

    def answer(self, status: int, kind: str, content: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        # with both the page's clock counts in steps of 5 microseconds, and of 100 without
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: standard error is for errors."""


class Server:
    """The page on loopback, at ``url``, with the model in a folder."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """``folders``: where files are, by the path that they begin with, beside web/."""
        self.results: queue.Queue[dict[str, Any]] = queue.Queue()
        self.outputs: list[np.ndarray] = []
        members = {
            "folders": {**folders, "/web/": ROOT / "web"},
            "kernels": json.dumps(engine.image_kernels()).encode(),
            "results": self.results,
            "outputs": self.outputs,
        }
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("ModelPage", (Page,), members))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def result(self, browser: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """What the page posted; an ``error`` where nothing comes in time, or the browser ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return self.results.get(timeout=0.5)
            except queue.Empty:
                if browser.poll() is not None:
                    return {"error": f"the browser ended with status {browser.returncode}"}
        return {"error": f"no answer within {seconds:g} s"}

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.server.server_close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print; 1 where a page reports an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser's binary")
    parser.add_argument("--vulkan", action="store_true", help="with the flags by which it gets to a card")
    parser.add_argument("--flag", action="append", default=[], help="one more, as --flag=--enable-x")
    parser.add_argument("--software", action="store_true", help="let an adapter do that computes on the processor")
    parser.add_argument("--photo", default="1000x1000", help="width x height")
    parser.add_argument("--runs", type=int, default=30, help="after 5 that warm up")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a model")
    parser.add_argument("--native", metavar="ADAPTER", help="measure the engine too: dawn, or as `devices` lists them")
    parser.add_argument("--peer", metavar="FOLDER", type=Path, help="dist/ of onnxruntime-web, to measure it too")
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args(arguments)
    failed = False
    for model in options.models:
        with compiled_folder(model) as folder:
            for place, report in reports(model, folder, options):
                failed |= "error" in report
                print(json.dumps({"model": model.name, "place": place, **report}), flush=True)
    return int(failed)


def reports(model: Path, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of a model that is compiled in that folder, and where they were taken."""
    with tempfile.TemporaryDirectory(prefix="nss-web-bench-") as shared:
        x = example_input(folder)
        (Path(shared) / "x.bin").write_bytes(x.tobytes())
        outputs: dict[str, np.ndarray] = {}

        def measured(place: str, folders: Mapping[str, Path], query: str) -> tuple[str, dict[str, Any]]:
            report, output = in_browser({"/input/": Path(shared), **folders}, query, options)
            if output is not None:
                outputs[place] = output
            return place, report

        if not options.no_browser:
            yield measured("chromium", {"/models/": folder}, "model=/models/")
        if options.peer is not None and model.is_file():
            folders = {"/peer/": options.peer, "/onnx/": model.parent}
            yield measured("onnxruntime-web", folders, f"peer=/onnx/{quote(model.name)}")
        if options.native is not None:
            yield "native", native(folder, options.native, options.runs, x, outputs)


def example_input(folder: Path) -> np.ndarray:
    """Noise from -1 to 1 for the model's one input, float32."""
    place, *others = engine.load_compiled(folder).inputs
    if others or place.dtype != "float32":
        raise SystemExit(f"{folder.name}: has another input than one of float32, and is not measured")
    return np.random.default_rng(7).uniform(-1, 1, place.shape).astype(np.float32)


@contextmanager
def compiled_folder(model: Path) -> Iterator[Path]:
    """The folder of a compiled model: itself, or that of an ONNX file, compiled for every browser."""
    if model.is_dir():
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="nss-web-bench-") as folder:
        engine.save_compiled(engine.compile(model), Path(folder) / "model", shard=1 << 24)
        yield Path(folder) / "model"


def in_browser(
    folders: Mapping[str, Path], model: str, options: argparse.Namespace
) -> tuple[dict[str, Any], np.ndarray | None]:
    """What the page reports of the model that this part of its query names, and the first output, where it came."""
    server = Server(folders)
    query = f"?{model}&photo={quote(options.photo)}&runs={options.runs}" + ("&software" * options.software)
    profile = tempfile.mkdtemp(prefix="nss-chromium-")
    words = [
        options.chromium,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--enable-unsafe-webgpu",
        f"--user-data-dir={profile}",
        *(VULKAN if options.vulkan else ()),
        *options.flag,
        server.url + query,
    ]
    log = Path(profile) / "stderr.txt"
    try:
        with log.open("wb") as errors:
            browser = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            report = server.result(browser, options.timeout)
        finally:
            browser.kill()
            browser.wait()
        if "error" in report:
            report["browser"] = log.read_text("utf-8", "replace")[-600:]
        return report, server.outputs[0] if server.outputs else None
    finally:
        server.close()
        shutil.rmtree(profile, ignore_errors=True)


def native(folder: Path, adapter: str, runs: int, x: np.ndarray, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the engine takes for the model in that folder and this input, and how far others' outputs are from its."""
    start = time.perf_counter()
    with engine.Session(engine.load_compiled(folder, trust=True), adapter=adapter) as session:
        report: dict[str, Any] = {"adapter": session.info.device, "open": _rounded(time.perf_counter() - start)}
        seconds = []
        for _ in range(runs + WARM_UP):
            start = time.perf_counter()
            results = session.run({session.inputs[0].name: x})
            seconds.append(time.perf_counter() - start)
        report |= {"first": _rounded(seconds[0]), "run": _figures(seconds[WARM_UP:])}
        own = results[session.outputs[0].name].reshape(-1)
        report["largest_value"] = float(np.abs(own).max())
        report["differences"] = {
            name: float(np.abs(output - own).max()) if output.shape == own.shape else "another shape"
            for name, output in outputs.items()
        }
        try:
            report["gpu"] = _figures(session.gpu_seconds(runs))
        except engine.BackendError as error:
            report["gpu"] = str(error)
    return report


def _rounded(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": _rounded(median(seconds)), "least": _rounded(min(seconds)), "most": _rounded(max(seconds))}


if __name__ == "__main__":
    sys.exit(main())
