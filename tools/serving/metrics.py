"""What a server counts, held to what its clients have counted."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def memory_in_use(text: str, *kinds: str) -> list[str]:
    """Memory of these kinds ("waiting", "work", "kept") that a server has given out and not got back."""
    found = samples(text)
    held = {kind: sum(value for _, value in found.get(f"nss_{kind}_bytes", [({}, -1.0)])) for kind in kinds}
    return [f"/metrics: nss_{kind}_bytes is {count:g}, and nobody has any" for kind, count in held.items() if count]


def wrong_metrics(text: str, answers: Mapping[tuple[str, int], int], ends: Mapping[str, int], left: int) -> list[str]:
    """What the server counts otherwise than its clients.

    Args:
        text: of ``/metrics``.
        answers: how many the clients got, by route and status.
        ends: how many photos came to each end at least.
        left: of how many the clients do not know the end, nor the status of the answer.
    """
    found, wrong = samples(text), []
    requests, photos = found.get("nss_requests_total", []), found.get("nss_photos_total", [])
    for (route, status), count in answers.items():
        named = {"route": route, "status": str(status)}
        counted = sum(value for labels, value in requests if labels == named)
        if not count <= counted <= count + left:
            wrong.append(f"/metrics: {counted:g} answers {status} of {route}, and clients got {count}, or left {left}")
    for outcome, count in ends.items():
        counted = sum(value for labels, value in photos if labels == {"outcome": outcome})
        if not count <= counted <= count + left:
            wrong.append(f"/metrics: {counted:g} photos {outcome}; clients saw {count}, or left {left}")
    return wrong
