"""The cluster: connected to, or started on this machine, and what it has to offer."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nss.errors import GpuUnavailableError, NssError, UsageError, one_line

ACTOR_SHARE = 0.9
"""Of a machine's cores without a GPU, what its network claims: the rest lets what is around it be placed there."""

CONNECT_S = 10
"""How long a cluster may take to answer at all."""


def check_installed() -> None:
    """Raise UsageError where Ray is missing."""
    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"a cluster is Ray's, and {error.name or 'ray'} is not installed: pip install 'nss-wgpu[ray]'"
        ) from error


def connect(address: str | None = None) -> bool:
    """Connect the process to a cluster, unless it is connected; whether it was not.

    Args:
        address: ``"auto"`` (the cluster of this machine), ``"host:port"``, or ``"ray://host:port"``; None for the one
            that ``RAY_ADDRESS`` names, or else one that is started here and ends with the connection.

    Raises:
        UsageError: Ray is missing, or there is no cluster.
    """
    check_installed()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it says that it will be
    import ray

    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    terminated = signal.getsignal(signal.SIGTERM)
    if address is None and not os.environ.get("RAY_ADDRESS"):
        options["include_dashboard"] = False
        # or Ray ends workers that rest for a second, and starts others, a second of a core each, all through the run
        os.environ.setdefault("RAY_kill_idle_workers_interval_ms", "0")
    try:
        _check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise UsageError(f"no cluster of Ray at {where}: {_first_sentence(error)}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray puts one of its own in its place
    return True


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """The same for the block, after which a connection that was there before stays."""
    is_new = connect(address)
    try:
        yield
    finally:
        if is_new:
            import ray

            ray.shutdown()


@dataclass(frozen=True)
class Slots:
    """How the work is laid out over the machines.

    Attributes:
        actors: processes that run the network.
        actor: the resources of each, as Ray names them.
        tasks: processes around it, for each side of it.
        task: the resources of each.
        gpu: whether each actor has a GPU of its own.
    """

    actors: int
    actor: Mapping[str, float]
    tasks: int
    task: Mapping[str, float]
    gpu: bool


def slots(*, backend: str, require_gpu: bool) -> Slots:
    """The layout for the cluster as it is: an actor for each GPU, or else for each machine.

    Raises:
        GpuUnavailableError: a GPU is required, and the cluster has none.
        NssError: it has no cores either.
    """
    import ray

    return layout(
        [node["Resources"] for node in ray.nodes() if node["Alive"]], backend=backend, require_gpu=require_gpu
    )


def layout(nodes: Sequence[Mapping[str, float]], *, backend: str, require_gpu: bool) -> Slots:
    """The same for machines with these resources."""
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if require_gpu and not gpus:
        raise GpuUnavailableError("a GPU is required, and Ray's cluster has none")
    if not cores:
        raise NssError("Ray's cluster has no cores to work with; start its nodes with --num-cpus")
    if gpus and backend in ("auto", "webgpu"):
        return Slots(gpus, {"num_cpus": 0, "num_gpus": 1}, sum(cores), {"num_cpus": 1}, gpu=True)
    each = min(cores)
    actors = sum(count // each for count in cores)
    around = each * (1 - ACTOR_SHARE) / (2 * each + 2)
    task = {"num_cpus": max(0.001, round(around, 3))}
    return Slots(actors, {"num_cpus": round(each * ACTOR_SHARE, 3)}, actors * each, task, gpu=False)


@contextmanager
def quiet_logs() -> Iterator[list[str]]:
    """Ray Data's lines kept from the terminal for the block; the errors among them, for whoever gives up.

    As text: the errors themselves would keep the actors of their run, and what these have claimed.
    """
    failures: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                failures.append(last_line(record.exc_info[1]))
                del failures[:-8]

    logger = logging.getLogger("ray.data")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [Collector()], False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.|nss\.ray\.")
            yield failures
    finally:
        logger.handlers, logger.propagate, logger.level = before


def _check_reachable(address: str) -> None:
    """Raise OSError where nobody listens at an address, for which Ray would wait minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def last_line(error: BaseException) -> str:
    """What an error of Ray's says, without the traces that come before it."""
    lines = str(error).strip().splitlines()
    return one_line(lines[-1]) if lines else type(error).__name__


def _first_sentence(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
    return text.partition(". ")[0].rstrip(".")
