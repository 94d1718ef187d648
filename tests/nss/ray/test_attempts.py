"""What counts against a photo: workers that end over it, and not machines that go, as far as a few of them."""

from __future__ import annotations

import pytest

from nss.errors import ImageError
from nss.ray.attempts import MOST_ENDED, MOST_LOST, Attempts, Witness


def test_a_photo_that_ends_two_workers_is_set_aside() -> None:
    witness = Witness(lambda: {"here"})
    for worker in range(MOST_ENDED):
        attempts = witness.begin("network", 5, f"worker {worker}", "here")
        assert attempts == Attempts(ended=worker)
        attempts.check("a.jpg")
    attempts = witness.begin("network", 5, "the next", "here")
    with pytest.raises(ImageError, match=r"^a\.jpg: set aside: 2 workers have ended over it"):
        attempts.check("a.jpg")
    # nobody is at it any more, and it stays so in every stage
    assert witness.begin("finish", 5, "another", "here") == attempts


def test_a_photo_is_not_at_fault_for_its_machine() -> None:
    nodes = {"spot 0", "here"}
    witness = Witness(lambda: nodes)
    witness.begin("network", 5, "worker 0", "spot 0")
    for gone in range(1, MOST_LOST + 1):
        nodes -= {f"spot {gone - 1}"}
        nodes |= {f"spot {gone}"}
        attempts = witness.begin("network", 5, f"worker {gone}", f"spot {gone}")
        assert attempts == Attempts(lost=gone)
    with pytest.raises(ImageError, match="5 machines have gone while it was in work"):
        attempts.check("a.jpg")


def test_what_came_to_its_end_counts_for_nothing() -> None:
    witness = Witness(lambda: {"here"})
    witness.begin("load", 5, "worker", "here")
    assert witness.begin("network", 5, "actor", "here") == Attempts()  # of another stage, before the first has said so
    assert witness.begin("load", 6, "worker", "here", done=[5]) == Attempts()
    assert witness.begin("load", 5, "second", "here") == Attempts()
    witness.end("network", [5])
    assert witness.begin("network", 5, "second", "here") == Attempts()
    assert witness.begin("load", 6, "worker", "here") == Attempts()  # the same worker, once more
    assert witness.begin("load", 6, "second", "here") == Attempts(ended=1)
