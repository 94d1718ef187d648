"""Which way wins a race, and how often each is sampled."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.tuning.race import CLOSE_SAMPLES, SAMPLES, first_sample, race, slow, winner


def test_the_slow_are_dropped_by_their_first_sample() -> None:
    assert slow({"a": 1.0, "b": 1.49, "c": 1.51, "d": 9.0}) == {"c", "d"}
    assert slow({}) == set()


def test_a_clock_that_falls_between_first_samples_drops_nobody() -> None:
    clock, times = iter((1.0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5)), {"table": 1.0, "other": 0.9, "third": 2.0}
    first: dict[str, float] = {}
    for way in times:
        first[way] = first_sample(way, first, lambda each: times[each] / next(clock))
    assert first["table"] == 1.0
    assert first["other"] == pytest.approx(0.9)
    assert slow(first) == {"third"}
    assert next(clock, None) is None


def test_those_that_are_close_are_sampled_longer() -> None:
    counts: Counter[str] = Counter()
    times = {"a": 1.0, "b": 1.1, "c": 1.3}

    def sample(way: str) -> float:
        counts[way] += 1
        return times[way] + (5.0 if counts[way] == 1 else 0.0)  # what is first may be slow: the median does not mind

    assert race(times, sample, may_go_on=lambda: True) == times
    assert counts == {"a": CLOSE_SAMPLES, "b": CLOSE_SAMPLES, "c": SAMPLES}


def test_one_round_is_run_when_the_time_is_up_and_few_for_one_alone() -> None:
    counts: Counter[str] = Counter()

    def sample(way: str) -> float:
        counts[way] += 1
        return 1.0

    race(["a", "b"], sample, may_go_on=lambda: False)
    assert counts == {"a": 1, "b": 1}
    race(["c"], sample, may_go_on=lambda: True)
    assert counts["c"] == SAMPLES


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"table": 1.0, "other": 0.98}, "table"),
        ({"table": 1.0, "other": 0.97}, "other"),
        ({"table": 1.0, "other": 1.0}, "table"),
        ({"other": 2.0, "third": 1.9}, "third"),  # what the layer had was wrong, or failed
    ],
)
def test_the_faster_of_equals_is_no_gain(seconds: dict[str, float], expected: str) -> None:
    assert winner(seconds, "table") == expected
