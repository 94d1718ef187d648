"""Tasks and a Remover without photos, for what is before and around a pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from nss.interfaces.interface import USUAL, FixedSize, Interface
from nss.models.catalogue import CATALOGUE
from nss.pipeline.budget import MemoryBudget
from nss.pipeline.lanes import CallLane
from nss.removal.remover import Remover
from nss.serve.jobs.pipelines import RemoverPipeline

SECONDS = 60.0
"""How long a test waits for what is to come."""


class StubTask:
    """A task that holds on at the stages of ``gates`` until they are set, and fails where ``fails`` says so."""

    def __init__(self, name: str = "photo", *, fails: dict[str, BaseException] | None = None, nbytes: int = 1) -> None:
        self.name, self.is_cancelled, self.nbytes = name, False, nbytes
        self.fails = fails or {}
        self.gates: dict[str, threading.Event] = {}
        self.at: dict[str, threading.Event] = {stage: threading.Event() for stage in ("decode", "network", "finish")}
        self.stages: list[str] = []
        self.outcomes: list[Any] = []
        self.over = threading.Event()

    def hold(self, stage: str) -> threading.Event:
        """Stay at this stage until the event is set."""
        return self.gates.setdefault(stage, threading.Event())

    def cost(self) -> int:
        if "cost" in self.fails:
            raise self.fails["cost"]
        return self.nbytes

    def entered(self, stage: str) -> None:
        self.stages.append(stage)
        self.at[stage].set()

    def pass_through(self, stage: str) -> None:
        if stage in self.gates:
            assert self.gates[stage].wait(SECONDS)
        if stage in self.fails:
            raise self.fails[stage]

    def load(self, _: Remover) -> Any:
        self.pass_through("decode")
        return self.name

    def finish(self, _: Remover, output: Any) -> Any:
        self.pass_through("finish")
        return f"{output}!"

    def done(self, outcome: Any) -> None:
        self.outcomes.append(outcome)
        self.over.set()

    @property
    def outcome(self) -> Any:
        """What it ended with, once it has."""
        assert self.over.wait(SECONDS), f"{self.name} does not end; it was at {self.stages}"
        (outcome,) = self.outcomes
        return outcome


def stub_remover(
    infer: Callable[[StubTask, Any], Any] | None = None,
    *,
    name: str = "u2netp",
    sha256: str = "0" * 64,
    **interface: Any,
) -> Any:
    """What a pipeline and `nss.serve.jobs.models` want of a Remover; ``closed`` is set when it is."""

    def through_network(task: StubTask, loaded: Any) -> Any:
        task.pass_through("network")
        return loaded

    spec = SimpleNamespace(**{**vars(CATALOGUE["u2netp"]), "name": name, "repo": None})
    values = {"input": "x", "output": "y", "size": FixedSize(320, 320), "inputs": {}, **USUAL, **interface}
    remover = SimpleNamespace(
        model=SimpleNamespace(spec=spec, sha256=sha256),
        host_stages=SimpleNamespace(interface=Interface(**cast(Any, values))),
        closed=threading.Event(),
        store=lambda: None,
    )
    remover.close = remover.closed.set

    def lanes() -> list[Any]:
        lane = CallLane(infer or through_network)
        lane.session_info = SimpleNamespace(backend="numpy", device="a processor", precision="f32")  # type: ignore[attr-defined]
        return [lane]

    remover.lanes = lanes
    return remover


def stub_pipeline(
    remover: Any = None, *, workers: int = 2, nbytes: int = 100, said: list[str] | None = None
) -> RemoverPipeline:
    """A pipeline that is at work."""
    lines: list[str] = [] if said is None else said
    budget = MemoryBudget(nbytes)
    return RemoverPipeline(remover or stub_remover(), workers=workers, budget=budget, say=lines.append, name="stub")
