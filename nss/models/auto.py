"""What "auto" stands for: the first model of an order that is on this machine, ours to choose, and not slow here.

The order is `nss.models.catalogue.AUTO_ORDER`. Only files that nss-wgpu brought, or that lie in its model folder, are
taken; a file of another program is used under its name only.
"""

from __future__ import annotations

from collections.abc import Iterator

from nss.errors import ModelUnavailableError, one_line
from nss.models import catalogue, local_models, run_times
from nss.models.catalogue import CATALOGUE, ModelSpec
from nss.models.local_models import ResolvedModel
from nss.models.weights import model_store, transfer
from nss.notices import Notify, is_heard, logged

LIMIT_S = 5.0
"""A model that took more seconds than that for a photo, where it would run now, is left out."""


def resolve(
    *, backend: str = "auto", device: str | int | None = None, quiet: bool = False, notify: Notify | None = None
) -> ResolvedModel:
    """The first of the `candidates`; `say_choice` notifies of it. Raises ModelUnavailableError."""
    model = next(candidates(backend=backend, device=device, quiet=quiet, notify=notify))
    say_choice(model, quiet=quiet, notify=notify)
    return model


def candidates(
    *, backend: str = "auto", device: str | int | None = None, quiet: bool = False, notify: Notify | None = None
) -> Iterator[ResolvedModel]:
    """The models that "auto" may stand for, in their order, to the built-in one.

    A damaged file is passed over, and so is a model that was slow on this backend and device before.
    backend, device: as `engine.Session` takes them. quiet, notify: as for `nss.models.resolve.resolve`; what is passed
    over is a notice. Raises ModelUnavailableError after the last.
    """
    for spec in [CATALOGUE[name] for name in catalogue.AUTO_ORDER]:
        location = local_models.locate(spec, foreign=False)
        if location is None:
            continue
        if fault := local_models.find_fault(spec, *location):
            say_omission(spec, fault, quiet=quiet, notify=notify)
            continue
        candidate = ResolvedModel(spec, location[1], location[0], "auto")
        if not spec.builtin and (seconds := _seconds_here(candidate, backend, device)) > LIMIT_S:
            reason = f"it took {seconds:.0f} s for a photo here; ask for it by its name to use it all the same"
            say_omission(spec, reason, quiet=quiet, notify=notify)
            continue
        yield candidate
    raise ModelUnavailableError("no model is on this machine, not even the built-in one: reinstall nss-wgpu")


def say_omission(spec: ModelSpec, reason: object, *, quiet: bool, notify: Notify | None) -> None:
    """Notify of a model that "auto" does not take, and why."""
    if not quiet:
        (notify or logged)(f"passed over {spec.name}: {one_line(reason)}")


def say_choice(model: ResolvedModel, *, quiet: bool, notify: Notify | None) -> None:
    """Notify of what "auto" took and of its licence, unless it is the built-in model."""
    spec = model.spec
    if quiet or spec.builtin:
        return
    (notify or logged)(
        f"auto took {spec.name}: licence {spec.licence}, commercial use: {spec.commercial}; see {spec.licence_url}"
    )
    if is_heard(notify):
        model_store.mark_licence_shown(spec.name)


def hint(model: ResolvedModel) -> str | None:
    """How to get a larger model and under which licence, in one line; None unless "auto" ended at the built-in.

    First comes what may be used commercially, unless it is here already, and "auto" did not take it.
    """
    if model.requested != "auto" or model.source != "builtin":
        return None
    free = next((spec for spec in map(CATALOGUE.__getitem__, catalogue.HINTS) if not _is_here(spec)), None)
    other = next((spec for spec in CATALOGUE.values() if spec.mode and not spec.gated and not _is_here(spec)), None)
    pulls = " or ".join(_pull(spec) for spec in (free, other) if spec)
    return f"used the built-in {model.spec.title}; larger, with a 1024² mask: {pulls}" if pulls else None


def _pull(spec: ModelSpec) -> str:
    size = transfer.format_size(spec.size)
    return f"`nss-wgpu models pull {spec.name}` ({size}, licence {spec.licence}, commercial use: {spec.commercial})"


def _is_here(spec: ModelSpec) -> bool:
    return local_models.locate(spec, foreign=False) is not None


def _seconds_here(candidate: ResolvedModel, backend: str, device: str | int | None) -> float:
    sha256 = candidate.spec.sha256 or candidate.sha256
    if run_times.slowest(sha256) <= LIMIT_S:
        return 0.0  # wherever it is to run; the search for adapters takes half a second
    return run_times.seconds(sha256, *_place(backend, device))


def _place(backend: str, device: str | int | None) -> tuple[str, str | None]:
    """The backend and the device that a session would get; None for one that has no choice of devices."""
    import engine

    try:
        place = engine.place(backend, adapter=device)
    except engine.EngineError:  # which the session will say
        return backend, None
    return place.backend, place.device or None
