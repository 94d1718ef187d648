"""Which of several ways is the fastest, in as few measurements as tell: one each, the slow dropped, then more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median

DROPPED = 1.5
"""How many times the fastest first sample a way may take to be sampled again."""

CLOSE = 1.15
"""How many times the fastest median a way may take to be sampled to the end."""

SAMPLES = 3
"""Samples of those that were not dropped."""

CLOSE_SAMPLES = 9
"""Samples of those that are close to the fastest."""

GAIN = 0.03
"""The part of its time that another way must save to be preferred: less is noise."""


def slow(first_samples: Mapping[str, float]) -> set[str]:
    """The ways whose first sample, in seconds, is too far from the fastest one for more."""
    best = min(first_samples.values(), default=0.0)
    return {way for way, seconds in first_samples.items() if seconds > DROPPED * best}


def first_sample(way: str, first_samples: Mapping[str, float], sample: Callable[[str], float]) -> float:
    """A way's first sample in seconds, by the clock that the first samples so far are of.

    A GPU that waits for the next way, as for a compiler, lowers its clock to as little as a fifth. So the fastest way
    so far is sampled before and after, and says what the clock is worth now.
    """
    if not first_samples:
        return sample(way)
    fastest = min(first_samples, key=lambda other: first_samples[other])
    before, seconds, after = sample(fastest), sample(way), sample(fastest)
    return seconds * first_samples[fastest] * 2 / (before + after)


def pace(first_samples: Mapping[str, float], seconds: Mapping[str, float]) -> float:
    """What first samples are to be multiplied by to be of the clock of a race, whose ``seconds`` are given."""
    if not seconds:
        return 1.0
    fastest = min(seconds, key=lambda way: seconds[way])
    return seconds[fastest] / first_samples[fastest]


def race(ways: Collection[str], sample: Callable[[str], float], *, may_go_on: Callable[[], bool]) -> dict[str, float]:
    """The seconds of each way: the median of its samples.

    Args:
        ways: those that were not dropped.
        sample: measures a way once, in seconds.
        may_go_on: whether there is time for another round; there is one in any case.
    """
    samples: dict[str, list[float]] = {way: [] for way in ways}
    racing: Sequence[str] = list(ways)
    for count in range(CLOSE_SAMPLES):
        for way in racing:  # in turn, so that a clock that changes meets all of them
            samples[way].append(sample(way))
        if count + 1 == SAMPLES:
            medians = {way: median(samples[way]) for way in racing}
            racing = [way for way in racing if medians[way] <= CLOSE * min(medians.values())]
        if (count + 1 >= SAMPLES and len(racing) < 2) or not may_go_on():
            break
    return {way: median(numbers) for way, numbers in samples.items()}


def winner(seconds: Mapping[str, float], before: str) -> str:
    """The fastest way, where it saves a worthwhile part of what ``before`` takes, or that was not measured; else it."""
    fastest = min(seconds, key=lambda way: (seconds[way], way != before))
    worthwhile = before not in seconds or seconds[fastest] <= (1 - GAIN) * seconds[before]
    return fastest if worthwhile else before
