"""What clients do to a server, one after the other, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from tools.serving.photos import ORDERS, Library, Photo, damaged, too_many_pixels

EVERY = 50
"""One photo in so many is damaged, one too large, and one client in so many leaves early."""

Way = Literal["remove", "job"]
Fault = Literal["", "damaged", "bytes", "pixels", "half", "sent", "answer", "events"]
LEAVING: tuple[tuple[Way, Fault], ...] = (
    ("remove", "half"),
    ("remove", "sent"),
    ("remove", "answer"),
    ("job", "half"),
    ("job", "events"),
)
"""How clients leave: within the body, behind it, within the answer, and within the events of a job."""


@dataclass(frozen=True)
class Step:
    """One photo of one client: its number, and that of what is asked for.

    Attributes:
        content: what is sent in its place, where it is bad.
        forgets: the client deletes its job.
    """

    way: Way
    photo: int
    order: int
    fault: Fault = ""
    content: Photo | None = None
    forgets: bool = False


@dataclass(frozen=True)
class Plan:
    """All steps, and the photos that they name."""

    photos: Sequence[Photo]
    steps: Sequence[Step]

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of photo and order whose results are compared."""
        return [(step.photo, step.order) for step in self.steps]


def plan(photos: Sequence[Photo], library: Library, count: int, seed: int, *, every: int = EVERY) -> Plan:
    """So many steps: sound ones of every kind, and among each ``every`` a damaged, a too large and a left one."""
    rng = random.Random(f"plan {seed}")
    bad = list(islice((photo for photo in damaged(photos, seed) if library.refuses(photo)), 1 + count // every))
    bomb = too_many_pixels()
    steps = []
    for index in range(count):
        way: Way = "job" if rng.random() < 0.4 else "remove"
        photo, order, turn = rng.randrange(len(photos)), rng.randrange(len(ORDERS)), index // every
        place = index % every
        if place == every // 7:
            steps.append(Step(way, photo, order, "damaged", bad[turn]))
        elif place == every // 3:
            fault: Fault = "bytes" if turn % 2 else "pixels"
            steps.append(Step(way, photo, order, fault, None if turn % 2 else bomb))
        elif place == every * 2 // 3:
            steps.append(Step(LEAVING[turn % 5][0], photo, order, LEAVING[turn % 5][1]))
        else:
            steps.append(Step(way, photo, order, forgets=rng.random() < 0.3))
    return Plan(photos, steps)
