"""Which adapters a Remover runs on, and a model on several of them: the same masks, from one queue, and losses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from nss.errors import ImageError, NssError, UsageError
from nss.models import compiled
from nss.removal import adapters, model_reading, network
from nss.removal.remover import Remover
from nss.removal.run_options import RunOptions
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

PHOTOS = [np.random.default_rng(n).integers(0, 256, (30 + n, 50, 3), np.uint8) for n in range(12)]
CONFIG = {"output": "y", "channel": 0, "activation": "none", "range": 1, "mean": 0.5, "std": 0.5}


def adapter(index: int, implementation: str, make: tuple[int, int], *, software: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        index=index, implementation=implementation, make=make, software=software, name=f"card {make}"
    )


@pytest.fixture(name="machine")
def _machine(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The adapters of a machine, which a test fills in."""
    members: list[SimpleNamespace] = []

    def devices(wanted: object = None, **_: object) -> SimpleNamespace:
        names = {str(each.index): each for each in members} | {each.implementation: each for each in reversed(members)}
        if wanted is not None and str(wanted) not in names:
            raise engine.BackendError(f"no adapter is '{wanted}'")
        chosen = None if wanted is None else names[str(wanted)].index
        return SimpleNamespace(adapters=tuple(members), chosen=chosen, reason="")

    monkeypatch.setitem(vars(engine), "devices", devices)
    return members


def chosen(*arguments: Any, **options: Any) -> list[object]:
    return [each.device for each in adapters.run_options(*arguments, **options)]


@pytest.mark.parametrize("device", [None, 0, 7, "dawn", "llvmpipe (LLVM 15, 256 bits)", "card, another", "0"])
def test_one_adapter_is_what_it_was_asked_for_as(device: str | int | None) -> None:
    assert adapters.run_options("webgpu", device, "f16") == [RunOptions("webgpu", device, "f16")]


def test_several_are_named_by_numbers_or_one_by_one(machine: list[SimpleNamespace]) -> None:
    machine += [adapter(n, "dawn" if n == 0 else "wgpu", (1, n)) for n in range(3)]
    assert chosen("auto", "0,2") == chosen("auto", " 0, 2") == [0, 2]
    assert chosen("auto", ["dawn", 2]) == ["dawn", 2]
    assert chosen("webgpu", (1,)) == [1]
    for wanted, fault in (("0,dawn,0", None), ([0, "dawn"], "twice: 0 and"), ("2,2", "twice: 2 and 2"), ("0,9", "'9'")):
        if fault is None:
            assert chosen("auto", wanted) == [wanted]  # a name, which the engine will not know
            continue
        with pytest.raises(UsageError, match=fault):
            chosen("auto", wanted)
    for wrong in ([], {"a": 1}, 1.5, [None], b"0", "", " ", ","):
        with pytest.raises(UsageError, match="'device' is an adapter's number or name"):
            chosen("auto", wrong)


@pytest.mark.parametrize(
    ("members", "indices"),
    [
        ([], [None]),
        ([("dawn", (1, 1))], [None]),
        ([("dawn", (1, 1)), ("wgpu", (1, 1))], [None]),  # one card
        ([("dawn", (1, 1)), ("wgpu", (1, 1)), ("wgpu", (1, 1))], [1, 2]),  # two of one make, of which Dawn shows one
        ([("dawn", (1, 1)), ("dawn", (2, 5)), ("wgpu", (2, 5)), ("wgpu", (1, 1))], [0, 1]),
        ([("dawn", (1, 1)), ("wgpu", (1, 1)), ("wgpu", (2, 5))], [0, 2]),
    ],
)
def test_all_is_each_card_once(
    machine: list[SimpleNamespace], members: list[tuple[str, tuple[int, int]]], indices: list[int | None]
) -> None:
    machine += [adapter(n, *member) for n, member in enumerate(members)]
    machine.append(adapter(len(machine), "wgpu", (9, 9), software=True))
    assert chosen("auto", "all") == chosen("webgpu", "all") == indices


def test_all_is_of_the_gpu() -> None:
    with pytest.raises(UsageError, match="runs on the processor"):
        Remover("u2netp", backend="numpy", device="all")


class TwoCards:
    """Sessions on two cards that compute on the processor, and are lost in the runs that a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, machine: list[SimpleNamespace]) -> None:
        machine += [adapter(n, "wgpu", (1, 1)) for n in range(2)]
        self.runs: list[int] = []
        self.lost: set[int] = set()
        self.open: set[int] = set()
        self.together: threading.Barrier | None = None
        cards, real = self, engine.Session

        class Session(real):  # type: ignore[misc, valid-type]
            def __init__(self, model: Any, *, adapter: int | None, backend: str, **options: Any) -> None:
                if adapter in cards.lost:
                    raise engine.DeviceLostError("opening: the device is lost")
                super().__init__(model, backend="numpy", **options)
                self.card = adapter
                if backend != "numpy":
                    self.info = engine.SessionInfo(
                        **{**self.info_fields(), "backend": "webgpu", "device": f"card {adapter}", "software": True}
                    )
                cards.open.add(id(self))

            def info_fields(self) -> dict[str, Any]:
                return {name: getattr(self.info, name) for name in type(self.info).__slots__}

            def submit(self, inputs: Any, **options: Any) -> Any:
                if cards.together is not None:
                    cards.together.wait()
                cards.runs.append(self.card)
                handle = super().submit(inputs, **options)

                def result() -> Any:
                    if self.card in cards.lost:
                        raise engine.DeviceLostError("reading back: the device is lost")
                    return handle.result()

                return SimpleNamespace(result=result, repeated=False)

            def close(self) -> None:
                cards.open.discard(id(self))
                super().close()

        monkeypatch.setitem(vars(engine), "Session", Session)
        monkeypatch.setitem(vars(engine), "open_ahead", lambda *_: None)

    def go_apart(self) -> None:
        """From here on neither waits for the other."""
        self.together = None


@pytest.fixture(name="cards")
def _cards(monkeypatch: pytest.MonkeyPatch, machine: list[SimpleNamespace]) -> TwoCards:
    return TwoCards(monkeypatch, machine)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    weights = np.random.default_rng(6).standard_normal((1, 3, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Sigmoid", "a", "y")]
    onnx.save(model(nodes, {"x": [1, 3, 32, 32]}, "y", {"w": weights}), tmp_path / "mask.onnx")
    return tmp_path / "mask.onnx"


@pytest.fixture(name="expected")
def _expected(path: Path) -> list[np.ndarray]:
    with Remover(path, backend="numpy", model_config=CONFIG, quiet=True) as remover:
        return [remover.remove(photo).mask for photo in PHOTOS]


@pytest.fixture(name="remover")
def _remover(expected: list[np.ndarray], cards: TwoCards, path: Path) -> Iterator[Remover]:
    assert expected
    with Remover(path, backend="webgpu", device="all", model_config=CONFIG, quiet=True, cache=False) as remover:
        assert len(cards.open) == 2
        yield remover
    assert not cards.open


def masks(pairs: Any) -> list[np.ndarray]:
    return [cutout.mask for _, cutout in pairs]


def test_two_cards_take_photos_in_turn(remover: Remover, cards: TwoCards, expected: list[np.ndarray]) -> None:
    cutouts = [remover.remove(photo) for photo in PHOTOS]
    assert all(np.array_equal(cutout.mask, mask) for cutout, mask in zip(cutouts, expected, strict=True))
    assert sorted(cards.runs) == [0] * 6 + [1] * 6
    assert {cutout.info.device for cutout in cutouts} == {"card 0", "card 1"}


def test_two_cards_run_at_once_in_a_map(remover: Remover, cards: TwoCards, expected: list[np.ndarray]) -> None:
    cards.together = threading.Barrier(2, timeout=60)  # which one alone would wait at
    found = masks(remover.map(PHOTOS, jobs=2))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert sorted(cards.runs) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("way", ["map", "remove"])
def test_one_lost_card_leaves_its_photos_to_the_other(
    remover: Remover, cards: TwoCards, expected: list[np.ndarray], jobs: int, way: str
) -> None:
    assert np.array_equal(remover.remove(PHOTOS[0]).mask, expected[0])
    cards.lost.add(0)
    if way == "map":
        if jobs > 1:  # the other card does not take all of them before the lost one has come to its first
            cards.together = threading.Barrier(2, action=cards.go_apart, timeout=60)
        found = [cutout for _, cutout in remover.map(PHOTOS, jobs=jobs)]
    else:
        found = [remover.remove(photo) for photo in PHOTOS]
    for cutout, mask in zip(found, expected, strict=True):
        assert not isinstance(cutout, NssError)
        assert np.array_equal(cutout.mask, mask)
        assert (cutout.info.device, cutout.notes) == ("card 1", ())
    assert [network.session.info.device for network in remover._networks.living] == ["card 1"]
    (line,) = remover.notes
    assert line.endswith("the device is lost; going on without this GPU (card 0)")
    assert len(masks(remover.map(PHOTOS))) == len(PHOTOS)  # with one lane from then on


def test_the_loss_of_both_cards_is_that_of_one_gpu(remover: Remover, cards: TwoCards) -> None:
    cards.lost |= {0, 1}
    results = [result for _, result in remover.map(PHOTOS, jobs=2)]
    assert all(isinstance(result, ImageError) for result in results)
    assert "the GPU was lost, and a new device failed too" in str(results[0])


def test_both_lost_end_on_numpy_where_the_gpu_was_not_demanded(
    cards: TwoCards, path: Path, expected: list[np.ndarray]
) -> None:
    with Remover(path, backend="auto", device=[0, 1], model_config=CONFIG, quiet=True) as remover:
        cards.lost |= {0, 1}
        cutouts = [cutout for _, cutout in remover.map(PHOTOS, jobs=3)]
    for cutout, mask in zip(cutouts, expected, strict=True):
        assert not isinstance(cutout, NssError)
        assert np.array_equal(cutout.mask, mask)
        assert cutout.info.backend == "numpy"


@pytest.mark.parametrize("lost", [0, 1])
def test_all_goes_on_without_a_card_that_cannot_be_opened(
    cards: TwoCards, path: Path, expected: list[np.ndarray], lost: int
) -> None:
    cards.lost.add(lost)
    lines: list[str] = []
    with Remover(path, backend="webgpu", device="all", model_config=CONFIG, notify=lines.append) as remover:
        assert len(cards.open) == 1
        found = masks(remover.map(PHOTOS, jobs=3))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert len([line for line in lines if line.endswith("going on without this GPU")]) == 1
    assert not cards.open


@pytest.mark.parametrize(("device", "lost"), [("all", {0, 1}), ([0, 1], {1}), ([0, 1], {0})])
def test_no_card_and_one_that_is_named_are_errors_that_leave_nothing_open(
    cards: TwoCards, path: Path, device: Any, lost: set[int]
) -> None:
    cards.lost |= lost
    with pytest.raises(NssError, match="the device is lost"):
        Remover(path, backend="webgpu", device=device, model_config=CONFIG, quiet=True)
    assert not cards.open


def test_a_run_in_flight_keeps_its_mask_when_the_remover_is_closed(
    remover: Remover, expected: list[np.ndarray]
) -> None:
    pending = [remover.submit(remover.prepare(photo)) for photo in PHOTOS[:4]]
    remover.close()
    for photo, mask in zip(pending, expected, strict=False):
        assert np.array_equal(remover.finish(photo.result()).mask, mask)
    with pytest.raises(UsageError, match="closed"):
        remover.prepare(PHOTOS[0])


def twice(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every Remover open two networks with these options."""
    monkeypatch.setattr(adapters, "run_options", lambda *_, **__: [options, options])


@pytest.mark.usefixtures("kept")
def test_what_was_compiled_for_one_adapter_is_taken_for_another_like_it(
    path: Path, expected: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.clear()  # by the fixture
    twice(RunOptions("numpy"), monkeypatch)
    reads: list[object] = []
    plain = model_reading.read_file
    monkeypatch.setattr(model_reading, "read_file", lambda each: reads.append(each) or plain(each))
    with Remover(path, model_config=CONFIG, quiet=True) as remover:
        assert len(reads) == 1
        assert len(remover._networks.living) == 2
        found = [remover.remove(photo).mask for photo in PHOTOS]
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert len(compiled.entries()) == 1


def test_two_networks_on_a_real_adapter_give_what_one_gives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With runs in flight in both, and another thread that runs beside the map."""
    index = device().adapter.index
    with Remover(path, backend="webgpu", device=index, model_config=CONFIG, quiet=True) as remover:
        one = [remover.remove(photo).mask for photo in PHOTOS]
    twice(RunOptions("webgpu", index), monkeypatch)
    with Remover(path, model_config=CONFIG, quiet=True) as remover:
        beside: list[np.ndarray] = []
        thread = threading.Thread(target=lambda: beside.extend(remover.remove(photo).mask for photo in PHOTOS))
        thread.start()
        found = masks(remover.map(PHOTOS * 2, jobs=4))
        thread.join()
        assert {lane.depth for lane in remover.lanes()} == {3}
    assert all(np.array_equal(*pair) for pair in zip(found, one * 2, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(beside, one, strict=True))


def test_the_time_of_a_photo_is_not_that_of_its_wait_for_others(
    path: Path, expected: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected
    clock = [100.0]
    monkeypatch.setattr(network, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    with Remover(path, backend="numpy", model_config=CONFIG, quiet=True) as remover:
        (only,) = remover._networks.living
        image = remover.prepare(PHOTOS[0]).network_input
        assert image is not None
        pending = [only.submit(image, "photo") for _ in range(3)]
        seconds = []
        for each in pending:
            clock[0] += 2  # each takes two, and the last has waited for six
            seconds.append(each.result().seconds)
        clock[0] += 50  # in which nothing was asked for
        late = only.submit(image, "photo")
        clock[0] += 3
        seconds.append(late.result().seconds)
    assert seconds == [2, 2, 2, 3]
