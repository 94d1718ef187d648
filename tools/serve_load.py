"""`nss-wgpu serve` under load: clients at once, photos that are bad, clients that leave, and every answer checked.

    python tools/serve_load.py [--photos 2000] [--clients 16] [--model u2netp] [--seed 0] [--server="OPTIONS"]

One photo in fifty is damaged, one too large (by its bytes and by its pixels in turn), and of one in fifty the client
leaves early: within the body, behind it, within the answer, or within a job's events. The rest are whole requests and
jobs with their events, in several formats and with several options. A picture must be, byte for byte, what the library
gives for the same photo and options; a damaged photo gets 422, a large one 413; a 503 is tried again after the time
that it says. At the end the server's list of jobs, its stream of events and its metrics must agree with what was done,
and it must end by SIGTERM with status 0.

Prints the latencies by kind, the server's memory by thirds of the time (the last must be that of the middle, to a
tenth and 8 MiB), and what the client took of the cores. The exit status is 1 where anything was not as documented.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.cores import available_cores  # noqa: E402 - found once the folder is on the path
from nss.batch.processes import VARIABLE  # noqa: E402
from nss.removal.remover import Remover  # noqa: E402
from tools.processes import environment  # noqa: E402
from tools.serving.latencies import HEADS, percentiles  # noqa: E402
from tools.serving.load import Load, Outcome  # noqa: E402
from tools.serving.photos import Library, photos  # noqa: E402
from tools.serving.plan import EVERY, plan  # noqa: E402
from tools.serving.server import Server, StartError  # noqa: E402
from tools.start import machine  # noqa: E402
from tools.timing import table  # noqa: E402

DIFFERENT = 40
"""Photos that differ; the library computes each with each of what is asked for once."""

SERVER = "--max-bytes 4M --queue 12"
"""A photo that is too large is sent whole, and there are fewer places than clients, so that some get a 503."""

SHOWN = 20


def command(*options: object) -> list[str]:
    """The command that serves, by this tree's files, at any port that is free."""
    return [sys.executable, "-P", "-m", "nss", "serve", "--port", "0", *map(str, options)]


def variables(folder: Path) -> dict[str, str]:
    """Its environment, with whether processes are to work; what it remembers lies in ``folder``."""
    workers = {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
    return environment(ROOT, folder) | workers


def memory_faults(outcome: Outcome) -> list[str]:
    """Whether memory has grown from the middle of the run to its end."""
    _, middle, last = outcome.memory.thirds()
    if last > 1.1 * middle + (8 << 20):
        return [f"memory grows: {middle / 2**20:.0f} MiB in the middle third, {last / 2**20:.0f} MiB in the last"]
    return []


def report(outcome: Outcome, clients: int) -> str:
    """The tables of a run."""
    done = sum(outcome.counts.values())
    title = f"{done} photos, {clients} clients, {outcome.seconds:.0f} s: {done / outcome.seconds:.2f} photos a second"
    counted = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()))
    cores = outcome.seconds * available_cores()
    rows = [[kind, str(len(seconds)), *percentiles(seconds)] for kind, seconds in sorted(outcome.latencies.items())]
    memory = " / ".join(f"{held / 2**20:.0f}" for held in outcome.memory.thirds())
    return "\n".join(
        [
            table(title, ["kind", "answers", *HEADS], rows),
            "",
            f"came of them: {counted}; {outcome.retries} answers of 503, tried again",
            f"server's memory by thirds of the time, MiB: {memory}",
            f"of {available_cores()} cores the server took {outcome.server_cpu / cores:.1%}, "
            f"the clients {outcome.client_cpu / cores:.1%}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000, help="steps in all")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--different", type=int, default=DIFFERENT, help="photos that differ")
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=EVERY, help="one photo in so many is bad in each way")
    parser.add_argument("--server", default=SERVER, help=f"further options of `nss-wgpu serve` (default: {SERVER})")
    options = parser.parse_args(arguments)
    words = command("--model", options.model, "--backend", options.backend, *shlex.split(options.server))
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        work = Path(folder)
        with Remover(options.model, backend=options.backend, quiet=True) as remover:
            sound = photos(options.seed, options.different)
            library = Library(remover, sound)
            steps = plan(sound, library, options.photos, options.seed, every=options.every)
            library.compute(steps.pairs())
        facts = ", ".join(f"{name} {value}" for name, value in {**machine(), "seed": options.seed}.items())
        print(f"{facts}\n{shlex.join(words[2:])}", flush=True)
        with Server(words, work, variables(work)) as server:
            outcome = asyncio.run(Load(server, steps, library).run(options.clients))
            faults = [*outcome.faults, *memory_faults(outcome), *ending_faults(server)]
    print(report(outcome, options.clients))
    print("\n".join([f"{len(faults)} faults" if faults else "nothing lost, nothing wrong", *faults[:SHOWN]]))
    return 1 if faults else 0


def ending_faults(server: Server) -> list[str]:
    """End the server, and say what is wrong with that, or with what it has said."""
    try:
        status = server.stop()
    except subprocess.TimeoutExpired:
        return ["the server did not end within a minute of SIGTERM"]
    faults = [f"the server ended with status {status}"] if status else []
    said = server.said()
    return [*faults, *(f"it has said: {line}" for line in said.splitlines() if "Traceback" in line or "Error" in line)]


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except StartError as error:
        raise SystemExit(f"no server: {error}") from None
