"""The queue and the pipeline of one Remover: photos go through, fail, are given up, and hurt no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nss.errors import ImageError
from nss.serve.jobs.pipelines import RemoverPipeline
from nss.serve.jobs.tasks import Cancelled
from nss.serve.problem import Problem
from tests.nss.serve.pipeline_stubs import SECONDS, StubTask, stub_pipeline, stub_remover


@contextmanager
def closing(pipeline: RemoverPipeline) -> Iterator[RemoverPipeline]:
    try:
        yield pipeline
    finally:
        pipeline.close(finish=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_task_gets_its_outcome_and_failures_are_their_own(workers: int) -> None:
    failures = {stage: ImageError(f"at {stage}") for stage in ("cost", "decode", "network", "finish")}
    with closing(stub_pipeline(workers=workers)) as pipeline:
        bad = [StubTask(stage, fails={stage: error}) for stage, error in failures.items()]
        good = [StubTask(f"good {i}") for i in range(5)]
        for task in (*bad, *good):
            pipeline.put(task)
        assert [task.outcome for task in good] == [f"good {i}!" for i in range(5)]
        assert [task.outcome for task in bad] == list(failures.values())
        assert bad[1].stages == ["decode"]
        assert bad[3].stages == ["decode", "finish"], "what is loaded is no photo, and needs no network"


def test_sixteen_threads_submit_and_none_is_lost() -> None:
    tasks = [[StubTask(f"{i}.{j}") for j in range(20)] for i in range(16)]
    with closing(stub_pipeline()) as pipeline:

        def submit(own: list[StubTask]) -> None:
            for task in own:
                pipeline.put(task)

        threads = [threading.Thread(target=submit, args=(own,)) for own in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [[task.outcome for task in own] for own in tasks] == [[f"{t.name}!" for t in own] for own in tasks]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["decode", "network", "finish"])
def test_what_ends_the_pipeline_fails_its_photos_alone(stage: str, workers: int) -> None:
    said: list[str] = []
    with closing(stub_pipeline(said=said, workers=workers)) as pipeline:
        pipeline.put(fatal := StubTask("fatal", fails={stage: SystemExit(3)}))
        assert isinstance(fatal.outcome, Problem)
        assert fatal.outcome.status == 500
        pipeline.put(after := StubTask("after"))
        assert after.outcome == "after!"
    assert len(said) == 1
    assert said[0].startswith("stub: the pipeline ended unexpectedly (SystemExit: 3), and 1 photos with it")


def test_a_remover_that_gives_no_lanes_fails_each_photo() -> None:
    remover = stub_remover()
    lanes, remover.lanes = remover.lanes, None
    with closing(stub_pipeline(remover)) as pipeline:
        pipeline.put(first := StubTask())
        assert isinstance(first.outcome, Problem)
        remover.lanes = lanes
        pipeline.put(second := StubTask("second"))
        assert second.outcome == "second!"


def test_a_photo_too_large_for_the_budget_goes_alone() -> None:
    with closing(stub_pipeline(nbytes=10)) as pipeline:
        pipeline.put(first := StubTask("first", nbytes=5))
        gate = first.hold("finish")
        pipeline.put(large := StubTask("large", nbytes=1000))
        assert first.at["finish"].wait(SECONDS)
        time.sleep(0.05)
        assert large.stages == []
        gate.set()
        assert (first.outcome, large.outcome) == ("first!", "large!")


@pytest.mark.parametrize("stage", ["decode", "network", "finish"])
def test_a_cancelled_task_ends_before_its_next_stage(stage: str) -> None:
    following = {"decode": ["decode"], "network": ["decode"], "finish": ["decode", "finish"]}
    with closing(stub_pipeline()) as pipeline:
        task = StubTask()
        gate = task.hold(stage)
        pipeline.put(task)
        assert task.at["decode"].wait(SECONDS)
        if stage == "finish":
            assert task.at["finish"].wait(SECONDS)
        task.is_cancelled = True
        gate.set()
        assert isinstance(task.outcome, Cancelled) == (stage != "finish"), "behind the last stage it is simply done"
        assert task.stages == following[stage]


def test_a_task_that_waits_is_dropped_at_once() -> None:
    with closing(stub_pipeline(workers=1)) as pipeline:
        first, second = StubTask("first"), StubTask("second")
        gate = first.hold("decode")
        pipeline.put(first)
        assert first.at["decode"].wait(SECONDS)
        pipeline.put(second)
        assert (pipeline.waiting, pipeline.running) == (1, 1)
        assert pipeline.drop(second)
        assert isinstance(second.outcome, Cancelled)
        assert second.stages == []
        assert not pipeline.drop(first), "it is in work"
        gate.set()
        assert first.outcome == "first!"


@pytest.mark.parametrize("workers", [1, 2])
def test_at_the_end_what_was_begun_is_finished_and_what_waits_is_not(workers: int) -> None:
    pipeline = stub_pipeline(workers=workers)
    tasks = [StubTask(str(i)) for i in range(12)]
    gates = [task.hold("decode") for task in tasks]
    for task in tasks:
        pipeline.put(task)
    assert tasks[0].at["decode"].wait(SECONDS)
    closer = threading.Thread(target=pipeline.close, args=(True,))
    closer.start()
    assert isinstance(tasks[-1].outcome, Cancelled)
    for gate in gates:
        gate.set()
    closer.join(SECONDS)
    assert not closer.is_alive()
    outcomes = [task.outcome for task in tasks]
    begun = [bool(task.stages) for task in tasks]
    assert outcomes[0] == "0!"
    assert [outcome == f"{i}!" for i, outcome in enumerate(outcomes)] == begun
    assert all(isinstance(outcome, Cancelled) for outcome, was in zip(outcomes, begun, strict=True) if not was)
    with pytest.raises(Problem, match="stopping"):
        pipeline.put(StubTask())


def test_at_once_means_after_the_stage() -> None:
    pipeline = stub_pipeline()
    task = StubTask()
    gate = task.hold("decode")
    pipeline.put(task)
    assert task.at["decode"].wait(SECONDS)
    closer = threading.Thread(target=pipeline.close, args=(False,))
    closer.start()
    assert isinstance(task.outcome, Cancelled), "a photo that is only decoded keeps nobody"
    closer.join(SECONDS)
    assert not closer.is_alive()
    gate.set()


def test_whoever_cannot_be_told_of_an_end_hurts_no_other() -> None:
    said: list[str] = []
    with closing(stub_pipeline(said=said)) as pipeline:
        deaf = StubTask("deaf")
        deaf.done = lambda _: 1 // 0  # type: ignore[method-assign, assignment]
        pipeline.put(deaf)
        pipeline.put(other := StubTask("other"))
        assert other.outcome == "other!"
    assert any(line.startswith("deaf: cannot be told of its end (ZeroDivisionError") for line in said)


def test_the_compiled_model_is_kept_behind_the_first_photo() -> None:
    remover, stored = stub_remover(), threading.Event()
    remover.store = stored.set
    with closing(stub_pipeline(remover)) as pipeline:
        pipeline.put(StubTask())
        assert stored.wait(SECONDS)
