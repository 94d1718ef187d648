"""What a run on a cluster is to do: photos, outputs and manifest held against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nss.batch.planning import SUFFIX
from nss.errors import NssError
from nss.ray import manifest, storage
from nss.ray.jobs import PhotoJob
from nss.ray.listing import Pair, list_inputs
from nss.ray.manifest import Exists, Row


@dataclass(frozen=True)
class ClusterPlan:
    """What there is to do, and what there is not.

    Attributes:
        target: the folder of the outputs, an address.
        settings: of the run (`nss.ray.manifest.settings_digest`).
        jobs: what is to be done, the ``index`` of each its place.
        done: those whose output is there, and stays.
        failed: those that fail before they are begun, each with its ``error``.
        claim: the outputs that are this run's to make.
    """

    target: str
    settings: str
    jobs: list[PhotoJob]
    done: list[PhotoJob]
    failed: list[PhotoJob]
    claim: Sequence[str]


def plan(
    inputs: Sequence[str],
    target: str,
    *,
    settings: Mapping[str, Any],
    suffix: str = SUFFIX,
    recursive: bool = False,
    exists: Exists = "fail",
    notify: Callable[[str], object] | None = None,
) -> ClusterPlan:
    """Pair photos with outputs, and leave out what runs before have done (`nss.ray.manifest.to_do`).

    Args:
        inputs, suffix, recursive, notify: as `nss.ray.listing.list_inputs` takes them.
        target: the folder of the outputs.
        settings: all that decides what an output is: what was made with others is not done.
        exists: what becomes of an output that is not of such a run.

    Raises:
        UsageError, ImageError: as `list_inputs`, and where outputs or manifest cannot be read.
    """
    target = storage.absolute(target)
    pairs = list_inputs(inputs, target, recursive=recursive, suffix=suffix, notify=notify)
    digest = manifest.settings_digest(settings)
    to_do = manifest.to_do(
        pairs,
        manifest.read_rows(target, ["input", "output", "settings", "error"]),
        manifest.existing_outputs(target),
        manifest.read_claims(target),
        settings=digest,
        exists=exists,
    )
    return ClusterPlan(
        target,
        digest,
        [PhotoJob.of(pair, target, i, replace=replaces) for i, (pair, replaces) in enumerate(to_do.work)],
        [PhotoJob.of(pair, target, skipped=True) for pair in (*to_do.done, *to_do.skipped)],
        [_failing(pair, target, error) for pair, error in to_do.failed],
        to_do.claim,
    )


def _failing(pair: Pair, target: str, error: Exception) -> PhotoJob:
    return replace(PhotoJob.of(pair, target), error=error if isinstance(error, NssError) else NssError(str(error)))


def failed_rows(plan: ClusterPlan) -> list[Row]:
    """What there is to tell of the photos that fail before they are begun, in the form of a manifest's rows."""
    return [Row(job.input, job.output_below, plan.settings, error=str(job.error)) for job in plan.failed]
