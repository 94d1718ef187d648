"""The models of a server: their names, what is said of them, and networks with another interface."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nss.batch.processes import VARIABLE
from nss.errors import ModelUnavailableError, UsageError
from nss.interfaces.interface import Description
from nss.serve.jobs import models
from nss.serve.jobs.models import ModelChoice, ServedModels
from nss.serve.jobs.tasks import Cancelled
from nss.serve.problem import Problem
from tests.nss.serve.pipeline_stubs import SECONDS, StubTask, stub_remover


class Opened:
    """What stands for `ModelChoice.open`: the Removers that were opened, in their order."""

    def __init__(self) -> None:
        self.removers: list[Any] = []
        self.calls: list[tuple[str, Description | None]] = []
        self.failure: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    def __call__(self, choice: ModelChoice, _: object, model_config: Description | None = None) -> Any:
        self.before()
        self.calls.append((choice.requested, model_config))
        if self.failure is not None and len(self.calls) > 1:
            raise self.failure
        name = choice.requested.removesuffix("!")
        remover = stub_remover(name=name, sha256=name.ljust(64, "0"), **(model_config or {}))
        remover.model.spec.repo = "owner/name" if "/" in name else None
        self.removers.append(remover)
        return remover


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    stand_in = Opened()
    monkeypatch.setenv(VARIABLE, "threads")  # processes take more than the memory here
    monkeypatch.setattr(ModelChoice, "open", lambda *arguments: stand_in(*arguments))
    monkeypatch.setattr(models, "limit_pillow", lambda _: None)
    monkeypatch.setattr(models.heap, "return_large_blocks", lambda: None)
    return stand_in


Serve = Callable[..., ServedModels]


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    request.getfixturevalue("opened")
    begun: list[ServedModels] = []

    def start(*names: str, said: list[str] | None = None) -> ServedModels:
        lines: list[str] = [] if said is None else said
        begun.append(served := ServedModels([ModelChoice(name) for name in names or ("u2netp",)], 2, 100, lines.append))
        served.open_all()
        return served

    yield start
    for served in begun:
        served.close()


def done(served: ServedModels, mean: float | None = None, task: StubTask | None = None) -> StubTask:
    """A task put in, for a network with this mean."""
    task = task or StubTask()
    served.put(None, {} if mean is None else {"mean": (mean,)}, task)
    return task


def means(opened: Opened) -> list[float]:
    """Those of the networks that were opened beside the first."""
    return [remover.host_stages.interface.mean[0] for remover in opened.removers[1:]]


def test_models_are_named_by_what_a_path_of_a_url_takes(serve: Serve) -> None:
    said: list[str] = []
    served = serve(
        "u2netp",
        "briaai/RMBG-1.4@main:onnx/model_fp16.onnx",
        "briaai/RMBG-1.4:onnx/model.onnx",
        "mein modell",
        said=said,
    )
    assert served.names == ("u2netp", "RMBG-1.4", "RMBG-1.4-2", "mein-modell")
    assert served.default == "u2netp"
    assert said[0] == "u2netp: numpy on a processor, f32"
    assert len(said) == 4


@pytest.mark.parametrize("name", ["", "../u2netp", "owner/name", "U2NETP", "auto", "/etc/passwd", "x" * 5000])
def test_no_other_name_is_a_model(serve: Serve, name: str) -> None:
    served = serve("u2netp", "isnet")
    with pytest.raises(Problem, match="this server has u2netp, isnet") as raised:
        served.put(name, {}, StubTask())
    assert raised.value.status == 400
    assert len(raised.value.detail) < 200


def test_what_is_said_of_a_model(serve: Serve) -> None:
    assert serve("u2netp").describe() == [
        {
            "name": "u2netp",
            "title": "U²-Netp",
            "summary": "small salient-object network, 320² mask, comes with the package",
            "licence": "Apache-2.0",
            "licence_url": "https://www.apache.org/licenses/LICENSE-2.0",
            "commercial": "yes",
            "default": True,
            "backend": "numpy",
            "device": "a processor",
            "precision": "f32",
            "size": [320, 320],
            "sha256": "u2netp".ljust(64, "0"),
        }
    ]


def test_where_one_cannot_be_opened_none_stays_open(serve: Serve, opened: Opened) -> None:
    opened.failure = ModelUnavailableError("no such model")
    with pytest.raises(ModelUnavailableError):
        serve("u2netp", "isnet")
    assert opened.removers[0].closed.is_set()


def test_one_model_twice_is_refused(serve: Serve, opened: Opened) -> None:
    with pytest.raises(UsageError, match="u2netp! is the same model as u2netp"):
        serve("u2netp", "u2netp!")
    assert all(remover.closed.is_set() for remover in opened.removers)


def test_each_model_has_its_own_pipeline(serve: Serve) -> None:
    served = serve("u2netp", "isnet")
    pipelines = [served.pipeline(name, {}) for name in (None, "u2netp", "isnet")]
    assert pipelines[0] is pipelines[1] is not pipelines[2]
    assert done(served).outcome == "photo!"


def test_what_the_interface_is_already_opens_no_other(serve: Serve, opened: Opened) -> None:
    served = serve()
    interface = opened.removers[0].host_stages.interface
    served.put(None, {"mean": interface.mean, "size": interface.size}, StubTask())
    assert len(opened.removers) == 1


def test_two_further_interfaces_stay_open_those_used_last(serve: Serve, opened: Opened) -> None:
    served = serve()
    for mean in (0.1, 0.2, 0.1, 0.3, 0.1):
        assert done(served, mean).outcome == "photo!"
    assert means(opened) == [0.1, 0.2, 0.3]
    assert [remover.closed.is_set() for remover in opened.removers] == [False, False, True, False]
    assert done(served, 0.2).outcome == "photo!"
    assert means(opened)[3:] == [0.2]
    assert [remover.closed.is_set() for remover in opened.removers] == [False, False, True, True, False]


def test_one_that_is_at_work_is_not_closed_and_another_waits_for_it(serve: Serve, opened: Opened) -> None:
    served = serve()
    tasks = [StubTask(), StubTask()]
    gates = [task.hold("network") for task in tasks]
    for task, mean in zip(tasks, (0.1, 0.2), strict=True):
        task.load = lambda _: "photo"  # type: ignore[method-assign]
        done(served, mean, task)
    third = StubTask()
    waiting = threading.Thread(target=done, args=(served, 0.3, third))
    waiting.start()
    for task in tasks:
        assert task.at["decode"].wait(SECONDS)
    assert means(opened) == [0.1, 0.2]
    gates[1].set()
    assert (tasks[1].outcome, third.outcome) == ("photo!", "photo!")
    assert [remover.closed.is_set() for remover in opened.removers] == [False, False, True, False]
    gates[0].set()
    assert tasks[0].outcome == "photo!"
    waiting.join(SECONDS)


def test_one_that_nobody_wants_any_more_opens_nothing(serve: Serve, opened: Opened) -> None:
    served = serve()
    task = StubTask()
    task.is_cancelled = True
    done(served, 0.5, task)
    assert isinstance(task.outcome, Cancelled)
    assert means(opened) == []


def test_an_interface_that_does_not_fit_is_that_requests_problem(serve: Serve, opened: Opened) -> None:
    served = serve()
    opened.failure = ModelUnavailableError("its output is no mask")
    with pytest.raises(Problem, match="its output is no mask") as raised:
        done(served, 0.5)
    assert raised.value.status == 400
    assert done(served).outcome == "photo!"


@pytest.mark.parametrize("way", ["finish", "close"])
def test_nothing_is_taken_behind_the_end(serve: Serve, opened: Opened, way: str) -> None:
    served = serve()
    done(served, 0.1).outcome  # noqa: B018 - which waits for it
    getattr(served, way)()
    for mean in (None, 0.1, 0.7):
        with pytest.raises(Problem, match="stopping") as raised:
            done(served, mean)
        assert raised.value.status == 503
    served.close()
    assert all(remover.closed.is_set() for remover in opened.removers)


def test_a_network_that_is_being_opened_at_the_end_is_closed(serve: Serve, opened: Opened) -> None:
    served = serve()
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        assert go_on.wait(SECONDS)

    opened.before = slowly
    problems: list[Problem] = []

    def put() -> None:
        try:
            done(served, 0.4)
        except Problem as problem:
            problems.append(problem)

    thread = threading.Thread(target=put)
    thread.start()
    assert begun.wait(SECONDS)
    served.finish()
    go_on.set()
    thread.join(SECONDS)
    assert [problem.status for problem in problems] == [503]
    assert opened.removers[1].closed.is_set()
