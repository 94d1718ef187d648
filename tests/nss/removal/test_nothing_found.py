"""Photos in which nothing is found, and photos of which a network can make nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nss
from nss.errors import ImageError
from tests.engine.models import model, node
from tests.nss.conftest import Outcome

Command = Callable[..., Outcome]
Listing = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def u2netp() -> Iterator[nss.Remover]:
    with nss.Remover("u2netp", backend="numpy") as remover:
        yield remover


@pytest.fixture
def min_max(tmp_path: Path) -> Path:
    """A model that stretches its mask to 0..1 by itself: 0/0 where the photo is of one colour."""
    nodes = [
        node("ReduceMean", "x", "grey", axes=[1]),
        node("ReduceMin", "grey", "low", axes=[2, 3]),
        node("ReduceMax", "grey", "high", axes=[2, 3]),
        node("Sub", "grey low", "above"),
        node("Sub", "high low", "span"),
        node("Div", "above span", "y"),
    ]
    onnx.save(model(nodes, {"x": [1, 3, 32, 32]}, "y"), tmp_path / "min_max.onnx")
    return tmp_path / "min_max.onnx"


def constant(value: float, peak: float | None = None) -> Callable[..., dict[str, np.ndarray]]:
    """What stands for a run of the network: one value, and another one in a pixel."""
    mask = np.full((1, 1, 320, 320), value, np.float32)
    mask[0, 0, 5, 5] = value if peak is None else peak
    return lambda *_, **__: {"1959": mask}


@pytest.mark.parametrize("level", [0, 128, 255])
def test_photos_of_one_colour_have_nothing(u2netp: nss.Remover, level: int) -> None:
    cutout = u2netp.remove(np.full((400, 600), level, np.uint8))
    assert cutout.nothing_found
    assert cutout.notes == (
        f"nothing was found in this photo: the largest mask value is {float(cutout.mask.max()):.3f}",
    )
    assert 0 < cutout.coverage < 0.002
    assert cutout.coverage == pytest.approx(cutout.mask.mean(), rel=1e-4)


def test_a_small_subject_is_something(u2netp: nss.Remover) -> None:
    rgb = np.full((400, 600, 3), 250, np.uint8)
    y, x = np.mgrid[:400, :600]
    rgb[(x - 200) ** 2 + (y - 150) ** 2 < 25] = (200, 30, 30)
    cutout = u2netp.remove(rgb)
    assert not cutout.nothing_found
    assert cutout.notes == ()


def test_a_stretched_mask_does_not_hide_it() -> None:
    with nss.Remover("u2netp", backend="numpy", stretch=True) as remover:
        cutout = remover.remove(np.zeros((40, 60), np.uint8))
    assert cutout.mask.max() == 1
    assert cutout.nothing_found


def test_a_wholly_transparent_photo_has_nothing(u2netp: nss.Remover, rgb: np.ndarray) -> None:
    cutout = u2netp.remove(np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)]))
    assert cutout.nothing_found
    assert cutout.notes == ("nothing was found in this photo: it is wholly transparent",)
    assert cutout.rgba[..., 3].max() == 0


def test_what_alpha_hides_is_not_found(rgb: np.ndarray) -> None:
    mask, alpha = np.zeros(rgb.shape[:2], np.float32), np.full(rgb.shape[:2], 40, np.uint8)
    mask[:, :30], alpha[:, :30] = 1, 0
    assert nss.apply_mask(np.dstack([rgb, alpha]), mask).nothing_found
    alpha[0, 0] = 1
    assert not nss.apply_mask(np.dstack([rgb, alpha]), mask).nothing_found


def test_the_command_notes_it_and_writes_the_file(
    command: Command, photo: Path, network: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "run", constant(0, 0.4))
    outcome = command("remove", photo, "--model", "u2netp", "--json")
    note = "nothing was found in this photo: the largest mask value is 0.058"
    assert outcome.status == 0
    (record,) = map(json.loads, outcome.out)
    (line,) = record["notes"]
    assert outcome.err == [f"nss-wgpu: {photo}: {line}"]
    assert line[:-5] == note[:-5]
    assert record["nothing_found"] is True
    assert Image.open(record["output"]).getchannel("A").getextrema()[1] < 128


def test_coverage_is_in_the_json(command: Command, photo: Path) -> None:
    (record,) = map(json.loads, command("remove", photo, "--json").out)
    alpha = np.asarray(Image.open(record["output"]).getchannel("A"))
    assert record["nothing_found"] is False
    assert record["coverage"] == pytest.approx(alpha.mean() / 255, abs=1e-3)
    assert round(record["coverage"], 6) == record["coverage"] != round(record["coverage"], 3)
    (plan,) = map(json.loads, command("remove", photo, "--json", "--dry-run", "--overwrite").out)
    assert plan["coverage"] is plan["nothing_found"] is None


def test_fail_empty_makes_it_that_photos_failure(command: Command, photo: Path, listing: Listing) -> None:
    Image.new("RGB", (20, 20)).save(photo.with_name("empty.png"))
    outcome = command("remove", photo.parent, "--model", "u2netp", "--fail-empty", "--json")
    assert outcome.status == 1
    failure, fine = map(json.loads, outcome.out)
    reason = f"{photo.with_name('empty.png')}: nothing was found in this photo: the largest mask value is 0.000"
    assert failure["error"] == reason
    assert failure["nothing_found"] is True
    assert failure["output"] is None
    assert outcome.err[0] == f"nss-wgpu: {reason}"
    assert fine["error"] is None
    assert listing(photo.parent) == ["empty.png", "photo.cutout.png", "photo.png"]


def test_fail_empty_holds_for_a_mask_that_is_given(command: Command, photo: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (60, 40)).save(mask)
    outcome = command("remove", photo, "--mask", mask, "--fail-empty")
    assert (outcome.status, outcome.out) == (1, [])
    assert "nothing was found in this photo" in outcome.err[0]


@pytest.mark.parametrize("value", [0.5, 0.01, 0.99])
def test_a_mask_of_one_value_between_0_and_1_is_that_photos_failure(
    command: Command, photo: Path, network: type, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run, first = network.run, [constant(value, value + 1e-3)]  # type: ignore[attr-defined]
    monkeypatch.setattr(network, "run", lambda *arguments, **_: (first.pop() if first else run)(*arguments))
    other = photo.with_name("second.png")
    other.write_bytes(photo.read_bytes())
    outcome = command("remove", photo, other, "--model", "u2netp", "-j", "1")
    assert outcome.status == 1
    assert outcome.err[0].startswith(
        f"nss-wgpu: {photo}: the network found no structure in this photo: its mask is {value:.3g}"[:-1]
    )
    assert outcome.err[0].endswith(" everywhere")
    assert [line.split(" -> ")[0] for line in outcome.out] == [str(other)]


@pytest.mark.parametrize(("value", "nothing"), [(0.0, True), (1.0, False)])
def test_a_mask_of_0_or_1_throughout_says_none_or_all(
    network: type, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch, value: float, nothing: bool
) -> None:
    monkeypatch.setattr(network, "run", constant(value))
    cutout = nss.remove(rgb, model="u2netp")
    assert (cutout.mask == value).all()
    assert cutout.nothing_found == nothing


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_a_model_that_divides_by_zero_fails_for_that_photo_alone(
    min_max: Path, rgb: np.ndarray, tmp_path: Path, backend: str
) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "black.png")
    with nss.Remover(min_max, backend=backend) as remover:
        with pytest.raises(ImageError) as failure:
            remover.remove(tmp_path / "black.png")
        assert str(failure.value) == (
            f"{tmp_path / 'black.png'}: the network gave NaN or infinite values for this photo; "
            "a photo of one colour can do that"
        )
        assert 0 <= remover.remove(rgb).mask.min() < remover.remove(rgb).mask.max() <= 1
