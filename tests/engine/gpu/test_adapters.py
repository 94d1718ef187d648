"""Cards of one make, implementations that do not load, and adapters by number."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.errors import BackendError
from engine.gpu.device import adapters as adapters_module
from engine.gpu.device import choice as choice_module
from engine.gpu.device.adapters import LIMITS, adapter_list, adapters, card_count, forget_lists, fresh_handle
from engine.gpu.device.base import PythonApi
from engine.gpu.device.capabilities import session_caps
from engine.gpu.device.choice import choose, no_adapter
from engine.gpu.device.implementations import IMPLEMENTATIONS
from engine.gpu.device.listing import devices
from engine.session import Session
from tests.engine.gpu.cards import FAKE
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import IMAGES, SMALL

CARD = {
    "device": "Fast Card 9",
    "description": "580",
    "vendor_id": 4318,
    "device_id": 9013,
    "adapter_type": "DiscreteGPU",
    "backend_type": "Vulkan",
}


class Handle:
    """An adapter as wgpu-py gives it; ``card`` is what it is really on, which nothing in its description tells."""

    def __init__(self, card: str, **info: Any) -> None:
        self.card, self.info = card, CARD | info
        self.features: set[str] = set()
        self.limits = dict.fromkeys(LIMITS, 1 << 20)


Handles = Callable[[], list[Handle]]


class Fake(PythonApi):
    """An implementation that lists what a test says."""

    package = "fake"

    def __init__(self, name: str, listing: dict[str, Handles]) -> None:
        self.name, self.listing = name, listing

    @property
    def module(self) -> ModuleType:
        return ModuleType(self.name)

    def list_handles(self) -> list[Any]:
        return self.listing[self.name]()


class Listing(dict[str, Handles]):
    """What each implementation lists, in their order; ``asked`` are those that were listed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Handles:
        self.asked.append(name)
        return super().__getitem__(name)


def install(monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]]) -> None:
    for module in (adapters_module, choice_module):
        monkeypatch.setattr(module, "installed_implementations", names)


@pytest.fixture(name="implementations")
def _implementations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listing]:
    """What each implementation lists; a test fills it in before it asks."""
    listing = Listing()
    forget_lists()
    install(monkeypatch, lambda: list(listing))
    monkeypatch.setattr("engine.gpu.device.base.note_use", lambda _: None)
    for name in ("dawn", "wgpu"):
        monkeypatch.setitem(IMPLEMENTATIONS, name, Fake(name, listing))
    yield listing
    forget_lists()


def test_the_nth_of_equals_is_the_nth_again(implementations: Listing) -> None:
    """The driver lists the same cards in the same order, as new handles each time."""
    other = {"device": "Older Card 8", "device_id": 1}
    implementations["wgpu"] = lambda: [Handle("first"), Handle("old", **other), Handle("second"), Handle("third")]
    all_adapters = adapters()
    assert [adapter.handle.card for adapter in all_adapters] == ["first", "old", "second", "third"]
    assert [(adapter.ordinal, adapter.equals) for adapter in all_adapters] == [(0, 3), (0, 1), (1, 3), (2, 3)]
    for adapter in all_adapters:
        again = fresh_handle(adapter)
        assert again is not adapter.handle
        assert again.card == adapter.handle.card
    assert [str(adapter) for adapter in all_adapters[:3]] == [
        "Fast Card 9 #1 (Vulkan, wgpu)",
        "Older Card 8 (Vulkan, wgpu)",
        "Fast Card 9 #2 (Vulkan, wgpu)",
    ]
    assert choose(2).adapter is all_adapters[2]


def test_a_card_that_is_gone_is_not_replaced_by_its_twin(implementations: Listing) -> None:
    implementations["wgpu"] = lambda: [Handle("first"), Handle("second")]
    second = adapters()[1]
    implementations["wgpu"] = lambda: [Handle("first")]
    with pytest.raises(BackendError, match=r"Fast Card 9 #2 \(Vulkan, wgpu\) is not there any more; `engine.devices"):
        fresh_handle(second)


def test_cards_are_counted_over_all_implementations(implementations: Listing) -> None:
    implementations["wgpu"] = lambda: [Handle("a"), Handle("b"), Handle("cpu", adapter_type="CPU", vendor_id=1)]
    implementations["dawn"] = lambda: [Handle("a", description="maker: 580", architecture="fast")]
    assert card_count(adapters()) == 2
    listing = devices()
    assert listing.cards == 2
    assert [(info.implementation, info.ordinal, info.equals) for info in listing.adapters] == [
        ("wgpu", 0, 2),
        ("wgpu", 1, 2),
        ("wgpu", 0, 1),
        ("dawn", 0, 1),
    ]


def test_opengl_is_listed_only_where_there_is_nothing_else(implementations: Listing) -> None:
    implementations["wgpu"] = lambda: [Handle("gl", backend_type="OpenGL"), Handle("vulkan")]
    implementations["dawn"] = lambda: [Handle("gl", backend_type="OpenGLES"), Handle("null", backend_type="Null")]
    assert [adapter.handle.card for adapter in adapters()] == ["vulkan", "gl"]


DISCRETE, INTEGRATED, SOFTWARE = (
    [Handle(kind, device=kind, adapter_type=kind, device_id=number)]
    for number, kind in enumerate(("DiscreteGPU", "IntegratedGPU", "CPU"))
)


@pytest.mark.parametrize(
    ("dawn", "wgpu", "chosen", "asked"),
    [
        (INTEGRATED + DISCRETE, INTEGRATED + DISCRETE, "dawn DiscreteGPU", ["dawn"]),
        (SOFTWARE + INTEGRATED, DISCRETE, "dawn IntegratedGPU", ["dawn"]),
        (SOFTWARE, INTEGRATED + DISCRETE, "wgpu DiscreteGPU", ["dawn", "wgpu"]),
        ([], SOFTWARE + INTEGRATED, "wgpu IntegratedGPU", ["dawn", "wgpu"]),
        (None, INTEGRATED + DISCRETE, "wgpu DiscreteGPU", ["wgpu"]),
        (INTEGRATED, None, "dawn IntegratedGPU", ["dawn"]),
        (SOFTWARE, SOFTWARE, None, ["dawn", "wgpu"]),
        ([], [], None, ["dawn", "wgpu"]),
    ],
)
def test_discrete_adapters_come_first_and_no_more_is_loaded_than_needed(
    implementations: Listing,
    dawn: list[Handle] | None,
    wgpu: list[Handle] | None,
    chosen: str | None,
    asked: list[str],
) -> None:
    for name, handles in {"dawn": dawn, "wgpu": wgpu}.items():
        if handles is not None:
            implementations[name] = lambda handles=handles: handles
    adapter = choose().adapter
    assert (adapter and f"{adapter.implementation} {adapter.name}") == chosen
    assert implementations.asked == asked
    listing = devices()  # which lists all of them, and says the same
    assert len(listing.adapters) == len(dawn or []) + len(wgpu or [])
    assert listing.chosen == (adapter.index if adapter else None)
    assert [info.index for info in listing.adapters] == list(range(len(listing.adapters)))


@pytest.mark.parametrize(
    ("requested", "chosen", "asked"),
    [
        ("wgpu", "wgpu DiscreteGPU", ["wgpu"]),
        ("dawn", "dawn IntegratedGPU", ["dawn"]),
        ("1", "dawn IntegratedGPU", ["dawn"]),
        (3, "wgpu DiscreteGPU", ["dawn", "wgpu"]),
        ("0", "dawn CPU", ["dawn", "wgpu"]),
        ("integrated", "dawn IntegratedGPU", ["dawn"]),
        ("discrete", "wgpu DiscreteGPU", ["dawn", "wgpu"]),
    ],
)
def test_a_request_loads_what_it_needs(
    implementations: Listing, requested: str | int, chosen: str, asked: list[str]
) -> None:
    implementations["dawn"] = lambda: SOFTWARE + INTEGRATED
    implementations["wgpu"] = lambda: INTEGRATED + DISCRETE
    adapter = choose(requested).adapter
    assert adapter is not None
    assert (f"{adapter.implementation} {adapter.name}", implementations.asked) == (chosen, asked)


def no_loader() -> list[Handle]:
    raise RuntimeError("no adapters:\n  libvulkan.so.1 not found")


def test_no_driver_and_no_adapter_are_told_in_each_ones_words(implementations: Listing) -> None:
    implementations["wgpu"] = no_loader
    implementations["dawn"] = list
    assert adapters() == ()
    assert no_adapter() == (
        "no WebGPU adapter: wgpu found no driver (RuntimeError: no adapters: libvulkan.so.1 not found) "
        "and dawn found no driver (see 'Drivers' in docs/install.md)"
    )
    assert choose().reason == no_adapter()


@pytest.fixture(name="broken")
def _broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed implementation whose wheel lacks its library."""
    (tmp_path / "wgpu_broken").mkdir()
    source = "raise OSError('libwgpu_native.so: cannot open shared object file')"
    (tmp_path / "wgpu_broken" / "__init__.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = PythonApi()
    broken.name, broken.package = "broken", "wgpu_broken"
    monkeypatch.setitem(IMPLEMENTATIONS, "broken", broken)
    forget_lists()
    yield "broken cannot be loaded (OSError: libwgpu_native.so: cannot open shared object file)"
    forget_lists()
    sys.modules.pop("wgpu_broken", None)


def test_a_broken_implementation_is_told_in_its_own_words(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda: ["broken"])
    assert no_adapter() == f"no WebGPU adapter: {broken} (see 'Drivers' in docs/install.md)"
    assert devices().failures == {"broken": broken.removeprefix("broken ")}
    with pytest.raises(BackendError, match=re.escape(broken)):
        Session(SMALL, backend="webgpu")
    with Session(SMALL) as session:
        assert session.info.backend == "numpy"
        assert broken in session.info.reason


def test_beside_one_that_works_a_broken_one_is_still_told(broken: str) -> None:
    device()
    assert adapter_list().adapters
    with pytest.raises(BackendError, match=re.escape(broken)):
        choose("broken")
    if choose().adapter is None:
        assert broken in choose().reason


def test_an_adapter_by_its_number() -> None:
    index = device().adapter.index
    for number in (index, str(index)):
        with Session(SMALL, backend="webgpu", adapter=number) as session:
            assert session.info.device == str(device().adapter)
            assert session.run({"x": IMAGES[0]})["y"].shape == (1, 8, 32, 32)
    with pytest.raises(BackendError, match="no adapter is '99'; the adapters are 0: "):
        Session(SMALL, backend="webgpu", adapter=99)
    with pytest.raises(BackendError, match="no adapter is '-1'; the adapters are 0: "):
        Session(SMALL, backend="webgpu", adapter=-1)


def test_plans_for_a_compiler_that_takes_seconds_have_few_kernels() -> None:
    slow = replace(FAKE, name="SwiftShader Device (Subzero)")
    assert [session_caps(adapter, "f32").compact for adapter in (slow, FAKE, replace(slow, kind="discrete"))] == [
        True,
        False,
        False,
    ]
