"""What a cluster costs on one machine: the same photos by the batch and by a Ray that is started for them.

    python tools/cluster_overhead.py [--counts 20,60] [--model u2netp] [--side 1000]

Both are whole commands, on NumPy, and the seconds are those that each says of itself: a cluster's are without Ray's
start, which stands beside them. What grows with the photos is told from what does not by two counts, and from both
follows what 500 photos would take.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MANY = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", default="20,60", metavar="FEW,MORE")
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--side", type=int, default=1000, metavar="PX")
    options = parser.parse_args()
    few, more = map(int, options.counts.split(","))
    with tempfile.TemporaryDirectory() as folder:
        times: dict[str, list[float]] = {}
        for count in (few, more):
            photos = Path(folder) / f"{count}"
            write_photos(photos, count, options.side)
            for where, extra in (("batch", ["--parents"]), ("cluster", ["--on", "ray"])):
                out = Path(folder) / f"{where}-{count}"
                seconds, ready = run([str(photos), "-o", str(out), "--model", options.model, *extra])
                times.setdefault(where, []).append(seconds)
                start = f", and Ray's start {ready:.1f} s before" if ready else ""
                print(f"{where}: {count} photos in {seconds:.1f} s{start}", flush=True)
    many = {}
    for where, (of_few, of_more) in times.items():
        each = (of_more - of_few) / (more - few)
        many[where] = of_few + each * (MANY - few)
        print(f"{where}: {1000 * each:.0f} ms a photo, {of_few - each * few:.1f} s beside; {MANY}: {many[where]:.0f} s")
    print(f"{MANY} photos: {100 * (many['cluster'] / many['batch'] - 1):+.1f} %")


def write_photos(folder: Path, count: int, side: int) -> None:
    """Photos of ``side`` × ``side`` pixels, each a little different."""
    folder.mkdir()
    with Image.open(ROOT / "examples" / "astronaut.png") as example:
        picture = example.convert("RGB")
        for index in range(count):
            picture.rotate(index % 7).resize((side, side)).save(folder / f"{index:04}.jpg", quality=92)


def run(arguments: list[str]) -> tuple[float, float]:
    """The seconds that the command says of itself, and those of Ray's start, 0 without."""
    command = [sys.executable, "-m", "nss", "remove", *arguments, "--backend", "numpy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    summary = re.findall(r" in ([\d.]+) s(?: \(|$)", done.stderr)
    ready = re.findall(r"Ray is ready, after ([\d.]+) s", done.stderr)
    return float(summary[-1]), float(ready[-1]) if ready else 0.0


if __name__ == "__main__":
    main()
