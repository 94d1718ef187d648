"""`Remover.map`: what `remove` gives, in threads, in order, within bounds, and with errors told one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
import nss
from nss.errors import ImageError, NssError, UsageError
from nss.photos import image_io
from nss.removal import preprocess
from nss.removal.lanes import NetworkLane
from tests.project import ROOT
from tests.wall_clock import wait_until

EXAMPLES = [ROOT / "examples" / name for name in ("astronaut.png", "chelsea.png")]
PHOTOS = [np.random.default_rng(n).integers(0, 256, (20 + n, 30, 3), np.uint8) for n in range(12)]


@pytest.fixture(name="remover")
def _remover(network: type) -> Iterator[nss.Remover]:
    assert network
    with nss.Remover("u2netp", quiet=True) as remover:
        yield remover


def test_real_photos_come_out_as_from_remove() -> None:
    settings: dict[str, Any] = {"refinement": nss.Refinement(feather=2), "composition": nss.Composition(crop=3)}
    with nss.Remover("u2netp", backend="numpy", quiet=True) as remover:
        expected = [remover.remove(photo, **settings) for photo in EXAMPLES]
        pairs = list(remover.map(EXAMPLES, jobs=2, **settings))
    for (source, cutout), photo, one in zip(pairs, EXAMPLES, expected, strict=True):
        assert source is photo
        assert not isinstance(cutout, NssError)
        assert np.array_equal(cutout.mask, one.mask)
        assert np.array_equal(np.asarray(cutout), np.asarray(one))
        assert (cutout.path, cutout.notes, cutout.sha256) == (one.path, one.notes, one.sha256)
        assert cutout.info.milliseconds.keys() == one.info.milliseconds.keys()


@pytest.mark.parametrize("jobs", [1, 2, 5, None])
def test_each_source_comes_once_in_order_with_its_cutout(remover: nss.Remover, jobs: int | None) -> None:
    expected = [remover.remove(photo) for photo in PHOTOS]
    results = list(remover.map(iter(PHOTOS), jobs=jobs))
    assert [source is photo for (source, _), photo in zip(results, PHOTOS, strict=True)] == [True] * len(PHOTOS)
    for (_, cutout), one in zip(results, expected, strict=True):
        assert np.array_equal(cutout.mask, one.mask)  # type: ignore[union-attr]
    found = {id(source): cutout for source, cutout in remover.map(PHOTOS, jobs=3, ordered=False)}
    assert found.keys() == {id(photo) for photo in PHOTOS}


def test_any_source_goes(remover: nss.Remover, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(EXAMPLES[1].read_bytes())
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, image_io.load(path), np.asarray(image_io.load(path).rgb)]
        masks = [cutout.mask for _, cutout in remover.map(sources, jobs=2)]  # type: ignore[union-attr]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_wrong_with_one_is_its_own(
    remover: nss.Remover, jobs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real: Callable[..., np.ndarray] = preprocess.prepare

    def prepare(rgb: np.ndarray, *arguments: Any) -> np.ndarray:
        if rgb.shape[0] == 21:
            raise ZeroDivisionError("an oversight\nof ours")
        if rgb.shape[0] == 22:
            raise MemoryError
        return real(rgb, *arguments)

    monkeypatch.setattr(preprocess, "prepare", prepare)
    missing = tmp_path / "missing.png"
    sources = [missing, *PHOTOS[:4], b"no image"]
    results = [result for _, result in remover.map(sources, jobs=jobs)]
    for index, line in {
        0: f"{missing}: no such file",
        2: "<image>: unexpected ZeroDivisionError: an oversight of ours (please report it)",
        3: "<image>: not enough memory",
    }.items():
        assert isinstance(results[index], NssError)
        assert str(results[index]) == line
    assert isinstance(results[0], ImageError)
    assert isinstance(results[2].__cause__, ZeroDivisionError)  # type: ignore[union-attr]
    assert isinstance(results[5], ImageError)
    assert [isinstance(results[index], nss.Cutout) for index in (1, 4)] == [True, True]


def test_wrong_arguments_are_refused_at_once(remover: nss.Remover) -> None:
    for name, value in (("jobs", 0), ("jobs", 1.5), ("memory", -1), ("refinement", "soft"), ("composition", 1)):
        with pytest.raises(UsageError, match=f"'{name}'"):
            remover.map(PHOTOS, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("sources", ["photo.jpg", b"bytes", Path("photo.jpg"), None, 5])
def test_one_image_is_no_list_of_images(remover: nss.Remover, sources: object) -> None:
    with pytest.raises(UsageError, match=r"'sources' is of type \w+; give a list"):
        remover.map(sources)  # type: ignore[type-var]


def test_sources_are_taken_as_there_is_room_and_closing_ends_the_work(remover: nss.Remover) -> None:
    taken: list[int] = []

    def sources() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield PHOTOS[0]

    with closing(remover.map(sources(), jobs=2)) as results:
        for told, _ in enumerate(results):
            assert len(taken) <= told + 3 * 2 + 2
            if told == 20:
                break
    at_the_end = len(taken)
    # loads, which nothing waits for
    wait_until(lambda: not any(thread.name.startswith("nss-pipeline") for thread in threading.enumerate()))
    assert len(taken) <= at_the_end + 1


def test_memory_bounds_what_is_in_work(remover: nss.Remover, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, most = threading.Lock(), [0]
    at_work = [0]
    prepare, finish = remover.prepare, remover.finish

    def counted_prepare(source: Any, **options: Any) -> Any:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.005)
        return prepare(source, **options)

    def counted_finish(inferred: Any) -> Any:
        try:
            return finish(inferred)
        finally:
            with lock:
                at_work[0] -= 1

    monkeypatch.setattr(remover, "prepare", counted_prepare)
    monkeypatch.setattr(remover, "finish", counted_finish)
    assert len(list(remover.map(PHOTOS, jobs=4, memory=1))) == len(PHOTOS)  # each alone
    assert most == [1]
    assert len(list(remover.map(PHOTOS, jobs=4))) == len(PHOTOS)


def test_cutouts_that_the_caller_is_done_with_are_gone(remover: nss.Remover) -> None:
    import gc
    import weakref

    alive: list[weakref.ref[nss.Cutout]] = []
    gc.disable()  # what only a collection would free counts as alive
    try:
        for _, cutout in remover.map(PHOTOS * 3, jobs=2):
            assert isinstance(cutout, nss.Cutout)
            alive.append(weakref.ref(cutout))
            assert sum(each() is not None for each in alive) <= 2
            del cutout
    finally:
        gc.enable()


def test_a_closed_remover_says_so_for_each(network: type) -> None:
    assert network
    remover = nss.Remover("u2netp", quiet=True)
    remover.close()
    results = [result for _, result in remover.map(PHOTOS[:2], jobs=2)]
    assert all(isinstance(result, UsageError) for result in results)


def test_a_long_run_on_the_processor_is_ended_by_closing() -> None:
    """Else leaving a loop would wait for a photo that nobody wants: tens of seconds with a large model."""
    observed: list[str] = []
    runs: list[str] = []
    enough, interrupted, interrupt = threading.Event(), threading.Event(), NetworkLane.interrupt

    def tell(lane: NetworkLane) -> None:
        interrupt(lane)
        interrupted.set()

    with nss.Remover("u2netp", backend="numpy", quiet=True) as remover:
        real = engine.Session.run

        def run(session: Any, inputs: Any, observe: Any = None, **options: Any) -> Any:
            def slow(operator: str, name: str, seconds: float) -> None:
                observed.append(name)
                if len(observed) == 3:
                    enough.set()
                    assert interrupted.wait(60)
                observe(operator, name, seconds)

            runs.append("begun")
            is_first = len(runs) == 1  # which gives the result that the loop is left behind
            return real(session, inputs, observe=observe if is_first else slow, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NetworkLane, "interrupt", tell)
            patch.setattr(engine.Session, "run", run)
            with closing(remover.map(EXAMPLES * 2, jobs=2)) as results:
                next(results)
                assert enough.wait(60)
        assert len(observed) < 60  # of some hundred nodes
        assert isinstance(remover.remove(EXAMPLES[0]), nss.Cutout)
