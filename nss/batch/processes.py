"""Whether a batch is worked on by processes, and these started: before anything is imported that takes long.

Threads of one process get in each other's way: large arrays come and go in one address space, and calls of NumPy meet
at the interpreter's lock. On 16 cores processes do twice as much; on 2 they do no more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import engine
from nss import pipes
from nss.errors import UsageError, quoted
from nss.files import output_file
from nss.photos import codec_messages
from nss.workers import process
from nss.workers.pool import WorkerPool

if TYPE_CHECKING:
    from nss.batch.planning import Job

VARIABLE = "NSS_BATCH_WORKERS"
"""The environment variable that settles it, for measurements and tests: "processes" or "threads"."""

FEWEST_CORES = 4
"""Below, threads do as much."""

BYTES_A_CORE = 3 << 20
"""Bytes of photo files a core from which on processes are begun.

A core does the host's part of 5 MB of JPEG (12 megapixels) in about a second. That of this much takes threads, which
get half of what the cores could do, a second, and the start of processes, half of one on a core each, is paid.
"""

BASE_BYTES = 32 << 20
"""Memory that a worker takes before it has a photo: 25 MB (PSS), measured with tools/worker_start.py."""

IMPORTS = (
    "nss.batch.process_work",
    "nss.batch.outputs",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "nss.files.verify",
)
"""What a worker imports while the network is opened."""


BASE_SHARE = 4
"""Of the memory that photos in work may take, workers get at most one part in so many before they have any."""


def process_count(jobs: Sequence[Job], workers: int, memory: int) -> int:
    """How many processes are to work on the jobs; 0: threads.

    Args:
        jobs: all of them.
        workers: how many are at work at a time.
        memory: bytes that they may take.

    Raises:
        UsageError: the environment variable has another value.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish not in ("", "processes", "threads"):
        raise UsageError(f"{VARIABLE}={quoted(wish)}: processes and threads are possible")
    crossing = [job for job in jobs if job.error is None and not job.skipped and can_cross(job)]
    if wish == "threads" or workers < 2 or not crossing or not process.supported():
        return 0
    if wish == "processes":
        return min(workers, len(crossing))
    if engine.available_cores() < FEWEST_CORES or len(crossing) <= workers:
        return 0
    wanted = workers * BYTES_A_CORE
    for job in crossing:
        assert job.source is not None
        wanted -= _size(job.source)
        if wanted <= 0:
            count = min(workers, memory // (BASE_SHARE * BASE_BYTES))
            return count if count > 1 else 0
    return 0


def start_pool(count: int) -> WorkerPool:
    """Workers for a `nss.batch.process_work.ProcessWork`. Raises OSError where none can be started."""
    return WorkerPool(count, imports=IMPORTS, tell=codec_messages.tell, tidy=_tidy)


def can_cross(job: Job) -> bool:
    """Whether another process can read the photo, and write the file: regular files, as names lead to them."""
    if job.source is None or job.target is None:
        return False
    return not (
        pipes.is_pipe(job.source)
        or output_file.descriptor_of(job.source) is not None
        or output_file.is_special(job.target)
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # as its turn will say
        return 0


def _tidy(job: Job, dead: process.WorkerProcess) -> None:
    if job.target is not None:
        output_file.clear_up(job.target, dead.mark, dead.announced)
