"""Stages and a report that the tests of the pipeline share."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from nss.pipeline.lanes import CallLane
from nss.pipeline.pipeline import Pipeline
from nss.pipeline.stop import Stop

WORKERS = (1, 2, 5)


def identity(_: Any, value: Any) -> Any:
    return value


class Reports(list):
    """Hears what became of each job: a list of (job, result), errors as their text."""

    def __call__(self, job: Any, result: Any) -> None:
        self.append((job, str(result) if isinstance(result, Exception) else result))


def nap(seed: object) -> None:
    time.sleep(random.Random(str(seed)).random() * 0.004)


def work_through(
    load: Callable[..., Any],
    infer: Callable[..., Any],
    finish: Callable[..., Any],
    report: Callable[..., object],
    jobs: Iterable[Any],
    *,
    workers: int,
    stop: Stop | None = None,
) -> None:
    """A pipeline with one lane, run."""
    Pipeline(load, [CallLane(infer)], finish, workers=workers).run(jobs, report, stop)


def pipeline_threads() -> list[threading.Thread]:
    """Those that live."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("nss-pipeline-")]
