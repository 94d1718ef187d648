"""What worker processes cost and bring: their start and memory, and a batch by threads and by processes, in turn.

    python tools/workers.py [--count 4] [--runs 5]                  the start alone
    python tools/workers.py PHOTOS [OPTION ...]                     `nss-wgpu remove PHOTOS OPTION ...` both ways, too

``start`` is from the first process to the last that has imported all it needs, while nothing else is done; ``cpu`` is
of one of them, and ``memory`` its proportional share (PSS), before it has seen a photo. A batch is timed as a whole
command, with the processor time of all its processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nss.batch import processes  # noqa: E402 - found once the folder is on the path
from nss.workers.process import WorkerProcess  # noqa: E402
from tools.timing import table  # noqa: E402


def start(count: int) -> tuple[float, float, float]:
    """Seconds until ``count`` workers are ready, processor seconds of one, and the MB (PSS) that one takes."""
    begin = time.perf_counter()
    workers = [WorkerProcess(1, processes.IMPORTS) for _ in range(count)]
    try:
        for worker in workers:
            worker.wait_until_ready()
        seconds = time.perf_counter() - begin
        stat = Path(f"/proc/{workers[0].pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        lines = Path(f"/proc/{workers[0].pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        (pss,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    finally:
        for worker in workers:
            worker.close()
    return seconds, cpu, pss / 1024


def batch(how: str, arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a whole command."""
    with tempfile.TemporaryDirectory(dir=Path(arguments[0]).resolve().parent) as folder:
        command = [sys.executable, "-m", "nss", "remove", *arguments, "-o", folder, "--quiet"]
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            command, check=True, env={**os.environ, processes.VARIABLE: how, "PYTHONPATH": str(ROOT)}, text=True
        )
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    options, arguments = parser.parse_known_args()
    starts = [start(options.count) for _ in range(options.runs)]
    rows = [[str(options.count), *(f"{median(values):.2f}" for values in zip(*starts, strict=True))]]
    print(table("start", ("workers", "start, s", "cpu of one, s", "memory of one, MB"), rows))
    if not arguments:
        return
    times: dict[str, list[tuple[float, float]]] = {"threads": [], "processes": []}
    for _ in range(options.runs):
        for how, values in times.items():
            values.append(batch(how, arguments))
    rows = [[how, *(f"{min(column):.2f}" for column in zip(*values, strict=True))] for how, values in times.items()]
    print()
    print(table("a batch", ("by", "command, s (least)", "processor, s (least)"), rows))


if __name__ == "__main__":
    main()
