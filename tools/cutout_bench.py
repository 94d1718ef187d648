"""What the command costs around the network: one large photo with every refinement, and a long batch.

``python tools/cutout_bench.py --photo`` runs ``nss-wgpu remove`` on a photo of 24 megapixels with a mask that is given,
and prints the time of each stage, the whole, and the peak memory of the process. ``--batch N`` runs it over N small
photos, one at a time and overlapped, and prints throughput and how memory goes over the batch. Nothing is stored: the
photos are drawn from a seed, into a directory that goes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[1]

REFINEMENTS = (
    *("--guided", "18", "--black", "0.03", "--white", "0.97", "--drop-islands", "400", "--fill-holes", "400"),
    *("--smooth", "1.5", "--expand", "-0.5", "--feather", "0.7", "--decontaminate", "1"),
)


def scene(width: int, height: int, seed: int) -> tuple[Image.Image, Image.Image]:
    """A photo and its mask: a body with hair, specks and pinholes, before a background of another colour.

    The body takes a third of the picture, its edge is three pixels soft, and everything carries noise as a sensor
    gives it.
    """
    rng = np.random.default_rng(seed)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    centre, radii = np.array([width / 2, height * 0.55]), np.array([width * 0.28, height * 0.37])
    draw.ellipse([*(centre - radii), *(centre + radii)], fill=255)
    for angle in rng.uniform(np.pi, 2 * np.pi, 600):
        root = centre + radii * [np.cos(angle), np.sin(angle)]
        reach = np.linspace(0, rng.uniform(0.02, 0.12), 8)
        turned = angle + rng.normal(0, 2) * reach
        line = root + height * reach[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)
        draw.line([tuple(point) for point in line], fill=255, width=int(rng.integers(1, 4)))
    for value, spread in ((255, 1.0), (0, 0.25)):
        for x, y in rng.uniform(-spread, spread, (150, 2)) * radii * 0.9 + centre:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=value)
    mask = mask.filter(ImageFilter.GaussianBlur(1.2))
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    photo = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 256):
        rows = slice(top, min(top + 256, height))
        size = (rows.stop - rows.start, width, 1)
        ramp = np.linspace(-25, 25, width, dtype=np.float32)[:, None]
        body, behind = np.array([176, 138, 120]) + ramp, np.array([60, 150, 70]) - ramp
        mixed = body * alpha[rows] + behind * (1 - alpha[rows]) + rng.normal(0, 3, size).astype(np.float32)
        photo[rows] = np.clip(mixed, 0, 255)
    return Image.fromarray(photo), mask


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    seconds: float
    peak_mib: float
    records: list[dict[str, object]]
    memory_mib: list[float]


def run(*arguments: object) -> Run:
    """``nss-wgpu remove`` in a process of its own, watched."""
    command = [sys.executable, "-m", "nss", "remove", "--json", "--quiet", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, env=environment)
        memory: list[float] = []
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            memory.append(_resident(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the command ended with status {process.returncode}")
        output.seek(0)
        records = [json.loads(line) for line in output.read().splitlines()]
    return Run(seconds, usage.ru_maxrss / 1024, records, memory)


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def photo_table(folder: Path, runs: int, formats: Sequence[str]) -> None:
    """A markdown table for one photo of 24 megapixels: the stages, as medians of the runs."""
    image, mask = scene(6000, 4000, seed=1)
    image.save(folder / "photo.jpg", quality=92)
    mask.save(folder / "mask.png", compress_level=1)
    for format_ in formats:
        target = folder / f"out.{format_}"
        outcomes = [
            run(folder / "photo.jpg", "--mask", folder / "mask.png", "-o", target, "--overwrite", *REFINEMENTS)
            for _ in range(runs)
        ]
        stages = [record["milliseconds"] for one in outcomes for record in one.records]
        print(f"\n6000 x 4000, {format_}, {target.stat().st_size / 2**20:.1f} MiB, median of {runs} runs\n")
        print("| stage | s |\n| --- | ---: |")
        for name in stages[0]:  # type: ignore[attr-defined]
            print(f"| {name} | {statistics.median(s[name] for s in stages) / 1000:.2f} |")  # type: ignore[index]
        print(f"| whole command | {statistics.median(one.seconds for one in outcomes):.2f} |")
        print(f"\npeak memory of the process: {max(one.peak_mib for one in outcomes):.0f} MiB")


def batch_table(folder: Path, count: int, runs: int) -> None:
    """Throughput one by one and overlapped, and memory over the batch."""
    photos, masks, out = (folder / name for name in ("photos", "masks", "out"))
    for directory in (photos, masks, out):
        directory.mkdir()
    image, mask = scene(1600, 1200, seed=2)
    for number in range(count):
        image.save(photos / f"{number:04}.jpg", quality=92)
        mask.save(masks / f"{number:04}.png", compress_level=1)
    options = (photos, "--mask", masks, "-o", out, "--overwrite")
    rows: dict[str, list[Run]] = {}
    for _ in range(runs):
        for title, more in (("one by one", ("--jobs", 1)), ("overlapped", ())):
            for what, refinements in (("cut-out", ()), ("cut-out, refined", REFINEMENTS)):
                rows.setdefault(f"{title}, {what}", []).append(run(*options, *more, *refinements))
    print(f"\n{count} photos of 1600 x 1200 with a mask given, median of {runs} runs\n")
    print("| | s | images/s | peak MiB | MiB in the first quarter | in the last |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, outcomes in rows.items():
        seconds = statistics.median(one.seconds for one in outcomes)
        memory = outcomes[-1].memory_mib
        quarter = max(1, len(memory) // 4)
        first, last = max(memory[:quarter]), max(memory[-quarter:])
        peak = max(one.peak_mib for one in outcomes)
        print(f"| {title} | {seconds:.1f} | {count / seconds:.1f} | {peak:.0f} | {first:.0f} | {last:.0f} |")


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", action="store_true", help="one photo of 24 megapixels with every refinement")
    parser.add_argument("--formats", nargs="+", default=["png"], help="formats to write it in")
    parser.add_argument("--batch", type=int, metavar="N", help="a batch of N photos")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.photo:
            photo_table(Path(folder), arguments.runs, arguments.formats)
        if arguments.batch:
            batch_table(Path(folder), arguments.batch, arguments.runs)


if __name__ == "__main__":
    main()
