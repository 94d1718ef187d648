"""How long answers took, as a table shows it."""

from __future__ import annotations

from collections.abc import Sequence

HEADS = ["p50 ms", "p95 ms", "p99 ms", "max ms"]


def percentiles(seconds: Sequence[float]) -> list[str]:
    """The milliseconds below which 50, 95 and 99 of a hundred are, and the most."""
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99)]
    return [f"{1000 * value:.0f}" for value in (*at, ordered[-1])]
