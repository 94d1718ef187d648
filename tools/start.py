"""How soon the first result is there, each in a fresh process.

    python tools/start.py MODEL [--implementation dawn] [--precision f16] [--runs 7] [--rows first,cached]
    python tools/start.py MODEL --tree OLDER/CHECKOUT      the same of another commit's files

Rows (all by default):

- first: a session and its first result, with no compiled model and the driver's caches off;
- cached: the same from the cache of compiled models, the driver's caches warm;
- command: ``nss-wgpu remove`` of a small photo, the whole process, all caches warm;
- apart: ``remove`` against ``remove --backend numpy``, both warm, in turn: on a machine without a GPU they should be
  alike;
- memory: the most private memory while a session loads and runs first, as parts of the weights, sampled at 20 Hz;
- pipelines: how many the portable plan has, in f32.

``first``, ``cached`` and ``memory`` count from after the import of NumPy and of the implementation. A row that the tree
cannot run is said. Each process has folders of its own for everything that is remembered. Needs nothing but the
project's packages and its files. ``--json FILE`` adds a record for each row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.bench_rows import FailedError, measure_rows, row_names  # noqa: E402 - found once the folder is on the path
from tools.processes import SAMPLE_S, environment, sizes  # noqa: E402
from tools.timing import table  # noqa: E402

PACKAGES = ("numpy", "wgpu", "wgpudawn")


@dataclass(frozen=True)
class Row:
    """What was measured; ``values`` are one number for each process, of ``unit``; ``remark`` says why there is none."""

    row: str
    what: str
    unit: str
    values: tuple[float, ...] = ()
    remark: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> list[str]:
        """What the table shows: the median, and the least and the greatest."""
        if not self.values:
            return [self.what, "-", self.remark]
        number = "{:.0f}".format if self.unit == "pipelines" else "{:.2f}".format
        spread = f"{number(min(self.values))} to {number(max(self.values))}" if len(self.values) > 1 else ""
        return [self.what, f"{number(median(self.values))} {self.unit}", "; ".join(filter(None, (spread, self.remark)))]


class Bench:
    """One model on one implementation, in one precision, by the files of one tree."""

    def __init__(
        self,
        model: Path,
        *,
        implementation: str,
        precision: str,
        runs: int,
        tree: Path,
        photo: Path,
        work: Path,
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        self.model, self.implementation, self.precision = model.resolve(), implementation, precision
        self.runs, self.tree, self.photo, self.work = runs, tree.resolve(), photo.resolve(), work
        self.shapes = dict(shapes)
        self.has_cache = (tree / "engine" / "compiled" / "cache.py").exists()
        self.device = ""

    def child(
        self, mode: str, *, driver_caches: bool = True, watch: Callable[[int], object] | None = None
    ) -> dict[str, Any]:
        """What ``tools/start_child.py`` measures in a process of its own; ``watch`` gets the process's number."""
        program = Path(__file__).with_name("start_child.py")
        folder = self.work / "models"
        folder.mkdir(mode=0o700, exist_ok=True)
        command = [sys.executable, "-P", str(program), mode, str(self.model), self.implementation, self.precision]
        output = self._run([*command, str(folder), json.dumps(self.shapes)], driver_caches=driver_caches, watch=watch)[
            1
        ]
        results: dict[str, Any] = {}
        for line in output.splitlines():
            if line.startswith("{"):
                results |= json.loads(line)
        self.device = results.get("device", self.device)
        return results

    def _run(
        self, command: Sequence[str], *, driver_caches: bool = True, watch: Callable[[int], object] | None = None
    ) -> tuple[float, str]:
        """Seconds of a whole process, and what it printed. Raises FailedError."""
        start = time.perf_counter()
        with subprocess.Popen(
            command,
            cwd=self.work,
            env=environment(self.tree, self.work, driver_caches=driver_caches),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if watch is not None:
                watch(process.pid)
            output, errors = process.communicate()
        if process.returncode:
            raise FailedError((errors.strip().splitlines() or [f"status {process.returncode}"])[-1])
        return time.perf_counter() - start, output

    def remove(self, *, backend: str) -> float:
        """Seconds of the whole command on the photo."""
        on_card = backend == "webgpu"
        options = ["--backend", backend, *(["--device", self.implementation] if on_card else [])]
        precision = ["--precision", self.precision] if on_card else []
        target = ["-o", str(self.work / "cutout.png"), "--overwrite", "--quiet"]
        command = [sys.executable, "-P", "-m", "nss", "remove", str(self.photo), "--model", str(self.model)]
        return self._run([*command, *options, *precision, *target])[0]

    def first(self) -> list[Row]:
        """See the file."""
        results = [self.child("first", driver_caches=False) for _ in range(self.runs)]
        what = "session and first result, first ever"
        return [Row("first", what, "s", tuple(result["seconds"] for result in results), details=_opened(results))]

    def cached(self) -> list[Row]:
        """See the file."""
        what = "session and first result, from the cache"
        if not self.has_cache:
            results = [self.child("first") for _ in range(self.runs + 1)][1:]
            what, remark = "session and first result, the driver's cache warm", "this tree has no cache of models"
        else:
            self.child("store")
            self.child("cached")
            results, remark = [self.child("cached") for _ in range(self.runs)], ""
        seconds = tuple(result["seconds"] for result in results)
        return [Row("cached", what, "s", seconds, remark, details=_opened(results))]

    def command(self) -> list[Row]:
        """See the file."""
        backend = "numpy" if self.implementation == "numpy" else "webgpu"
        first, _ = self.remove(backend=backend), self.remove(backend=backend)
        seconds = tuple(self.remove(backend=backend) for _ in range(self.runs))
        what = "`nss-wgpu remove` of a small photo, whole command, later runs"
        return [Row("command", what, "s", seconds, details={"first_run": first})]

    def apart(self) -> list[Row]:
        """See the file."""
        for backend in ("auto", "auto", "numpy"):
            self.remove(backend=backend)
        pairs = [(self.remove(backend="auto"), self.remove(backend="numpy")) for _ in range(self.runs)]
        auto, on_numpy = zip(*pairs, strict=True)
        return [
            Row("apart", "`remove`, whole command", "s", auto),
            Row("apart", "`remove --backend numpy`, whole command", "s", on_numpy),
            Row("apart", "their medians apart", "s", (median(auto) - median(on_numpy),)),
        ]

    def memory(self) -> list[Row]:
        """See the file."""
        rows = []
        modes = {"first": "first ever"} | ({"cached": "from the cache"} if self.has_cache else {})
        if self.has_cache:
            self.child("store")
        for mode, words in modes.items():
            sampler = PrivateMemory()
            result = self.child(mode, watch=sampler.watch)
            peak, weights = sampler.peak(), result["weight_bytes"]
            before = private_bytes(result["rollup"]) or 0
            details = {"peak": peak, "before": before, "weights": weights}
            remark = f"{peak / 2**20:.0f} MiB, of which {before / 2**20:.0f} before loading"
            what = f"peak private memory, {words}, as parts of the {weights / 2**20:.0f} MiB of weights"
            rows.append(Row("memory", what, "times", (peak / weights,), remark, details))
        return rows

    def pipelines(self) -> list[Row]:
        """See the file."""
        if self.implementation == "numpy":
            return [Row("pipelines", "pipelines of the portable plan, f32", "pipelines", remark="NumPy has none")]
        count = self.child("pipelines")["pipelines"]
        return [Row("pipelines", "pipelines of the portable plan, f32", "pipelines", (count,))]


class PrivateMemory:
    """Samples what a process holds that is no mapped file: Linux's proportional set size, less that of files."""

    def __init__(self) -> None:
        self._samples: list[int] = []
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Begin, in a thread of its own, until the process has ended."""
        self._thread = threading.Thread(target=self._sample, args=(Path(f"/proc/{pid}/smaps_rollup"),))
        self._thread.start()

    def peak(self) -> int:
        """The most of all samples, in bytes. Raises FailedError where the system shows none."""
        assert self._thread is not None
        self._thread.join()
        if not self._samples:
            raise FailedError("this system does not show what a process holds")
        return max(self._samples)

    def _sample(self, rollup: Path) -> None:
        while True:
            try:
                text = rollup.read_text(encoding="ascii")
            except OSError:
                return
            if (sample := private_bytes(text)) is None:
                return
            self._samples.append(sample)
            time.sleep(SAMPLE_S)


def private_bytes(rollup: str) -> int | None:
    """Bytes of ``smaps_rollup``'s text that are of no file; None where a process that ends has no memory any more."""
    held = sizes(rollup)
    return held["Pss"] - held["Pss_File"] if {"Pss", "Pss_File"} <= held.keys() else None


def _opened(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"open": [result["open"] for result in results], "environment": results[-1]["environment"]}


def machine() -> dict[str, str]:
    """What the figures depend on, beside the adapter."""
    facts = {"system": platform.platform(), "cores": str(os.cpu_count()), "python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def commit(tree: Path) -> str:
    """The commit of a tree; its folder's name where git does not say."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return tree.name
    return result.stdout.strip()


ROWS = ("first", "cached", "command", "apart", "memory", "pipelines")


def _shape(text: str) -> tuple[str, list[int]]:
    name, _, sides = text.rpartition("=")
    return name, [int(side) for side in sides.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table; the exit status: 1 where a row has no figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an ONNX file")
    parser.add_argument("--implementation", choices=("wgpu", "dawn", "numpy"), default="dawn")
    parser.add_argument("--precision", choices=("f32", "f16"), default="f32")
    parser.add_argument(
        "--shape", type=_shape, action="append", default=[], metavar="INPUT=1,3,H,W", help="of an input"
    )
    parser.add_argument("--runs", type=int, default=7, help="fresh processes for each figure")
    parser.add_argument("--rows", type=row_names(ROWS), default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--tree", type=Path, default=ROOT, help="the folder with engine, nss and shaders")
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "astronaut.png")
    parser.add_argument("--json", type=Path, help="a file that gets a record for each row, one a line")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="start-") as work:
        bench = Bench(
            options.model,
            implementation=options.implementation,
            precision=options.precision,
            runs=options.runs,
            tree=options.tree,
            photo=options.photo,
            work=Path(work),
            shapes=dict(options.shape),
        )
        rows = measure_rows(bench, options.rows, lambda name, why: Row(name, name, "", remark=why))
    facts = {"model": options.model.name, "implementation": options.implementation, "precision": options.precision}
    facts |= {"tree": commit(options.tree), "device": bench.device, **machine()}
    if options.json is not None:
        with options.json.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({**facts, **asdict(row)}) + "\n" for row in rows)
    title = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    print(table(title, [f"median of {options.runs} processes", "", ""], [row.cells for row in rows]))
    return 0 if all(row.values for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
