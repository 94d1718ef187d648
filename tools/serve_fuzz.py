"""Send `nss-wgpu serve` requests that are hostile, and see that it answers or closes each, and is well behind them.

    python tools/serve_fuzz.py [--requests N | --seconds S] [--seed N] [--connections N]
    python tools/serve_fuzz.py --seed 7 --case 1234

A case is what one connection sends, the same for the same seed and number: methods, targets, headers and fields that
no server was made for; bodies that are damaged, bombs, in broken chunks, slow or cut; requests within bodies and behind
each other; streams of events that are dropped. The server has a small network and small limits (`serve_child.py`).

A fault is a 5xx that is no 503 (nor the 501 of an unknown Transfer-Encoding), an answer that is none of HTTP or of the
interface, a success where it was forbidden, more answers than requests, a connection that is neither answered nor
closed in a time that follows from the server's limits, a `/healthz` that is late meanwhile; and afterwards another
picture than before, files or memory that do not come back, a traceback on standard error, or an end by SIGTERM with
another status than 0. The exit status is 1 where there was one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import onnx  # noqa: E402 - found once the folder is on the path

from tools.fuzzing import image_seeds, onnx_seeds  # noqa: E402
from tools.processes import environment  # noqa: E402
from tools.serving.client import BrokenAnswerError  # noqa: E402
from tools.serving.hostile import make  # noqa: E402
from tools.serving.metrics import memory_in_use  # noqa: E402
from tools.serving.server import Server, StartError  # noqa: E402
from tools.serving.siege import Siege, faults_of  # noqa: E402

STALL_S = 1.0
"""How long an upload may bring nothing to the server that is tried."""

SHOWN = 40
SPARE_DESCRIPTORS = 4
SPARE_MEMORY = 64 << 20
UNWANTED = ("Traceback", "Exception", "never retrieved", "never awaited", "was destroyed", "ResourceWarning", "Error:")
"""What must not be in what the server says."""


def started(folder: Path, stall: float = STALL_S) -> Server:
    """A server with a small network and small limits."""
    onnx.save(onnx_seeds.mask_network(), folder / "small.onnx")
    program = str(Path(__file__).with_name("serve_child.py"))
    command = [sys.executable, "-P", program, str(folder / "small.onnx"), "--stall", str(stall)]
    return Server(command, folder, environment(ROOT, folder))


async def besiege(
    siege: Siege, numbers: itertools.count[int] | range, connections: int, seconds: float | None
) -> list[str]:
    """Send the cases, between two looks at the server; the faults."""
    server = siege.server
    before = await _picture(server)
    descriptors, memory = server.descriptors(), server.resident()
    outcome = await siege.run(iter(numbers), connections, seconds)
    faults = [*outcome.faults]
    try:
        faults += await _forget_jobs(server)
        if await _picture(server) != before:
            faults.append("afterwards: another picture than before")
    except (BrokenAnswerError, TimeoutError) as error:
        faults.append(f"afterwards: {type(error).__name__}: {error}")
    until = time.monotonic() + siege.bound
    while len(left := server.descriptors()) > len(descriptors) + SPARE_DESCRIPTORS and time.monotonic() < until:
        await asyncio.sleep(0.2)
    if len(left) > len(descriptors) + SPARE_DESCRIPTORS:
        more = Counter(left) - Counter(descriptors)
        faults.append(f"afterwards: {len(left)} descriptors are open, and were {len(descriptors)}: {dict(more)}")
    _, middle, last = siege.memory.thirds()
    if server.resident() > max(memory, 1.1 * middle) + SPARE_MEMORY:
        held = " / ".join(f"{value / 2**20:.0f}" for value in (memory, middle, last, server.resident()))
        faults.append(f"afterwards: memory in MiB, before, in the middle, at the end, behind: {held}")
    return faults


async def _picture(server: Server) -> bytes:
    """What the server makes of a sound photo. Raises BrokenAnswerError where that is no picture."""
    for _ in range(20):
        async with asyncio.timeout(60):
            answer = await server.connection().request("POST", "/api/v1/remove", image_seeds.seeds()["png"])
        if answer.status != 503:
            break
        await asyncio.sleep(0.5)
    if answer.status != 200:
        raise BrokenAnswerError(f"{answer.status} for a sound photo: {answer.body[:300]!r}")
    return answer.body


async def _forget_jobs(server: Server) -> list[str]:
    """Delete what jobs there are; they must be gone then."""
    connection = server.connection()
    async with asyncio.timeout(60):
        for job in (await connection.request("GET", "/api/v1/jobs")).json()["jobs"]:
            await connection.request("DELETE", f"/api/v1/jobs/{job['id']}")
        left = (await connection.request("GET", "/api/v1/jobs")).json()["jobs"]
        while memory_in_use(metrics := (await connection.request("GET", "/metrics")).body.decode(), "work"):
            await asyncio.sleep(0.1)  # what clients left behind is still in work
    connection.close()
    faults = [f"afterwards: jobs were deleted, and are there: {left}"] if left else []
    return faults + memory_in_use(metrics, "work", "kept")


def ending_faults(server: Server) -> list[str]:
    """End the server, and say what is wrong with that, or with what it has said."""
    try:
        status = server.stop(30)
    except subprocess.TimeoutExpired:
        return ["it did not end within half a minute of SIGTERM"]
    faults = [f"it ended with status {status}"] if status else []
    lines = server.said().splitlines()
    return faults + [f"it has said: {line}" for line in lines if any(word in line for word in UNWANTED)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--requests", type=int, default=10_000)
    length.add_argument("--seconds", type=float, help="as many as there are in this time")
    length.add_argument("--case", type=int, help="this one alone, with what came back")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--connections", type=int, default=24, help="at a time")
    parser.add_argument("--stall", type=float, default=STALL_S, help="how long an upload may bring nothing, in seconds")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="siege-") as folder, started(Path(folder), options.stall) as server:
        siege = Siege(server, seed=options.seed, bound=3 * options.stall + 15, healthy=5.0)
        if options.case is not None:
            faults = asyncio.run(_one(siege, options.case))
        else:
            numbers = range(options.first, options.first + options.requests)
            many = itertools.count(options.first) if options.seconds else numbers
            faults = asyncio.run(besiege(siege, many, options.connections, options.seconds))
            print(report(siege, options.seed))
        faults += ending_faults(server)
    print("\n".join([f"{len(faults)} faults" if faults else "no fault", *faults[:SHOWN]]))
    return 1 if faults else 0


def report(siege: Siege, seed: int) -> str:
    """What was sent, and what came back."""
    outcome = siege.outcome
    answers = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()))
    slowest, number = outcome.slowest
    memory = " / ".join(f"{held / 2**20:.0f}" for held in siege.memory.thirds())
    return (
        f"{sum(outcome.counts.values())} cases, seed {seed}, {outcome.seconds:.0f} s: {answers}\n"
        f"the slowest took {slowest:.1f} s (case {number}); /healthz at most {max(outcome.probes, default=0):.2f} s; "
        f"memory by thirds of the time, MiB: {memory}"
    )


async def _one(siege: Siege, number: int) -> list[str]:
    case = make(siege.seed, number)
    for data, pause in case.pieces:
        print(f"send {len(data)} bytes, wait {pause:g} s: {data[:2000]!r}")
    print(f"then: {case.ending}")
    result = await siege.send(case)
    for head, body in result.answers:
        print(f"{head.status} {dict(head.headers)}\n{body[:1000]!r}")
    print(f"{result.seconds:.2f} s; {result.malformed or 'well formed'}; {'open' if result.is_open else 'closed'}")
    return list(faults_of(case, result))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except StartError as error:
        raise SystemExit(f"no server: {error}") from None
