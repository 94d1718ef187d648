"""One model on several adapters: a network for each, and what becomes of one that loses its GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nss.errors import ModelUnavailableError, NssError, one_line
from nss.interfaces.interface import Description
from nss.models import auto
from nss.models.local_models import ResolvedModel
from nss.notices import Notify
from nss.pipeline.lanes import LaneLostError
from nss.removal.network import Network, Output, PendingOutput
from nss.removal.photo_input import PhotoInput
from nss.removal.run_options import RunOptions

LeaveOut = Callable[[NssError], object]
"""Hears why one of several adapters cannot have the model."""


class PendingImage:
    """An image that one of the networks has been given."""

    def __init__(self, networks: Networks, pending: PendingOutput) -> None:
        self._networks, self._pending = networks, pending

    def result(self) -> Output:
        """The model's output; where a GPU is lost, that of another network. Raises as `Network.run`."""
        while True:
            try:
                return self._pending.result()
            except LaneLostError:
                self._pending = self._networks.begin(self._pending.image, self._pending.name)


class Networks:
    """Networks of one model, each on an adapter of its own; any thread may use them.

    One that loses its GPU is given nothing more, as long as there is another; the last one opens a device anew.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        """One or more."""
        self._all = tuple(networks)
        self._living = list(networks)
        self._count = 0
        self._lock = threading.Lock()
        for network in self._all:
            network.gives_up = partial(self._give_up, network)

    @classmethod
    def with_others(
        cls, first: Network, others: Sequence[Callable[[], Network]], *, leave_out: LeaveOut | None = None
    ) -> Networks:
        """The first, and what opens each of the others.

        Where one of these fails, ``leave_out`` hears its error, and it is done without that one; with None all are
        closed, and its error is raised.
        """
        try:
            return cls([first, *in_parallel(others, leave_out)])
        except BaseException:
            first.close()
            raise

    @property
    def living(self) -> tuple[Network, ...]:
        """Those that have not given up."""
        return tuple(self._living)

    def submit(self, image: np.ndarray | PhotoInput, name: str) -> PendingImage:
        """As `Network.submit`, on each in turn."""
        return PendingImage(self, self.begin(image, name))

    def begin(self, image: np.ndarray | PhotoInput, name: str) -> PendingOutput:
        """The same, where the loss of a GPU is a LaneLostError."""
        living = self.living
        self._count += 1
        return living[self._count % len(living)].submit(image, name)

    def close(self) -> None:
        """Close all, whatever one of them raises."""
        close_all([network.close for network in self._all])

    def _give_up(self, network: Network) -> bool:
        if len(self._all) == 1:
            return False
        with self._lock:
            if network in self._living and len(self._living) > 1:
                self._living.remove(network)
            return network not in self._living


def close_all(calls: Sequence[Callable[[], object]]) -> None:
    """Make each call, and raise what the last failing one raised."""
    failure: BaseException | None = None
    for call in calls:
        try:
            call()
        except BaseException as error:
            failure = error
    if failure is not None:
        raise failure


def in_parallel(calls: Sequence[Callable[[], Network]], leave_out: LeaveOut | None = None) -> list[Network]:
    """What the calls give, each made in a thread; where one fails, the networks of the others are closed again.

    Raises what the first failing one raised. An error that ``leave_out`` can hear is told to it instead.
    """
    networks: dict[int, Network] = {}
    failures: dict[int, BaseException] = {}

    def make(index: int, call: Callable[[], Network]) -> None:
        try:
            networks[index] = call()
        except BaseException as error:
            failures[index] = error

    # no daemons: a process that ends within a driver's call may crash there
    threads = [threading.Thread(target=make, args=each, name="nss-open-network") for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if leave_out is not None:
        for index, failure in sorted(failures.items()):
            if isinstance(failure, NssError):
                leave_out(failure)
                del failures[index]
    if failures:
        close_all([network.close for network in networks.values()])
        raise failures[min(failures)]
    return [networks[index] for index in sorted(networks)]


def first_that_opens(calls: Sequence[Callable[[], Network]], leave_out: LeaveOut | None) -> tuple[Network, int]:
    """The network of the first call that gives one, and its index; ``leave_out`` hears of those before it, and may be
    None for one call.

    Raises what the first raised where none gives one.
    """
    errors: list[NssError] = []
    for index, call in enumerate(calls):
        try:
            network = call()
        except NssError as error:
            errors.append(error)
        else:
            for left_out in errors:
                assert leave_out is not None
                leave_out(left_out)
            return network, index
    raise errors[0]


def going_on_without(notify: Notify) -> LeaveOut:
    """What says that one adapter of all is left out, and why."""
    return lambda error: notify(f"{one_line(error)}; going on without this GPU")


def open_auto(
    options: RunOptions, user_description: Description, *, use_cache: bool, quiet: bool, notify: Notify
) -> tuple[ResolvedModel, Network]:
    """Open the first model of its order that is here and can be opened; a failure of the built-in one is raised."""
    backend = "webgpu" if options.require_gpu else options.backend
    for candidate in auto.candidates(backend=backend, device=options.device, quiet=quiet, notify=notify):
        try:
            network = Network(candidate, options, notify, user_description, use_cache=use_cache)
        except ModelUnavailableError as error:
            if candidate.source == "builtin":
                raise
            auto.say_omission(candidate.spec, error, quiet=quiet, notify=notify)
        else:
            auto.say_choice(candidate, quiet=quiet, notify=notify)
            return candidate, network
    raise AssertionError("candidates end with an error")
