"""Photos a second of 1 to 1,000 GPUs, from what a photo costs, and what holds them: in closed form, and by events.

    python tools/cluster_scaling.py
    python tools/cluster_scaling.py --mask-only --network IS-Net=20.2 --workers 32 --plot scaling.svg
    python tools/cluster_scaling.py --measure-driver

A photo's time on a core is measured here, with one thread as workers have: read, decoded, handed on, composed, encoded
with its verification, digested and written. A GPU's time for a photo is given, from docs/numbers.md: the whole of it,
copies too. ``--measure-driver`` starts Ray, and counts the driver's own processor time for a block; it is part of
the model where ``--driver-ms`` says it. ``simulated`` is a run event by event (`tools/scaling/events.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import nss  # noqa: E402 (the path comes first)
from nss.arrays import tiles  # noqa: E402
from nss.ray import storage  # noqa: E402
from tools import drawn_photos  # noqa: E402
from tools.scaling.events import simulate  # noqa: E402
from tools.scaling.model import Cluster, PhotoCosts, throughput  # noqa: E402

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
SIMULATED = (1, 8, 64, 512)
"""Of these so many photos for each GPU are simulated, and no fewer than ``FEWEST``."""
PHOTOS_EACH, FEWEST = 60, 3000

BLOCK = 16
"""Photos that a run hands to Ray together."""

LOAD = ("read", "decode", "hand on")
FINISH = ("compose", "encode", "digest", "write")


@dataclass(frozen=True)
class Measured:
    """What a photo costs beside the network: milliseconds by stage, and bytes."""

    milliseconds: dict[str, float]
    read_bytes: float
    written_bytes: float

    def costs(self, infer_ms: float, driver_ms: float) -> PhotoCosts:
        """With a network, and the driver's time for a block."""
        load, finish = (sum(self.milliseconds[stage] for stage in stages) / 1000 for stages in (LOAD, FINISH))
        return PhotoCosts(load, infer_ms / 1000, finish, self.read_bytes, self.written_bytes, driver_ms / 1000 / BLOCK)


def measure(size: tuple[int, int], count: int, *, mask_only: bool) -> Measured:
    """The medians of so many different photos, on one thread, with a disk as storage; the first is not counted."""
    from nss.photos.image_io import load

    composition = nss.Composition(mask_only=mask_only)
    runs: list[dict[str, float]] = []
    sizes: list[tuple[int, int]] = []
    with (
        _one_thread(),
        tempfile.TemporaryDirectory() as folder,
        nss.Remover("u2netp", backend="numpy", quiet=True) as remover,
    ):
        for file in drawn_photos.photos(Path(folder), count + 1, size):
            times: dict[str, float] = {}
            with _timed(times, "read"):
                data = storage.read(str(file))
            with _timed(times, "decode"):
                photo = load(data)
            with _timed(times, "hand on"):  # to the network's process, and from there to whatever finishes it
                pickle.loads(pickle.dumps(photo, pickle.HIGHEST_PROTOCOL))
            cutout = remover.remove(photo)
            picture = cutout.to_bytes("png", composition=composition)
            times |= {stage: cutout.info.milliseconds[stage] for stage in ("compose", "encode")}
            with _timed(times, "digest"):
                hashlib.sha256(picture).hexdigest()
            with _timed(times, "write"):
                storage.put(str(file.with_suffix(".png")), picture)
            runs.append(times)
            sizes.append((len(data), len(picture)))
    counted = runs[1:]
    stages = {stage: median(times[stage] for times in counted) for stage in counted[0]}
    return Measured(stages, median(read for read, _ in sizes), median(written for _, written in sizes))


@contextmanager
def _one_thread() -> Iterator[None]:
    tiles.limit_threads(1)
    try:
        yield
    finally:
        tiles.limit_threads(None)


@contextmanager
def _timed(times: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[stage] = (time.perf_counter() - start) * 1000


def measure_driver(blocks: int) -> float:
    """Milliseconds of the driver's processor time for a block that passes four operators which do nothing."""
    import logging

    import pyarrow as pa
    import ray
    from ray.data import DataContext

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    def passed(count: int) -> float:
        dataset: ray.data.Dataset = ray.data.from_arrow(
            [pa.table({"photo": [b"0" * 1000] * BLOCK}) for _ in range(count)]
        )
        for cpus in (0.11, 0.12, 0.13, 0.14):  # alike, they would become one operator
            dataset = dataset.map_batches(_unchanged, batch_size=None, batch_format="pyarrow", num_cpus=cpus)
        start = time.process_time()
        for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            pass
        return time.process_time() - start

    try:
        few = passed(8)
        return (passed(blocks + 8) - few) * 1000 / blocks
    finally:
        ray.shutdown()


def _unchanged(block: object) -> object:
    return block


def table(networks: dict[str, PhotoCosts], cluster: Cluster) -> Iterator[str]:
    """A row for each number of GPUs; what holds it, where that changes."""
    yield "| GPUs | " + " | ".join(f"{name}, photos/s | held by | simulated" for name in networks) + " |"
    yield "| ---: |" + " ---: | --- | ---: |" * len(networks)
    for gpus in GPUS:
        cells = []
        for costs in networks.values():
            rate, limit = throughput(costs, _of(cluster, gpus))
            simulated = ""
            if gpus in SIMULATED:
                simulated = _figure(simulate(costs, _of(cluster, gpus), max(FEWEST, PHOTOS_EACH * gpus)))
            cells += [_figure(rate), limit, simulated]
        yield f"| {gpus:,} | " + " | ".join(cells) + " |"


def _of(cluster: Cluster, gpus: int) -> Cluster:
    return Cluster(**{**vars(cluster), "gpus": gpus})


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(networks: dict[str, PhotoCosts], cluster: Cluster, path: Path) -> None:
    """Draw photos a second over GPUs, both by powers of ten, as SVG."""
    width, height, margin, colours = 640, 360, 56, ("#1f6feb", "#c2410c", "#15803d", "#7e22ce")
    points = {name: [(n, throughput(costs, _of(cluster, n))[0]) for n in GPUS] for name, costs in networks.items()}
    lowest = 10 ** math.floor(math.log10(min(rate for line in points.values() for _, rate in line)))
    highest = 10 ** math.ceil(math.log10(max(rate for line in points.values() for _, rate in line)))

    def across(gpus: float) -> float:
        return margin + math.log10(gpus) / math.log10(GPUS[-1]) * (width - 2 * margin)

    def up(rate: float) -> float:
        return height - margin - math.log(rate / lowest) / math.log(highest / lowest) * (height - 2 * margin)

    drawn = []
    for tick in range(round(math.log10(highest / lowest)) + 1):
        y = up(lowest * 10**tick)
        drawn.append(f'<path d="M{margin} {y:.1f}H{width - margin}" stroke="#ddd"/>')
        drawn.append(f'<text x="{margin - 6}" y="{y + 4:.1f}" text-anchor="end">{lowest * 10**tick:,}</text>')
    for gpus in (1, 10, 100, 1000):
        drawn.append(f'<text x="{across(gpus):.1f}" y="{height - margin + 18}" text-anchor="middle">{gpus:,}</text>')
    for colour, (name, line) in zip(colours * len(points), points.items(), strict=False):
        where = " ".join(f"{across(gpus):.1f},{up(rate):.1f}" for gpus, rate in line)
        drawn.append(f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn.append(
            f'<text x="{width - margin}" y="{up(line[-1][1]) - 6:.1f}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="12"><rect width="{width}" height="{height}" fill="white"/>{"".join(drawn)}'
        f'<text x="{margin}" y="{margin - 16}">photos a second</text>'
        f'<text x="{width - margin}" y="{height - margin + 36}" text-anchor="end">GPUs</text></svg>\n',
        encoding="utf-8",
    )


def _network(text: str) -> tuple[str, float]:
    name, _, milliseconds = text.partition("=")
    return name, float(milliseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", action="append", type=_network, metavar="NAME=MS", help="a GPU's time for a photo, copies too"
    )
    parser.add_argument("--size", default="4000x3000", help="of the photos, in pixels (%(default)s)")
    parser.add_argument("--photos", type=int, default=5, help="how many are measured (%(default)s)")
    parser.add_argument("--mask-only", action="store_true", help="outputs are masks, not cut-outs")
    parser.add_argument("--workers", type=int, default=16, help="cores for each GPU (%(default)s)")
    parser.add_argument("--read-gb", type=float, default=10.0, help="GB/s from the storage (%(default)s)")
    parser.add_argument("--write-gb", type=float, default=10.0, help="GB/s to it (%(default)s)")
    parser.add_argument("--reads", type=float, default=5500, help="requests to read, a second (%(default)s)")
    parser.add_argument("--writes", type=float, default=3500, help="requests to write, a second (%(default)s)")
    parser.add_argument("--latency-ms", type=float, default=50, help="of each request (%(default)s)")
    parser.add_argument("--driver-ms", type=float, default=0, help="the driver's time for a block (%(default)s)")
    parser.add_argument("--measure-driver", action="store_true", help="measure that, and no more")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as SVG")
    options = parser.parse_args(arguments)
    if options.measure_driver:
        print(f"the driver: {measure_driver(100):.1f} ms of its processor for a block of {BLOCK} photos")
        return 0
    width, height = map(int, options.size.split("x"))
    measured = measure((width, height), options.photos, mask_only=options.mask_only)
    stages = ", ".join(f"{name} {ms:.3g}" for name, ms in measured.milliseconds.items())
    sizes = f"{measured.read_bytes / 1e6:.3g} MB read, {measured.written_bytes / 1e6:.3g} MB written"
    print(f"a photo of {width * height / 1e6:.3g} megapixels on a core, in ms: {stages}; {sizes}\n")
    latency = options.latency_ms / 1000
    cluster = Cluster(
        gpus=1,
        workers=options.workers,
        read_bytes_s=options.read_gb * 1e9,
        written_bytes_s=options.write_gb * 1e9,
        reads_s=options.reads,
        writes_s=options.writes,
        read_latency_s=latency,
        write_latency_s=latency,
    )
    given = dict(options.network or [("IS-Net", 20.2), ("Swin-L", 43.7)])
    networks = {name: measured.costs(infer_ms, options.driver_ms) for name, infer_ms in given.items()}
    for line in table(networks, cluster):
        print(line)
    if options.plot:
        plot(networks, cluster, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
