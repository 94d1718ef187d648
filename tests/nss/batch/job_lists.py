"""What the tests of the work list read of its jobs."""

from __future__ import annotations

from pathlib import Path

from nss.batch.planning import Job


def pairs(jobs: list[Job]) -> list[tuple[str, str]]:
    """Source and target of jobs that are fit to be done."""
    assert [job for job in jobs if job.error or job.skipped] == []
    return [(job.name, Path(job.target_name).as_posix()) for job in jobs]


def sources(jobs: list[Job]) -> list[str]:
    return [Path(job.name).as_posix() for job in jobs if job.error is None]


def errors(jobs: list[Job]) -> list[str]:
    return [str(job.error) for job in jobs if job.error]
