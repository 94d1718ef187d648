"""Photos a second of a cluster, event by event: queues, photos that take longer than others, and what waits for it."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from random import Random

from tools.scaling.model import Cluster, PhotoCosts

SPREAD = 0.3
"""The standard deviation of each time, as a share of it."""

AHEAD = 4
"""Photos that wait for each GPU before no more are loaded."""

MEASURED = (0.3, 0.8)
"""The share of the photos by whose going out the rate is taken: neither the start nor the end."""


class _Way:
    """What one transfer after the other passes."""

    def __init__(self) -> None:
        self._free = 0.0

    def passed(self, now: float, duration: float) -> float:
        """When what comes now has passed."""
        self._free = max(self._free, now) + duration
        return self._free


def simulate(costs: PhotoCosts, cluster: Cluster, photos: int, *, seed: int = 0) -> float:
    """Photos a second, of so many photos.

    A worker reads, decodes, and lets the photo wait for a GPU; when the network is done, any worker that is free
    finishes and writes it, before others are loaded.
    """
    random = Random(seed)
    shape = SPREAD**-2
    order = count()
    events: list[tuple[float, int, str]] = []
    to_storage, from_storage, driver = _Way(), _Way(), _Way()
    workers, gpus, left, in_work = cluster.gpus * cluster.workers, cluster.gpus, photos, 0
    loaded, inferred = deque[None](), deque[None]()
    out: list[float] = []

    def after(at: float, what: str) -> None:
        heapq.heappush(events, (at, next(order), what))

    def drawn(mean: float) -> float:
        return random.gammavariate(shape, mean / shape) if mean else 0.0

    now = 0.0
    while len(out) < photos:
        while workers and inferred:
            inferred.popleft()
            workers -= 1
            after(now + drawn(costs.finish_s), "composed")
        while workers and left and in_work < (AHEAD + 1) * cluster.gpus + cluster.gpus * cluster.workers:
            workers, left, in_work = workers - 1, left - 1, in_work + 1
            arrived = from_storage.passed(now, cluster.read_s(costs)) + cluster.read_latency_s
            after(arrived + drawn(costs.load_s), "loaded")
        while gpus and loaded:
            loaded.popleft()
            gpus -= 1
            after(now + drawn(costs.infer_s), "inferred")
        now, _, what = heapq.heappop(events)
        if what == "loaded":
            workers += 1
            loaded.append(None)
        elif what == "inferred":
            gpus += 1
            inferred.append(None)
        elif what == "composed":
            after(to_storage.passed(now, cluster.write_s(costs)) + cluster.write_latency_s, "written")
        else:
            workers, in_work = workers + 1, in_work - 1
            out.append(driver.passed(now, costs.driver_s))
    first, last = (int(share * (photos - 1)) for share in MEASURED)
    return (last - first) / (out[last] - out[first])
