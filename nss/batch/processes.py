"""Whether photos are worked on by processes, and these started: before anything is imported that takes long.

Threads of one process get in each other's way: large arrays come and go in one address space, and calls of NumPy meet
at the interpreter's lock. On 16 cores processes do twice as much; on 2 they do no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engine
from nss import pipes
from nss.errors import UsageError, quoted
from nss.files import output_file
from nss.photos import codec_messages
from nss.workers import process
from nss.workers.pool import BLOCKS, WorkerPool

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
"""Memory that a worker takes before it has a photo: 25 MB (PSS), measured with tools/workers.py."""

IMPORTS = (
    "nss.workers.host_photos",
    "nss.batch.stages",
    "nss.batch.outputs",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "nss.files.verify",
)
"""What a worker imports while the network is opened."""


SPARE_DESCRIPTORS = 256
"""Open files that workers leave to all else: photos, models in shards, drivers."""

WORKER_DESCRIPTORS = 4
"""Of a worker, beside one for each of its blocks, while it is started: both ends of two pipes."""

BASE_SHARE = 4
"""Of the memory that photos in work may take, workers get at most one part in so many before they have any."""


def process_count(jobs: Sequence[Job], at_once: int | None, memory: int) -> int:
    """How many processes are to work on the jobs; 0: threads.

    Args:
        jobs: all of them.
        at_once: how many are in work at a time, where the user says so.
        memory: bytes that they may take.

    Raises:
        UsageError: the environment variable has another value.
    """
    wish = _wish()
    crossing = [job for job in jobs if job.error is None and not job.skipped and can_cross(job)]
    cores = engine.available_cores()
    count = min(cores if at_once is None else at_once, cores, len(crossing))
    if wish == "threads" or at_once == 1 or not count or not process.supported():
        return 0
    if wish == "processes":
        return count
    if cores < FEWEST_CORES or len(crossing) <= count:
        return 0
    wanted = count * BYTES_A_CORE
    for job in crossing:
        assert job.source is not None
        wanted -= _size(job.source)
        if wanted <= 0:
            return _within_memory(count, memory)
    return 0


def server_count(at_once: int | None, memory: int) -> int:
    """The same for a server, whose photos are to come: nobody knows how many; 0: threads.

    Args:
        at_once: how many are in work at a time, where the user says so.
        memory: bytes that they may take.

    Raises:
        UsageError: the environment variable has another value.
    """
    wish = _wish()
    cores = engine.available_cores()
    if wish == "threads" or at_once == 1 or not process.supported():
        return 0
    count = cores if at_once is None else min(at_once, cores)
    if wish == "processes":
        return count
    return _within_memory(count, memory) if cores >= FEWEST_CORES else 0


def are_wished() -> bool:
    """Whether the environment variable has all photos go to processes, also those that threads would be quicker with.

    Raises UsageError where it has another value.
    """
    return _wish() == "processes"


def _wish() -> str:
    """What the environment variable says, "" where it says nothing."""
    wish = os.environ.get(VARIABLE, "")
    if wish not in ("", "processes", "threads"):
        raise UsageError(f"{VARIABLE}={quoted(wish)}: processes and threads are possible")
    return wish


def _within_memory(count: int, memory: int) -> int:
    """How many workers may begin to take of the memory; 0 where they are too few to be of use."""
    count = min(count, memory // (BASE_SHARE * BASE_BYTES))
    return count if count > 1 else 0


def photos_at_once(processes: int) -> int:
    """How many photos are to be in work at a time, for these processes to have something to do.

    The second half of a photo is for the process that has done the first, which may be at another one. With as many
    photos as processes a quarter of these have nothing to do, with half as many more a twentieth (simulated, with the
    stages of cut-outs of 12 megapixels on 16 cores).
    """
    return -(-3 * processes // 2)


def start_pool(
    count: int,
    at_once: int,
    *,
    imports: Sequence[str] = (),
    tidy: Callable[[Any, process.WorkerProcess], object] | None = None,
) -> WorkerPool:
    """Workers for `nss.workers.host_photos.WorkerStages`, as many as the limit of open files leaves room for.

    That limit is raised as far as it may be.

    Args:
        count: how many.
        at_once: how many photos are in work at a time.
        imports: what each imports beside `IMPORTS`.
        tidy: see `nss.workers.pool.WorkerPool`; by default for a `Job`, whose temporary file it removes.

    Raises:
        OSError: none can be started.
    """
    # as many are loaded ahead of the network, and behind it, and some are in it
    blocks = max(BLOCKS, -(-3 * at_once // count))
    count = _within_descriptors(count, blocks + WORKER_DESCRIPTORS)
    return WorkerPool(count, imports=(*IMPORTS, *imports), blocks=blocks, tell=codec_messages.tell, tidy=tidy or _tidy)


def _within_descriptors(count: int, each: int) -> int:
    """How many of ``count`` workers, of ``each`` descriptors, leave enough of them; at least one."""
    import resource  # which Windows lacks, as it does the workers

    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count * each + SPARE_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(OSError, ValueError):  # a system may refuse what it says is possible
            raised = wanted if highest == resource.RLIM_INFINITY else min(wanted, highest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, highest))
            limit = raised
        count = min(count, (limit - SPARE_DESCRIPTORS) // each)
    return max(1, count)


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
