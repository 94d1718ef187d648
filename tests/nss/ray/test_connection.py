"""How the work is laid out over machines, and what is said where there is no Ray."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

import nss.ray
from nss.errors import GpuUnavailableError, NssError, UsageError
from nss.ray.carried_model import card_for
from nss.ray.connection import Slots, layout


def test_each_gpu_has_an_actor_and_each_core_a_task() -> None:
    nodes = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}]
    assert layout(nodes, backend="auto", require_gpu=True) == Slots(
        9, {"num_cpus": 0, "num_gpus": 1}, 36, {"num_cpus": 1}, gpu=True
    )
    assert not layout(nodes, backend="numpy", require_gpu=False).gpu


@pytest.mark.parametrize("cores", [[1], [1, 1, 1], [2], [8, 64], [96]])
def test_without_a_gpu_all_fits_beside_each_other(cores: list[int]) -> None:
    slots = layout([{"CPU": float(count)} for count in cores], backend="auto", require_gpu=False)
    each = min(cores)
    assert slots.actors == sum(count // each for count in cores)
    around = 2 * slots.tasks / slots.actors * slots.task["num_cpus"]
    assert slots.actor["num_cpus"] + around <= each
    assert slots.task["num_cpus"] > 0


def test_what_cannot_be_laid_out() -> None:
    with pytest.raises(GpuUnavailableError, match="Ray's cluster has none"):
        layout([{"CPU": 4.0}], backend="auto", require_gpu=True)
    with pytest.raises(NssError, match="no cores"):
        layout([{"memory": 1e9}], backend="auto", require_gpu=False)


@pytest.mark.parametrize(
    ("gpu", "cards", "card"),
    [("1", [0, 1, 4], 1), ("2", [0, 1, 4], 4), ("GPU-5f", [3], 3), ("7", [3], 3)],
)
def test_the_card_that_ray_gives(gpu: str, cards: list[int], card: int) -> None:
    assert card_for(gpu, cards) == card


@pytest.mark.parametrize(("gpu", "cards"), [("3", [0, 1]), ("GPU-5f", [0, 1]), ("0", [])])
def test_a_card_that_cannot_be_told_is_an_error(gpu: str, cards: list[int]) -> None:
    with pytest.raises(GpuUnavailableError, match=f"^Ray gives GPU {gpu}, and this machine shows"):
        card_for(gpu, cards)


def test_nobody_at_an_address_is_said_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="a cluster is Ray's: pip install 'nss-wgpu[ray]'")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for each in (address, f"ray://{address}"):
            with pytest.raises(UsageError, match=f"^no cluster of Ray at {each}: .*refused"):
                nss.ray.remove(tmp_path, tmp_path / "out", address=each)


def test_the_extra_is_named_where_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UsageError, match=r"is not installed: pip install 'nss-wgpu\[ray\]'"):
        nss.ray.remove("photos", "cutouts")
