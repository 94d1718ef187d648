"""Stages and a report that the tests of the pipeline share."""

from __future__ import annotations

import random
import time
from typing import Any

WORKERS = (1, 2, 5)


def identity(_: Any, value: Any) -> Any:
    return value


class Reports(list):
    """Hears what became of each job: a list of (job, result), errors as their text."""

    def __call__(self, job: Any, result: Any) -> None:
        self.append((job, str(result) if isinstance(result, Exception) else result))


def nap(seed: object) -> None:
    time.sleep(random.Random(str(seed)).random() * 0.004)
