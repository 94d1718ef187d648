"""A run on a cluster: Ray Data's operators over the photos, and over again for those that were lost.

Reading and decoding, and all behind the network, are tasks on cores; the network is in actors, one for each GPU. Blocks
that go down with a worker or a machine are no error: the photos that did not come out are given in once more, one to
a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from nss.batch.stages import HostWork, Result
from nss.errors import ImageError, NssError
from nss.models.local_models import ResolvedModel
from nss.ray import manifest
from nss.ray.attempts import Witnesses
from nss.ray.carried_model import CarriedModel, OpenedModel, open_once
from nss.ray.connection import Slots, last_line, quiet_logs, slots
from nss.ray.jobs import PhotoJob
from nss.ray.manifest import Exists, Row
from nss.ray.planning import ClusterPlan
from nss.ray.stages import Network, Outcome, PhotoWork, finish_photos, items_of, load_photos, record_photos

ROUNDS = 6
"""How often photos are given in: a photo that ends workers is set aside in the third round."""

RESTARTS = 8
"""How often each process of the network is started again in a round."""

NO_PROGRESS_S = 900
"""How long a round may go without anything being done, until it is given up: where all that runs a network is gone."""

LARGEST_BLOCK = 16
"""Photos that are given in together: what goes down with a worker is done once more."""

LARGEST_PART = 64
"""Rows of a part of the manifest, at most; a run that dies does so many photos again for each that it has begun."""

MOST_CAUSES = 10
"""How far behind an error of Ray's one of the project's is looked for."""

Tell = Callable[[PhotoJob, "Result | Exception | None"], object]
"""Hears of each photo once: its result without the file, what went wrong, or None where it is skipped."""


class ClusterError(NssError):
    """Ray itself has failed."""


@dataclass(frozen=True)
class ClusterRun:
    """What is done with the photos.

    Attributes:
        plan: which there are.
        model: what runs.
        options: as :class:`nss.Remover` takes them, without the model and the device.
        host: the stages around the network, whose ``stages`` the model brings.
        exists: what becomes of an output that comes into being meanwhile.
    """

    plan: ClusterPlan
    model: ResolvedModel
    options: Mapping[str, Any]
    host: HostWork
    exists: Exists

    def __call__(self, tell: Tell) -> list[Row]:
        """Do it, on the cluster that the process is connected to; the rows of all photos.

        Raises:
            ModelUnavailableError, GpuUnavailableError, UsageError: as opening the model on a machine of the cluster.
            NssError: the cluster fails otherwise.
        """
        if not self.plan.jobs:
            return []
        layout = slots(backend=self.options["backend"], require_gpu=self.options["require_gpu"])
        carried, opened = self._open(layout)
        witnesses = Witnesses(layout.actors + 2 * layout.tasks)
        work = PhotoWork(replace(self.host, stages=opened.stages), witnesses, self.plan.settings, self.exists == "skip")
        run = manifest.new_run()
        manifest.write_claim(self.plan.target, run, self.plan.claim)
        rows: dict[int, Row] = {}
        with _data_context(), quiet_logs() as failures:
            for attempt in range(ROUNDS):
                left = [job for job in self.plan.jobs if job.index not in rows]
                if not left:
                    break
                if attempt:
                    # what has its name is from a worker that did not come to its row, perhaps of another GPU
                    left = [replace(job, replace=True) for job in left]
                size = _block_size(len(left), layout) if attempt == 0 else 1
                for outcome, index in _outcomes(left, size, layout, carried, work, self.plan.target, run, failures):
                    if index not in rows:  # a block may come twice where one was lost
                        rows[index] = outcome.row
                        tell(self.plan.jobs[index], _told(outcome.result))
        self._give_up(rows, failures, tell, run)
        return [rows[job.index] for job in self.plan.jobs]

    def _open(self, layout: Slots) -> tuple[CarriedModel, OpenedModel]:
        """Open the model on one machine, and have the object store keep what it has compiled."""
        import ray

        carried = CarriedModel.of(self.model, self.options)
        task = ray.remote(**layout.actor, max_retries=2)(open_once)
        try:
            opened: OpenedModel = ray.get(task.remote(carried, gpu=layout.gpu))
        except Exception as error:
            raise _own(error) from error
        if opened.compiled is not None:
            facts, files = opened.compiled
            carried = carried.with_compiled(facts, {name: ray.put(content) for name, content in files.items()})
            opened = replace(opened, compiled=None)
        return carried, opened

    def _give_up(self, rows: dict[int, Row], failures: list[str], tell: Tell, run: str) -> None:
        """Let the photos fail that have not come out of any round, and say so in the manifest."""
        lost = [job for job in self.plan.jobs if job.index not in rows]
        if not lost:
            return
        why = f": {failures[-1]}" if failures else ""
        for job in lost:
            error = ImageError(f"{job.name}: lost with its workers in {ROUNDS} attempts{why}")
            rows[job.index] = Row(job.input, job.output_below, self.plan.settings, error=str(error))
            tell(job, error)
        manifest.write_part(self.plan.target, f"{run}-lost", [rows[job.index] for job in lost])


def _outcomes(
    jobs: list[PhotoJob],
    size: int,
    layout: Slots,
    carried: CarriedModel,
    work: PhotoWork,
    target: str,
    run: str,
    failures: list[str],
) -> Iterator[tuple[Outcome, int]]:
    """What comes of the photos, as it does: not of those that go down with a worker."""
    import pickle

    import ray.data
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    most = -(-len(jobs) // size)
    tasks = {"compute": TaskPoolStrategy(size=min(most, layout.tasks)), "batch_format": "pyarrow", "max_retries": 2}
    networks = min(most, layout.actors)
    actors = ActorPoolStrategy(min_size=1, max_size=networks, initial_size=networks)
    try:
        dataset = (
            ray.data.from_items(items_of(jobs), override_num_blocks=most)
            .map_batches(load_photos, fn_kwargs={"work": work}, batch_size=None, **layout.task, **tasks)
            .map_batches(
                Network,
                fn_constructor_args=(carried, layout.gpu, work.witnesses),
                batch_size=None,
                batch_format="pyarrow",
                compute=actors,
                # what it was at is left for the next round: a restart may wait for a machine that never comes back
                max_restarts=RESTARTS,
                max_task_retries=0,
                **layout.actor,
            )
            .map_batches(finish_photos, fn_kwargs={"work": work}, batch_size=None, **layout.task, **tasks)
            # other resources keep Ray from making one task of both, whose parts would be as small as blocks are
            .map_batches(
                record_photos,
                fn_kwargs={"target": target, "run": run},
                batch_size=max(1, min(LARGEST_PART, len(jobs) // 64)),
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=max(1, layout.tasks // 16)),
                num_cpus=0.001,
                max_retries=2,
            )
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for index, outcome in zip(batch["index"].to_pylist(), batch["outcome"], strict=True):
                yield pickle.loads(outcome.as_buffer()), index
    except Exception as error:
        if isinstance(own := _own(error), ClusterError):
            failures.append(str(own))  # the round is over, as it would be with its last photo
        else:
            raise own from error


@contextmanager
def _data_context() -> Iterator[None]:
    """Ray Data's settings for the block: lost blocks are no error, and nothing is displayed."""
    from ray.data import DataContext

    context = DataContext.get_current()
    values = {
        "max_errored_blocks": -1,
        "execution_no_progress_timeout_s": NO_PROGRESS_S,
        "enable_progress_bars": False,
        "print_on_execution_start": False,
    }
    before = {name: getattr(context, name) for name in values if hasattr(context, name)}
    try:
        for name in before:
            setattr(context, name, values[name])
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _block_size(count: int, layout: Slots) -> int:
    """Photos that are given in together: so that every worker gets some, several times."""
    return max(1, min(LARGEST_BLOCK, count // (8 * layout.actors)))


def _told(result: Any) -> Any:
    from nss.workers.crossing import CrossingError

    return result.error() if isinstance(result, CrossingError) else result


def _own(error: BaseException) -> NssError:
    """The project's error behind one of Ray's; any other as one line."""
    behind: BaseException | None = error
    for _ in range(MOST_CAUSES):
        cause = getattr(behind, "cause", None)  # of a task's error, whose class is that of both
        if isinstance(own := cause or behind, NssError):
            return own
        behind = cause or getattr(behind, "__cause__", None)
    return ClusterError(f"Ray's cluster has failed: {last_line(error)}")
