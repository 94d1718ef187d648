"""Warnings are dropped in the thread that asks for it, and nowhere else."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from nss.photos import quiet as quiet_module
from nss.photos.quiet import quiet


@pytest.fixture(name="messages")
def _messages() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings that this process would show."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        yield messages


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("context_aware", [False, True])
def test_warnings_are_dropped_within_and_come_after(
    messages: list[warnings.WarningMessage], context_aware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet_module, "CONTEXT_AWARE", context_aware)
    with quiet():
        warnings.warn("first", stacklevel=1)
        with quiet():
            warnings.warn("second", UserWarning, stacklevel=1)
        warnings.warn("third", RuntimeWarning, stacklevel=1)
    assert messages == []
    warnings.warn("fourth", stacklevel=1)
    assert [str(entry.message) for entry in messages] == ["fourth"]


def test_an_error_ends_it_too(messages: list[warnings.WarningMessage]) -> None:
    with pytest.raises(KeyError), quiet():
        raise KeyError
    warnings.warn("seen", stacklevel=1)
    assert len(messages) == 1


def test_other_threads_go_on_warning(messages: list[warnings.WarningMessage]) -> None:
    with quiet():
        in_a_thread(lambda: warnings.warn("another thread's", stacklevel=1))
        warnings.warn("dropped", stacklevel=1)
    assert [str(entry.message) for entry in messages] == ["another thread's"]


def test_a_filter_that_makes_errors_of_warnings_does_not_reach_in() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn("dropped", stacklevel=1)
        with quiet():
            warnings.warn("dropped again", stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("raised", stacklevel=1)


def test_what_another_thread_does_to_the_filters_meanwhile_stays_its_own() -> None:
    """A program's ``catch_warnings`` that ends while a photo is read had come back when that was done."""
    entered, ended = threading.Event(), threading.Event()

    def read() -> None:
        with quiet():
            entered.set()
            ended.wait(30)

    reader = threading.Thread(target=read)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "of the program")
        reader.start()
        entered.wait(30)
    ended.set()
    reader.join()
    with warnings.catch_warnings(record=True) as messages:
        warnings.warn("of the program", stacklevel=1)
    assert len(messages) == 1


def test_filters_do_not_pile_up() -> None:
    def enter_often() -> None:
        for _ in range(50):
            with quiet():
                pass

    with warnings.catch_warnings():
        for _ in range(3):
            with quiet():
                pass
        count = len(warnings.filters)
        threads = [threading.Thread(target=enter_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(warnings.filters) == count


def test_a_program_that_sets_filters_again_and_again_finds_one_of_ours() -> None:
    with warnings.catch_warnings():
        for _ in range(3):
            warnings.simplefilter("ignore")
            with quiet():
                pass
        assert sum(entry is quiet_module._FILTER for entry in warnings.filters) == 1
