"""Closing waits for whoever is inside, and nobody comes in afterwards."""

from __future__ import annotations

import threading

import pytest

from engine import Gate
from tests.engine.forking import outcome_of_child


def refusal() -> Exception:
    return LookupError("closed")


def test_closing_waits_for_other_threads() -> None:
    gate, inside, leave = Gate(refusal), threading.Event(), threading.Event()
    order: list[str] = []

    def visit() -> None:
        with gate.entered():
            inside.set()
            leave.wait(30)
            with gate.entered():  # who is inside may enter again, though the gate is closed by now
                order.append("worked")

    visitor = threading.Thread(target=visit)
    visitor.start()
    inside.wait(30)
    closer = threading.Thread(target=lambda: order.append(f"closed {gate.close()}"))
    closer.start()
    closer.join(0.05)
    assert order == []
    leave.set()
    visitor.join()
    closer.join()
    assert order == ["worked", "closed True"]
    with pytest.raises(LookupError, match="closed"), gate.entered():
        pass
    assert gate.close() is False


def test_an_error_inside_lets_go() -> None:
    gate = Gate(refusal)
    with pytest.raises(ZeroDivisionError), gate.entered():
        raise ZeroDivisionError
    assert gate.close()


def test_a_child_finds_nobody_inside() -> None:
    """Also where the fork came while another thread was at the gate itself."""
    gate = Gate(refusal)
    inside, leave = threading.Event(), threading.Event()

    def visit() -> None:
        with gate.entered():
            inside.set()
            leave.wait(30)

    visitor = threading.Thread(target=visit)
    visitor.start()
    inside.wait(30)
    with gate._condition:  # as if that thread held the lock in this moment
        outcome = outcome_of_child(gate.close)
    leave.set()
    visitor.join()
    assert outcome == "True"
