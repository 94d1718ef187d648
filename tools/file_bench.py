"""From files to files: the whole command on one photo and on folders, against an older tree and against rembg.

    python tools/file_bench.py MODEL [--backend numpy] [--rows one,small,folder] [--tree OLDER/CHECKOUT]
    python tools/file_bench.py MODEL --device dawn --precision f16 --rows batch,masks,decoded

Rows, each of whole processes unless said:

- one: a JPEG of 12 megapixels, and the most memory of the process and its children;
- small: a JPEG of 1024 x 512;
- folder: 8 different JPEGs of 12 megapixels, in one command;
- batch: 48 of them to PNG cut-outs: photos a second of the whole command, and once it is at work (from the first
  result to the last);
- masks: the same with ``--mask-only``;
- budget: the same with ``--memory 1G``, and the most memory;
- adapters: ``--mask-only`` on one adapter and with ``--device all``, photos a second once at work;
- decoded: within one process, a decoded photo of 12 megapixels to its alpha;
- many: ``--count`` small photos (10,000), one in a hundred damaged: memory over time, what was written, what was told.

``--peers`` runs rembg, where it is installed, in turn with ``one``, ``small`` and ``folder``, with the U²-Netp that
comes with this project. Photos are drawn from a seed (`tools/drawn_photos.py`), into a folder that goes. Every cut-out
is verified by the command itself. Each process has folders of its own for what is remembered, which a first run fills.
``--json FILE`` adds a record for each row; ``--plot FILE`` draws the memory of ``many``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.bench_rows import FailedError, measure_rows, row_names  # noqa: E402 - found once the folder is on the path
from tools.drawn_photos import photos  # noqa: E402
from tools.processes import TreeMemory, environment  # noqa: E402
from tools.start import commit, machine  # noqa: E402
from tools.timing import table  # noqa: E402

LARGE = (4000, 3000)
SMALL = (1024, 512)
TINY = (96, 64)


@dataclass(frozen=True)
class Row:
    """What was measured: ``values`` are one number for each process, of ``unit``; ``remark`` has the rest."""

    what: str
    unit: str
    values: tuple[float, ...] = ()
    remark: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> list[str]:
        """What the table shows: the median, the least and the greatest, and the remark."""
        if not self.values:
            return [self.what, "-", self.remark]
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}" if len(self.values) > 1 else ""
        return [self.what, f"{median(self.values):.3g} {self.unit}", "; ".join(filter(None, (spread, self.remark)))]


@dataclass(frozen=True)
class Run:
    """One process: its seconds, when each line of its standard output came, what those lines are, and its memory."""

    seconds: float
    line_seconds: tuple[float, ...]
    lines: tuple[str, ...]
    errors: tuple[str, ...]
    status: int
    memory: TreeMemory

    @property
    def photos_a_second(self) -> float:
        """Once at work: from the first line to the last."""
        if len(self.line_seconds) < 2:
            return 0.0
        return (len(self.line_seconds) - 1) / (self.line_seconds[-1] - self.line_seconds[0])

    @property
    def peak_mib(self) -> float:
        """The most memory of the process and its children; 0 where the system shows none."""
        return (self.memory.peak() or 0) / 2**20


class Bench:
    """One model on one backend, by the files of one tree."""

    def __init__(self, options: argparse.Namespace, tree: Path, work: Path, pictures: Path) -> None:
        self.options, self.tree, self.work, self.pictures = options, tree.resolve(), work, pictures
        work.mkdir(parents=True, exist_ok=True)

    def network(self, device: str | None = None) -> list[str]:
        """The options that say what runs, and where: on another device than usual, where one is given."""
        options = self.options
        device = options.device if device is None else device
        words = ["--model", str(options.model), "--backend", options.backend]
        if options.backend != "numpy":
            words += ["--precision", options.precision] + (["--device", device] if device else [])
        return words

    def remove(self, *words: object, check: bool = True, memory: bool = False, device: str | None = None) -> Run:
        """Run ``nss-wgpu remove`` into an empty folder. Raises FailedError where it fails, unless not ``check``."""
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-P", "-m", "nss", "remove", *map(str, words), *self.network(device)]
        run = timed([*command, "-o", f"{out}/", "--json"], environment(self.tree, self.work), self.work, memory=memory)
        if check and run.status:
            raise FailedError((run.errors or (f"status {run.status}",))[-1])
        return run

    def one(self) -> list[Row]:
        """See the file."""
        return self._whole("one photo of 12 megapixels", photos(self.pictures / "large", 1, LARGE))

    def small(self) -> list[Row]:
        """See the file."""
        return self._whole("one photo of 1024 x 512", photos(self.pictures / "small", 1, SMALL))

    def folder(self) -> list[Row]:
        """See the file."""
        return self._whole("8 photos of 12 megapixels", photos(self.pictures / "large", 8, LARGE))

    def _whole(self, what: str, files: Sequence[Path]) -> list[Row]:
        peer = _rembg(self.work, files) if self.options.peers else None
        self.remove(files[0])
        if peer is not None:
            peer()
        seconds, peer_seconds = [], []
        for _ in range(self.options.runs):
            seconds.append(self.remove(*files).seconds)
            if peer is not None:
                peer_seconds.append(peer())
        peak = self.remove(*files, memory=True).peak_mib
        rows = [Row(f"{what}, whole command", "s", tuple(seconds), f"at most {peak:.0f} MiB", {"peak_mib": peak})]
        return rows + ([Row(f"{what}, rembg", "s", tuple(peer_seconds))] if peer is not None else [])

    def batch(self) -> list[Row]:
        """See the file."""
        return self._rates("cut-outs")

    def masks(self) -> list[Row]:
        """See the file."""
        return self._rates("masks", "--mask-only")

    def budget(self) -> list[Row]:
        """See the file."""
        return self._rates("cut-outs, --memory 1G", "--memory", "1G", memory=True)

    def _rates(self, what: str, *words: str, memory: bool = False) -> list[Row]:
        files = photos(self.pictures / "large", self.options.photos, LARGE)
        self.remove(files[0], *words)
        runs = [self.remove(*files, *words, memory=memory) for _ in range(self.options.runs)]
        title = f"{len(files)} photos of 12 megapixels to {what}"
        remark = f"at most {max(run.peak_mib for run in runs):.0f} MiB" if memory else ""
        stages = _stages(runs[-1].lines)
        return [
            Row(f"{title}, whole command", "photos/s", tuple(len(files) / run.seconds for run in runs), remark),
            Row(f"{title}, once at work", "photos/s", tuple(run.photos_a_second for run in runs), stages),
        ]

    def adapters(self) -> list[Row]:
        """See the file."""
        files = photos(self.pictures / "large", self.options.photos, LARGE)
        rows = []
        for device in (self.options.device, "all"):
            self.remove(files[0], "--mask-only", device=device)
            runs = [self.remove(*files, "--mask-only", device=device) for _ in range(self.options.runs)]
            used = sorted({json.loads(line).get("device") or "" for line in runs[-1].lines})
            title = f"{len(files)} masks on {'all adapters' if device == 'all' else 'one adapter'}, once at work"
            rows.append(Row(title, "photos/s", tuple(run.photos_a_second for run in runs), " + ".join(used)))
        return rows

    def decoded(self) -> list[Row]:
        """See the file."""
        photo = photos(self.pictures / "large", 1, LARGE)[0]
        words = [str(photo), str(self.options.model), self.options.backend, self.options.device or ""]
        command = [sys.executable, "-P", str(Path(__file__).with_name("file_bench_child.py")), *words]
        run = timed([*command, self.options.precision], environment(self.tree, self.work), self.work)
        if run.status:
            raise FailedError((run.errors or ("failed",))[-1])
        record = json.loads(run.lines[-1])
        remark = ", ".join(f"{name} {ms:.1f} ms" for name, ms in record["stages"].items())
        return [Row("a decoded photo to alpha, within one process", "ms", tuple(record["milliseconds"]), remark)]

    def many(self) -> list[Row]:
        """See the file."""
        folder = self.pictures / "tiny"
        files = photos(folder, self.options.count, TINY, quality=60)
        damaged = files[50::100]
        for path in damaged:
            path.write_bytes(path.read_bytes()[:200])
        run = self.remove(folder, check=False, memory=True)
        run.memory.peak()
        records = [json.loads(line) for line in run.lines]
        written = sum(record["error"] is None for record in records)
        told = {record["input"] for record in records if record["error"] is not None}
        there = len(list((self.work / "out").iterdir()))
        faults = [
            text
            for text, wrong in (
                ("files are missing", there != len(files) - len(damaged)),
                ("damaged ones were not told", told != {str(path) for path in damaged}),
                ("status", run.status != 1),
            )
            if wrong
        ]
        held = _held_over_time(run)
        if self.options.plot is not None:
            plot(run.memory.samples, self.options.plot)
        remark = f"{written} written, {there} files, {len(told)} told; {'; '.join(faults) or 'nothing lost'}"
        return [
            Row(f"{len(files)} photos of 96 x 64, {len(damaged)} damaged", "photos/s", (run.photos_a_second,), remark),
            Row("memory from a tenth to the end of it, greatest over least median", "times", (held,)),
        ]


def _held_over_time(run: Run) -> float:
    """How flat the memory is: of the medians of the last nine tenths of the time, the greatest over the least."""
    values = [held for at, held in run.memory.samples if run.line_seconds[0] < at < run.line_seconds[-1]]
    tenths = np.array_split(np.array(values, np.float64), 10)[1:]
    medians = [float(np.median(part)) for part in tenths if part.size]
    return max(medians) / min(medians) if medians else float("nan")


def _stages(lines: Iterable[str]) -> str:
    """The medians of the stages' milliseconds, over all photos."""
    times: dict[str, list[float]] = {}
    for line in lines:
        for name, milliseconds in (json.loads(line).get("milliseconds") or {}).items():
            times.setdefault(name, []).append(milliseconds)
    return ", ".join(f"{name} {median(values):.0f} ms" for name, values in times.items() if name != "load_model")


def timed(command: Sequence[str], variables: dict[str, str], folder: Path, *, memory: bool = False) -> Run:
    """Run a process, and note when each of its lines comes."""
    sampler = TreeMemory()
    arrivals: list[float] = []
    lines: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        start = time.perf_counter()
        with subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            if memory:
                sampler.watch(process.pid)
            assert process.stdout is not None
            for line in process.stdout:
                arrivals.append(time.perf_counter() - start)
                lines.append(line)
        seconds = time.perf_counter() - start
        errors.seek(0)
        told = tuple(errors.read().splitlines())
    return Run(seconds, tuple(arrivals), tuple(lines), told, process.returncode, sampler)


def _rembg(work: Path, files: Sequence[Path]) -> Callable[[], float]:
    """Seconds of rembg's command on the files, with the U²-Netp of this project. Raises FailedError without it."""
    program = shutil.which("rembg", path=str(Path(sys.executable).parent)) or shutil.which("rembg")
    if program is None:
        raise FailedError("rembg is not installed: leave --peers out")
    home = work / "rembg"
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "nss" / "models" / "weights" / "u2netp.onnx", home / "u2netp.onnx")
    source, out = work / "rembg-in", work / "rembg-out"
    source.mkdir(exist_ok=True)
    for file in files:
        if not (source / file.name).exists():
            (source / file.name).symlink_to(file)
    words = ["i", "-m", "u2netp", str(files[0]), str(work / "rembg.png")]
    if len(files) > 1:
        words = ["p", "-m", "u2netp", str(source), str(out)]
    variables = environment(ROOT, work) | {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}

    def peer() -> float:
        shutil.rmtree(out, ignore_errors=True)
        run = timed([program, *words], variables, work)
        if run.status:
            raise FailedError(f"rembg: {(run.errors or ('failed',))[-1]}")
        return run.seconds

    return peer


def plot(samples: Sequence[tuple[float, int]], path: Path) -> None:
    """Draw memory in MiB over seconds, as SVG."""
    width, height, margin = 720, 320, 48
    last, most = samples[-1][0], max(held for _, held in samples)
    points = " ".join(
        f"{margin + at / last * (width - 2 * margin):.1f},{height - margin - held / most * (height - 2 * margin):.1f}"
        for at, held in samples
    )
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>'
        f'<path d="M{margin} {margin}V{height - margin}H{width - margin}" fill="none" stroke="black"/>'
        f'<text x="{margin}" y="{margin - 10}">{most / 2**20:.0f} MiB</text>'
        f'<text x="{width - margin}" y="{height - margin + 20}" text-anchor="end">{last:.0f} s</text></svg>\n'
    )
    path.write_text(text, encoding="utf-8")


ROWS = ("one", "small", "folder", "batch", "masks", "budget", "adapters", "decoded", "many")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table for each tree; the exit status: 1 where a row has no figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name of the catalogue or an ONNX file")
    parser.add_argument("--backend", choices=("auto", "webgpu", "numpy"), default="auto")
    parser.add_argument("--device", default="", help="as `nss-wgpu remove` takes it")
    parser.add_argument("--precision", choices=("f32", "f16"), default="f32")
    parser.add_argument("--runs", type=int, default=5, help="processes for each figure")
    parser.add_argument("--rows", type=row_names(ROWS), default=["one", "small", "folder"], help=",".join(ROWS))
    parser.add_argument("--photos", type=int, default=48, help="of the batches")
    parser.add_argument("--count", type=int, default=10_000, help="of many")
    parser.add_argument("--tree", type=Path, action="append", help="folders with engine, nss and shaders; this one")
    parser.add_argument("--peers", action="store_true", help="rembg, in turn")
    parser.add_argument("--pictures", type=Path, help="a folder that keeps the photos for the next time")
    parser.add_argument("--plot", type=Path, help="an SVG of the memory of many")
    parser.add_argument("--json", type=Path, help="a file that gets a record for each row, one a line")
    options = parser.parse_args(arguments)
    complete = True
    if Path(options.model).exists():
        options.model = str(Path(options.model).resolve())
    with tempfile.TemporaryDirectory(prefix="files-") as work:
        for index, tree in enumerate(options.tree or [ROOT]):
            bench = Bench(options, tree, Path(work) / str(index), options.pictures or Path(work) / "pictures")
            rows = measure_rows(bench, options.rows, lambda name, why: Row(name, "", remark=why))
            complete = complete and all(row.values for row in rows)
            facts = {"model": Path(options.model).name, "backend": options.backend, "device": options.device}
            facts |= {"precision": options.precision, "tree": commit(tree), **machine()}
            if options.json is not None:
                with options.json.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps({**facts, **asdict(row)}) + "\n" for row in rows)
            title = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
            print(table(title, [f"median of {options.runs}", "", ""], [row.cells for row in rows]), flush=True)
    return 0 if complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
