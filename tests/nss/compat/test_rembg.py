"""A program for rembg runs on nss, and gets the same: each call side by side with rembg itself, on U²-Netp."""

from __future__ import annotations

import copy
import io
import os
import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import engine
import nss
from nss.compat import rembg as ours
from tests.nss.images import oriented
from tests.project import ROOT

SAME_PREPARATION = 0.004
"""A level of 8 bits, where both prepare the photo alike: 320x320 with a white pixel, so that nothing is resized."""

RESAMPLING_ERROR = 0.02
"""Mean difference where each resizes in its own way."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """rembg, with the built-in weights as its own, so that it downloads nothing."""
    home = tmp_path_factory.mktemp("u2net")
    shutil.copy(ROOT / "nss" / "models" / "weights" / "u2netp.onnx", home / "u2netp.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("U2NET_HOME", str(home))
        yield pytest.importorskip("rembg", reason="rembg is not installed; the extra 'test' brings it")


@pytest.fixture(scope="module")
def sessions(theirs: ModuleType) -> Iterator[tuple[Any, ours.Session]]:
    """A session of each, in which the network runs once for each input: what is compared is what lies around it."""
    one, other = theirs.new_session("u2netp"), ours.new_session("u2netp", providers=["CPUExecutionProvider"])
    inner, run, results = one.inner_session, engine.Session.run, {}

    def once(key: Hashable, inputs: Mapping[str, np.ndarray], outputs: Callable[[], Any]) -> Any:
        whole_key = key, *((name, array.tobytes()) for name, array in inputs.items())
        if whole_key not in results:
            results[whole_key] = outputs()
        return copy.deepcopy(results[whole_key])

    def their_run(names: None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return once("theirs", inputs, lambda: inner.run(names, inputs))

    def our_run(session: engine.Session, inputs: Mapping[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
        return once(session, inputs, lambda: run(session, inputs, **options))

    one.inner_session = SimpleNamespace(get_inputs=inner.get_inputs, run=their_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Session, "run", our_run)
        yield one, other


def astronaut(*size: int) -> Image.Image:
    photo = Image.open(ROOT / "examples" / "astronaut.png").convert("RGB")
    photo = photo.resize(size)
    photo.putpixel((0, 0), (255, 255, 255))
    return photo


@pytest.fixture(scope="module")
def small() -> Image.Image:
    return astronaut(320, 320)


def as_bytes(image: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **more)
    return file.getvalue()


def as_image(result: Any) -> Image.Image:
    """Whatever came back, as a picture."""
    if isinstance(result, bytes):
        assert result.startswith(b"\x89PNG")
        return Image.open(io.BytesIO(result))
    return Image.fromarray(result) if isinstance(result, np.ndarray) else result


def difference(first: Any, second: Any) -> np.ndarray:
    return np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64)) / 255


@pytest.mark.parametrize("form", ["bytes", "image", "array", "grey array", "RGBA"])
@pytest.mark.parametrize("only_mask", [False, True])
def test_types_sizes_and_modes_are_rembgs(
    theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image, form: str, only_mask: bool
) -> None:
    forms = {
        "bytes": as_bytes(small),
        "image": small,
        "array": np.asarray(small),
        "grey array": np.asarray(small.convert("L")),
        "RGBA": small.convert("RGBA"),
    }
    results = [
        module.remove(forms[form], session=session, only_mask=only_mask)
        for module, session in zip((theirs, ours), sessions, strict=True)
    ]
    kind = {"bytes": bytes, "image": Image.Image, "RGBA": Image.Image}.get(form, np.ndarray)
    assert all(isinstance(result, kind) for result in results)
    pictures = [as_image(result) for result in results]
    assert [(p.mode, p.size) for p in pictures] == [("L" if only_mask else "RGBA", (320, 320))] * 2
    masks = [p if only_mask else p.getchannel("A") for p in pictures]
    assert difference(*masks).max() <= SAME_PREPARATION


def test_masks_of_a_photo_that_is_resized_are_near(theirs: ModuleType, sessions: tuple[Any, Any]) -> None:
    photo = astronaut(500, 380)
    masks = [m.remove(photo, session=s, only_mask=True) for m, s in zip((theirs, ours), sessions, strict=True)]
    assert masks[0].size == masks[1].size == (500, 380)
    assert difference(*masks).mean() <= RESAMPLING_ERROR
    predicted = [session.predict(photo) for session in sessions]
    assert [[(mask.mode, mask.size) for mask in masks] for masks in predicted] == [[("L", (500, 380))]] * 2
    assert np.array_equal(predicted[1][0], masks[1])


def test_a_faint_mask_is_stretched_as_rembgs_is(theirs: ModuleType, sessions: tuple[Any, Any]) -> None:
    photo = Image.linear_gradient("L").resize((320, 320)).convert("RGB")
    masks = [m.remove(photo, session=s, only_mask=True) for m, s in zip((theirs, ours), sessions, strict=True)]
    assert [mask.getextrema() for mask in masks] == [(0, 255)] * 2
    assert difference(*masks).max() <= SAME_PREPARATION
    assert sessions[1].cut_out(photo).nothing_found


def test_a_turned_photo_comes_back_upright(theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image) -> None:
    data = as_bytes(small.crop((0, 0, 320, 200)).rotate(90, expand=True), exif=oriented(6))
    pictures = [as_image(m.remove(data, session=s)) for m, s in zip((theirs, ours), sessions, strict=True)]
    assert pictures[0].size == pictures[1].size == (320, 200)
    assert difference(*(p.getchannel("A") for p in pictures)).mean() <= RESAMPLING_ERROR


def test_colours_are_straight_where_rembg_darkens_them(
    theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image
) -> None:
    darkened, straight = (np.asarray(m.remove(small, session=s)) for m, s in zip((theirs, ours), sessions, strict=True))
    assert np.array_equal(straight[..., :3], small)
    assert difference(straight[..., :3] * (straight[..., 3:] / 255), darkened[..., :3]).max() <= 0.01
    same = [
        np.asarray(m.remove(small.copy(), session=s, putalpha=True))
        for m, s in zip((theirs, ours), sessions, strict=True)
    ]
    assert difference(*same).max() <= SAME_PREPARATION


def test_the_mask_takes_the_place_of_the_images_own_alpha_where_that_is_asked_for(
    sessions: tuple[Any, Any], small: Image.Image
) -> None:
    translucent = small.copy()
    translucent.putalpha(100)
    mask = ours.remove(translucent, session=sessions[1], only_mask=True)
    own_times_mask, mask_alone = (
        as_image(ours.remove(translucent, session=sessions[1], putalpha=putalpha)).getchannel("A")
        for putalpha in (False, True)
    )
    assert np.array_equal(mask_alone, as_image(mask))
    assert own_times_mask.getextrema() == (0, 100)


@pytest.mark.parametrize("colour", [(10, 200, 30, 255), (10, 200, 30, 128), (10, 200, 30, 0)])
def test_a_background_colour_is_put_behind(
    theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image, colour: tuple[int, int, int, int]
) -> None:
    one, other = (
        as_image(m.remove(small, session=s, bgcolor=colour)) for m, s in zip((theirs, ours), sessions, strict=True)
    )
    assert (one.mode, one.size) == (other.mode, other.size) == ("RGBA", (320, 320))
    assert difference(one, other)[..., 3].max() <= SAME_PREPARATION
    # what is not soft, and not wholly transparent: there rembg darkens twice, or leaves black
    alpha = np.asarray(ours.remove(small, session=sessions[1], only_mask=True))
    hard = (alpha == 255) | ((alpha == 0) & (colour[3] > 0))
    assert difference(one, other)[hard].max() <= 0.012
    assert np.unique(np.asarray(other)[alpha == 0, 3]).tolist() == [colour[3]]
    mask = ours.remove(small, session=sessions[1], only_mask=True, bgcolor=colour)
    assert as_image(mask).mode == "L"


def test_the_mask_is_hardened_alike(theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image) -> None:
    options = {"only_mask": True, "post_process_mask": True}
    masks = [np.asarray(m.remove(small, session=s, **options)) for m, s in zip((theirs, ours), sessions, strict=True)]
    assert all(set(np.unique(mask)) == {0, 255} for mask in masks)
    assert (masks[0] != masks[1]).mean() <= 0.001


def test_what_is_finer_than_3_pixels_goes_before_the_mask_is_smoothed() -> None:
    stripes = np.tile(np.float32([1, 1, 0]), (60, 20))
    assert not ours._harden(stripes)[:, 6:].any()  # at the edge it is as wide as one likes
    assert ours._harden(np.ones_like(stripes)).all()


def test_alpha_matting_keeps_what_is_sure_and_finds_the_rest(
    theirs: ModuleType, sessions: tuple[Any, Any], small: Image.Image
) -> None:
    options = {"alpha_matting": True, "alpha_matting_erode_size": 6}
    one, other = (
        np.asarray(m.remove(small, session=s, **options)) for m, s in zip((theirs, ours), sessions, strict=True)
    )
    plain = np.asarray(ours.remove(small, session=sessions[1]))
    assert one.shape == other.shape == (320, 320, 4)
    assert not np.array_equal(other, plain)
    assert difference(one[..., 3], other[..., 3]).mean() <= RESAMPLING_ERROR
    assert new_colours(other, small)
    visible = (one[..., 3] > 128) & (other[..., 3] > 128)
    assert difference(one, other)[visible].mean() <= RESAMPLING_ERROR


def test_the_thresholds_of_alpha_matting_say_what_is_sure(small: Image.Image) -> None:
    cutout = nss.apply_mask(small, np.where(np.arange(320) < 160, 0.3, 0.7) * np.ones((320, 1)))
    left, right = np.s_[:, :100], np.s_[:, 220:]
    unsure = ours._matte(cutout, 240, 10, 10)
    assert 0 < unsure[left].min() <= unsure[right].max() < 1
    assert not ours._matte(cutout, 240, 100, 10)[left].any()
    assert (ours._matte(cutout, 150, 10, 10)[right] == 1).all()


def new_colours(rgba: np.ndarray, photo: Image.Image) -> bool:
    """Whether soft pixels have other colours than the photo's, and the others the same."""
    soft, differs = np.isin(rgba[..., 3], (0, 255), invert=True), (rgba[..., :3] != np.asarray(photo)).any(axis=2)
    return bool(differs[soft].any() and not differs[~soft].any())


def test_the_background_is_taken_out_of_soft_edges_where_that_is_asked_for(
    sessions: tuple[Any, Any], small: Image.Image
) -> None:
    plain, without = (
        np.asarray(ours.remove(small, session=sessions[1], decontaminate=options)) for options in (False, True)
    )
    assert (new_colours(plain, small), new_colours(without, small)) == (False, True)
    assert np.array_equal(plain[..., 3], without[..., 3])


def test_anything_gives_bytes_where_that_is_asked_for(
    small: Image.Image, sessions: tuple[Any, Any], tmp_path: Path
) -> None:
    small.save(tmp_path / "photo.png")
    expected = ours.remove(as_bytes(small), session=sessions[1])
    for data in (small, np.asarray(small), tmp_path / "photo.png", io.BytesIO(as_bytes(small))):
        result = ours.remove(data, session=sessions[1], force_return_bytes=True)  # type: ignore[arg-type]
        assert isinstance(result, bytes)
        assert np.array_equal(as_image(result), as_image(expected))


def test_a_program_needs_no_session_and_fetches_nothing(
    small: Image.Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("NSS_MODEL_DIR", str(tmp_path))
    ours._default_session.cache_clear()
    first = ours.remove(small)
    assert isinstance(first, Image.Image)
    session = ours._default_session(os.getpid())
    assert np.array_equal(ours.remove(small), first)
    assert ours._default_session(os.getpid()) is session


def test_the_session_of_a_program_without_one_is_not_shared_with_a_forked_child(
    small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Session:
        def __init__(self, *_: str, **__: str) -> None:
            calls.append(os.getpid())

        def cut_out(self, data: Image.Image) -> nss.Cutout:
            return nss.apply_mask(data, np.ones((320, 320)))

    monkeypatch.setattr(ours, "Session", Session)
    ours._default_session.cache_clear()
    parent = os.getpid()
    try:
        for process in (parent, parent, parent + 1):
            monkeypatch.setattr(os, "getpid", lambda process=process: process)
            ours.remove(small)
    finally:
        ours._default_session.cache_clear()
    assert calls == [parent, parent + 1]


def test_providers_say_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    backends: list[str] = []
    monkeypatch.setattr(ours, "Session", lambda _, **options: backends.append(options["backend"]))
    for providers in (["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"], None):
        ours.new_session("u2netp", providers=providers)
    assert backends == ["numpy", "auto", "auto"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bgcolor": (1, 2)}, r"'bgcolor' \[1, 2\]: red, green, blue and alpha in 0 to 255"),
        ({"bgcolor": (1, 2, 300, 4)}, "'bgcolor'"),
        ({"bgcolor": "red"}, "'bgcolor'"),
        ({"vitmatte": True}, "there is no ViTMatte here"),
        ({"only_masks": True}, 'remove has no argument "only_masks"'),
        ({"session": "u2netp"}, "'session' is what new_session gives, not str"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(small: Image.Image, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ours.ArgumentError, match=message):
        ours.remove(small, **options)


def test_any_value_switches_alpha_matting(small: Image.Image) -> None:
    """As in rembg, what Python takes for true."""
    session = ours.new_session("u2netp", providers=["CPUExecutionProvider"])
    off, on = (ours.remove(small, session=session, alpha_matting=value) for value in (False, True))
    for value, expected in ((None, off), ("", off), ("yes", on), (2, on)):
        result = ours.remove(small, session=session, alpha_matting=value)  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


def test_errors_are_those_that_a_program_catches() -> None:
    with pytest.raises(ValueError, match="input of type str is not supported"):
        ours.remove("photo.jpg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='there is no session "sam": it needs prompts'):
        ours.new_session("sam")
    with pytest.raises(ValueError, match="'model_path' goes with u2net_custom"):
        ours.new_session("u2net_custom")
    with pytest.raises(ValueError, match='new_session has no argument "model"'):
        ours.new_session("u2netp", model="x")
    with pytest.raises(nss.NssError):
        ours.new_session("no such model")
    with pytest.raises(nss.NssError, match="is not an image"):
        ours.remove(b"no image")
    assert issubclass(ours.ArgumentError, nss.UsageError)


def test_a_file_of_ones_own_goes_by_rembgs_name_for_it(small: Image.Image, sessions: tuple[Any, Any]) -> None:
    path = ROOT / "nss" / "models" / "weights" / "u2netp.onnx"
    session = ours.new_session("u2net_custom", model_path=str(path), providers=["CPUExecutionProvider"], sess_opts=None)
    assert session.model_name == "u2net_custom"
    assert np.array_equal(ours.remove(small, session=session), ours.remove(small, session=sessions[1]))
