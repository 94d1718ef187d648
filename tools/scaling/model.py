"""Photos a second of a cluster in closed form: what each resource could do alone, and the least of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhotoCosts:
    """What one photo takes.

    Attributes:
        load_s: a core's time to decode.
        infer_s: a GPU's time, with what is copied to it and back.
        finish_s: a core's time to compose, encode, verify, and digest.
        read_bytes: of the photo.
        written_bytes: of the output.
        driver_s: the driver's time.
    """

    load_s: float
    infer_s: float
    finish_s: float
    read_bytes: float
    written_bytes: float
    driver_s: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """What there is.

    Attributes:
        gpus: how many.
        workers: cores for loading and finishing, for each GPU.
        read_bytes_s: what the storage gives in a second, all machines together.
        written_bytes_s: what it takes in a second.
        reads_s: requests to read, in a second.
        writes_s: requests to write, in a second.
        read_latency_s: until the first byte comes.
        write_latency_s: until a written object is acknowledged.
    """

    gpus: int
    workers: int
    read_bytes_s: float
    written_bytes_s: float
    reads_s: float
    writes_s: float
    read_latency_s: float = 0.0
    write_latency_s: float = 0.0

    def read_s(self, costs: PhotoCosts) -> float:
        """How long a photo takes up the way from the storage."""
        return max(costs.read_bytes / self.read_bytes_s, 1 / self.reads_s)

    def write_s(self, costs: PhotoCosts) -> float:
        """How long an output takes up the way to the storage."""
        return max(costs.written_bytes / self.written_bytes_s, 1 / self.writes_s)


def rates(costs: PhotoCosts, cluster: Cluster) -> dict[str, float]:
    """Photos a second that each resource could do alone. A worker waits while it reads or writes."""
    reading, writing = cluster.read_s(costs), cluster.write_s(costs)
    waiting = cluster.read_latency_s + reading + writing + cluster.write_latency_s
    return {
        "GPUs": cluster.gpus / costs.infer_s,
        "workers": cluster.gpus * cluster.workers / (costs.load_s + costs.finish_s + waiting),
        "reading" if reading * cluster.reads_s > 1 else "requests to read": 1 / reading,
        "writing" if writing * cluster.writes_s > 1 else "requests to write": 1 / writing,
        "the driver": 1 / costs.driver_s if costs.driver_s else float("inf"),
    }


def throughput(costs: PhotoCosts, cluster: Cluster) -> tuple[float, str]:
    """Photos a second, and what holds them to that."""
    limits = rates(costs, cluster)
    name = min(limits, key=lambda name: limits[name])
    return limits[name], name
