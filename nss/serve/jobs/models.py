"""The models of a server: opened at its start, and for a while with another interface, where a request has one."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import engine
from nss.batch import processes
from nss.errors import ModelUnavailableError, UsageError, quoted
from nss.interfaces.interface import Description, FixedSize, as_json, merge
from nss.models.catalogue import ModelSpec
from nss.photos.image_size import MAX_PIXELS, limit_pillow
from nss.pipeline import heap
from nss.pipeline.budget import MemoryBudget
from nss.removal.remover import Remover
from nss.serve.jobs.photo_host import start_workers
from nss.serve.jobs.pipelines import RemoverPipeline, Say
from nss.serve.jobs.tasks import Cancelled, Task
from nss.serve.problem import Problem, busy
from nss.serve.words import in_fields
from nss.web.model_folder import folder_name, unique_names
from nss.workers.pool import WorkerPool

MOST_EXTRAS = 2
"""Networks with another interface that stay open beside those of the start."""

_LOOK_S = 0.1
"""How often it is looked whether one of them is idle, when another is wanted."""


@dataclass(frozen=True)
class ModelChoice:
    """A model that a server is to have.

    Attributes:
        requested: its name, path or repository, as :class:`nss.Remover` takes it.
        network: model_variant, backend, device, precision, require_gpu, cache and image_backend, likewise.
        model_config: what is said of its interface.
        max_pixels: how many a photo may have.
    """

    requested: str
    network: Mapping[str, Any] = field(default_factory=dict)
    model_config: Description = field(default_factory=Description)
    max_pixels: int = MAX_PIXELS

    def open(self, say: Say, model_config: Description | None = None) -> Remover:
        """The model, opened; ``model_config`` stands for its own. Raises what :class:`nss.Remover` does."""
        description = self.model_config if model_config is None else model_config
        return Remover(
            self.requested,
            **self.network,
            max_pixels=self.max_pixels,
            notify=say,
            model_config=as_json(description),
        )


class ServedModels:
    """What requests may name as their model, each with its pipeline. Any thread may call its methods.

    Attributes:
        names: by which requests ask for them; the first is the default. Empty before `open_all`.
        budget: memory for photos in work, which all pipelines share, and worker processes.
    """

    def __init__(self, choices: Sequence[ModelChoice], jobs: int | None, work_bytes: int, say: Say) -> None:
        """Nothing is opened yet.

        Args:
            choices: one or more.
            jobs: photos in work at a time, for each model; None is one a core, and half as many more where processes
                work on them.
            work_bytes: that photos in work may take, together.
            say: gets a line for each model, and notices. From any thread.
        """
        self._choices, self._say, self._jobs, self._work_bytes = tuple(choices), say, jobs, work_bytes
        self._workers = engine.available_cores() if jobs is None else jobs
        self._pool: WorkerPool | None = None
        self.budget = MemoryBudget(work_bytes)
        self.names: tuple[str, ...] = ()
        self._pipelines: dict[str, RemoverPipeline] = {}
        self._extras: OrderedDict[tuple[str, str], RemoverPipeline] = OrderedDict()  # the one used last is the last
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._is_closed = False

    def open_all(self) -> None:
        """Open them one after the other, and say what runs where. Raises what :class:`nss.Remover` does, or UsageError
        where two are the same; none stays open then.
        """
        heap.return_large_blocks()
        max_pixels = max(choice.max_pixels for choice in self._choices)
        limit_pillow(max_pixels)
        self._start_pool(max_pixels)
        removers: list[Remover] = []
        try:
            for choice in self._choices:
                removers.append(choice.open(self._say))
                self._check_repetition(removers)
        except BaseException:
            for remover in removers:
                remover.close()
            self._close_pool()
            raise
        self.names = tuple(map(folder_name, unique_names(_short_name(remover.model.spec) for remover in removers)))
        for name, remover in zip(self.names, removers, strict=True):
            for lane in remover.lanes():
                info = lane.session_info
                self._say(f"{name}: {info.backend} on {info.device}, {info.precision}")
            self._pipelines[name] = self._pipeline_of(remover, name)

    def pool_beside(self, others: int) -> WorkerPool | None:
        """What does the stages of `nss.serve.jobs.photo_host.PhotoHost`; None where threads do.

        ``others``: how many photos wait or are in work. One that is alone has all cores by threads, and is done in
        less time than one process takes.
        """
        if not others and not processes.are_wished():
            return None
        pool = self._pool
        if pool is not None and pool.is_gone and not self._is_closed:
            self._say("no worker process is left, and none can be started (out of memory?): threads go on without")
            self._pool = None
            pool.close()
        return self._pool

    @property
    def default(self) -> str:
        """The name of the model of requests that ask for none."""
        return self.names[0]

    @property
    def running(self) -> int:
        """Photos that pipelines have."""
        return sum(pipeline.running for pipeline in self._all())

    @property
    def waiting(self) -> int:
        """Photos that wait before pipelines."""
        return sum(pipeline.waiting for pipeline in self._all())

    def describe(self) -> list[dict[str, Any]]:
        """What there is to say of each, for JSON."""
        return [self._describe(name, pipeline.remover) for name, pipeline in self._pipelines.items()]

    def name_of(self, name: str | None) -> str:
        """The name of a request's model. Raises Problem 400 for one that is not here, whatever it looks like."""
        if name is None:
            return self.default
        if name not in self._pipelines:
            raise Problem(400, f"'model' {quoted(name[:80])}: this server has {', '.join(self.names)}")
        return name

    def pipeline(self, name: str | None, model_config: Description) -> RemoverPipeline:
        """What a request's photos go through; blocks where a network is to be opened.

        One with another interface than the start's may be closed as soon as nothing is in it: `put` is for these.

        Raises:
            Problem: 400 for an unknown name, or an interface that does not fit; 503 where the server is stopping.
            NssError: there is no GPU or memory for another network.
        """
        key = self._key(self.name_of(name), model_config)
        if (pipeline := self._find(key)) is not None:
            return pipeline
        with self._opening:  # one after the other: each takes the memory of a network
            return self._find(key) or self._open_extra(key, self._merged(key[0], model_config))

    def put(self, name: str | None, model_config: Description, task: Task) -> None:
        """Have a task done; blocks where a network is to be opened for it. Raises as `pipeline`."""
        while not self.put_at_once(name, model_config, task):
            if task.is_cancelled:
                task.done(Cancelled())
                return
            self.pipeline(name, model_config)

    def put_at_once(self, name: str | None, model_config: Description, task: Task) -> bool:
        """The same where its network is open; else false, and nothing is done. Raises as `pipeline`."""
        key = self._key(self.name_of(name), model_config)
        with self._lock:  # under which none is closed
            pipeline = self._find_locked(key)
            if pipeline is None:
                return False
            pipeline.put(task)
            return True

    def drop(self, task: Task) -> None:
        """End a task that waits before a pipeline with `Cancelled`."""
        for pipeline in self._all():
            if pipeline.drop(task):
                return

    def finish(self) -> None:
        """Take no more, cancel what waits, and return when what was begun is over."""
        self._end(finish=True)

    def close(self) -> None:
        """End what is in work, and free the models."""
        self._end(finish=False)
        with self._opening:
            for pipeline in self._all():
                pipeline.remover.close()
            self._pipelines, self._extras = {}, OrderedDict()
        self._close_pool()

    def _end(self, *, finish: bool) -> None:
        self._is_closed = True
        threads = [threading.Thread(target=pipeline.close, args=(finish,)) for pipeline in self._all()]
        for thread in threads:  # so that none takes a new one while another ends
            thread.start()
        for thread in threads:
            thread.join()

    def _all(self) -> list[RemoverPipeline]:
        with self._lock:
            return [*self._pipelines.values(), *self._extras.values()]

    def _start_pool(self, max_pixels: int) -> None:
        """Start processes, where there are cores for them, before anything that takes long."""
        count = processes.server_count(self._jobs, self._work_bytes)
        if not count:
            return
        at_once = self._jobs or processes.photos_at_once(count)
        try:
            pool = start_workers(count, at_once * len(self._choices), max_pixels)
        except OSError as error:
            self._say(f"no process can be started to share the work: {error.strerror or error}")
            return
        self._pool, self._workers = pool, self._jobs or processes.photos_at_once(pool.count)
        self.budget = MemoryBudget(max(1, self._work_bytes - pool.count * processes.BASE_BYTES))

    def _close_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _pipeline_of(self, remover: Remover, name: str) -> RemoverPipeline:
        return RemoverPipeline(remover, workers=self._workers, budget=self.budget, say=self._say, name=name)

    def _check_repetition(self, removers: Sequence[Remover]) -> None:
        last, choice = removers[-1], self._choices[len(removers) - 1]
        for other, remover in zip(self._choices, removers[:-1], strict=False):
            is_same = remover.model.sha256 == last.model.sha256
            if is_same and (other.network, other.model_config) == (choice.network, choice.model_config):
                raise UsageError(
                    f"{choice.requested} is the same model as {other.requested}; leave one of them out ('model')"
                )

    # networks with another interface

    def _key(self, name: str, model_config: Description) -> tuple[str, str]:
        """The model and what is said of its interface, as text; "" where that is what it has already."""
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            raise _stopping()
        interface = pipeline.remover.host_stages.interface
        if all(getattr(interface, key) == value for key, value in model_config.items()):
            return name, ""
        return name, json.dumps(as_json(self._merged(name, model_config)), sort_keys=True)

    def _merged(self, name: str, model_config: Description) -> Description:
        choice = self._choices[self.names.index(name)]
        return merge([("request", model_config), ("start", choice.model_config)])[0]

    def _find(self, key: tuple[str, str]) -> RemoverPipeline | None:
        with self._lock:
            return self._find_locked(key)

    def _find_locked(self, key: tuple[str, str]) -> RemoverPipeline | None:
        if self._is_closed:
            raise _stopping()
        if not key[1]:
            return self._pipelines[key[0]]
        with suppress(KeyError):
            self._extras.move_to_end(key)
        return self._extras.get(key)

    def _open_extra(self, key: tuple[str, str], description: Description) -> RemoverPipeline:
        """The pipeline of a network that is not open, once there is room. ``_opening`` is held."""
        name = key[0]
        self._make_room()
        choice = self._choices[self.names.index(name)]
        if choice.requested == "auto":  # which may mean another by now
            choice = replace(choice, requested=self._pipelines[name].remover.model.spec.name)
        try:
            remover = choice.open(_nobody, description)
        except ModelUnavailableError as error:
            # it is open as it was at the start, so that it is this interface that does not fit
            reason = in_fields(str(error)).replace(choice.requested, name)
            raise Problem(400, reason) from error
        pipeline = self._pipeline_of(remover, name)
        with self._lock:
            if not self._is_closed:
                self._extras[key] = pipeline
                return pipeline
        pipeline.close(finish=False)
        remover.close()
        raise _stopping()

    def _make_room(self) -> None:
        """Close the one that was not used for longest, once there is one that is idle."""
        waiting = threading.Event()
        while True:
            with self._lock:
                if self._is_closed:
                    raise _stopping()
                if len(self._extras) < MOST_EXTRAS:
                    return
                idle = next((key for key, one in self._extras.items() if not (one.waiting or one.running)), None)
                closing = None if idle is None else self._extras.pop(idle)
            if closing is None:
                waiting.wait(_LOOK_S)
            else:
                closing.close(finish=True)
                closing.remover.close()

    def _describe(self, name: str, remover: Remover) -> dict[str, Any]:
        spec, size = remover.model.spec, remover.host_stages.interface.size
        sessions = [lane.session_info for lane in remover.lanes()]
        return {
            "name": name,
            "title": spec.title,
            "summary": spec.summary,
            "licence": spec.licence,
            "licence_url": spec.licence_url,
            "commercial": spec.commercial,
            "default": name == self.default,
            "backend": sessions[0].backend,
            "device": ", ".join(session.device for session in sessions),
            "precision": sessions[0].precision,
            "size": [size.height, size.width] if isinstance(size, FixedSize) else None,
            "sha256": remover.model.sha256,
        }


def _short_name(spec: ModelSpec) -> str:
    """What a model is called without owner, revision and folders; of a repository's files the repository's name."""
    name = re.split("[@:]", spec.name, maxsplit=1)[0] if spec.repo else spec.name
    return name.rsplit("/", 1)[-1].removesuffix(".onnx")


def _stopping() -> Problem:
    return busy("the server is stopping; try again later", 10)


def _nobody(line: str) -> None:
    """Notices that were said at the start."""
