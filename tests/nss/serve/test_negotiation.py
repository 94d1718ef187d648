"""Which type an answer has, by `format` and by `Accept`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nss.errors import UsageError
from nss.files import formats
from nss.files.formats import FORMATS
from nss.serve.api.negotiation import (
    LONGEST_ACCEPT,
    MEDIA_TYPES,
    NETWORK_MASK,
    media_type,
    negotiate,
    wants_network_mask,
)
from nss.serve.problem import Problem
from tests.wall_clock import computed_within


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, "png"),
        ("", "png"),
        ("  ", "png"),
        ("*/*", "png"),
        ("image/*", "png"),
        ("image/webp", "webp"),
        ("IMAGE/AVIF", "avif"),
        ("image/jpeg, image/tiff", "jpeg"),
        ("image/tiff, image/jpeg;q=0.9", "tiff"),
        ("image/png;q=0.5, image/webp", "webp"),
        ("image/png;q=0.5,image/webp;q=0.50", "png"),
        ("image/*;q=0.8, image/png;q=0.1", "webp"),
        ("*/*, image/png;q=0, image/webp;q=0", "avif"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "png"),
        ("application/json, text/plain, */*", "png"),
        ('text/html;a="x,image/webp", image/tiff', "tiff"),
        ("image/webp ; Q=0.3 , image/jpeg ;q=0.2", "webp"),
        ("image/webp;q=0.3;ext=1, image/jpeg", "jpeg"),
        ("image/webp;q=2, image/jpeg;q=0.1", "jpeg"),
        ("image/webp;level=1, image/jpeg;q=0.1", "jpeg"),
        (",, ;q=1, nonsense, image/webp", "webp"),
        ("image/png;q=0.001", "png"),
    ],
)
def test_the_best_type_that_is_acceptable(accept: str | None, name: str) -> None:
    assert negotiate(accept).format == name


@pytest.mark.parametrize(
    "accept", ["text/html", "image/gif", "image/*;q=0", "*/*;q=0.000", "image/png;q=0", "nonsense", "image/webp;q=nan"]
)
def test_none_names_the_types_that_can_be_made(accept: str) -> None:
    with pytest.raises(Problem) as problem:
        negotiate(accept)
    assert problem.value.status == 406
    assert problem.value.detail == (
        f"'Accept' \"{accept}\": the picture can be image/png, image/webp, image/avif, image/jpeg, image/tiff, and the "
        f"network's mask {NETWORK_MASK}"
    )


def test_a_format_wins_over_the_header() -> None:
    assert negotiate("image/webp", format="jpg").format == "jpeg"
    assert negotiate("text/html", format="PNG").format == "png"
    with pytest.raises(UsageError, match="'format' \"gif\""):
        negotiate(None, format="gif")


def test_bits_that_a_format_cannot_hold_give_way_to_the_next() -> None:
    assert negotiate("image/webp, image/avif, image/tiff;q=0.1", bits=16).format == "tiff"
    assert negotiate("image/webp, */*;q=0.1", bits=16).format == "png"
    with pytest.raises(Problem, match="a mask of 16 bits can be image/png, image/tiff, and") as problem:
        negotiate("image/webp", bits=16)
    assert problem.value.status == 406
    with pytest.raises(UsageError, match="webp holds 8 bits"):
        negotiate(None, format="webp", bits=16)


def test_a_format_that_pillow_lacks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = formats.choose

    def without_webp(target: object, name: str | None = None, *more: object) -> object:
        if name == "webp":
            raise UsageError("this build of Pillow cannot write webp; use another format")
        return choose(target, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(formats, "choose", without_webp)
    assert negotiate("image/webp, image/avif;q=0.1").format == "avif"
    with pytest.raises(Problem) as problem:
        negotiate("image/webp")
    assert "image/webp," not in problem.value.detail
    with pytest.raises(UsageError, match="Pillow"):
        negotiate(None, format="webp")


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        (None, False),
        ("*/*", False),
        ("application/*", False),
        (NETWORK_MASK, True),
        (NETWORK_MASK.upper(), True),
        (f"{NETWORK_MASK}, */*;q=0.1", True),
        (f"image/png, {NETWORK_MASK}", True),
        (f"image/png, {NETWORK_MASK};q=0.9", False),
        (f"{NETWORK_MASK};q=0", False),
        (f"{NETWORK_MASK};q=0, image/png", False),
    ],
)
def test_the_networks_mask_is_given_to_whoever_names_it(accept: str | None, wants: bool) -> None:
    assert wants_network_mask(accept) == wants


def test_types_are_those_of_the_formats() -> None:
    assert list(MEDIA_TYPES) == list(FORMATS)
    assert [media_type(negotiate(None, format=name)) for name in FORMATS] == list(MEDIA_TYPES.values())
    assert media_type(None) == NETWORK_MASK


@given(st.text(alphabet=' ;,="\\q01./*abimgepn-', max_size=60) | st.text(max_size=30))
def test_any_header_has_an_answer(accept: str) -> None:
    wants_network_mask(accept)
    try:
        name = negotiate(accept).format
    except Problem as problem:
        name = str(int(problem.status))
    assert name in {*MEDIA_TYPES, "406"}


@pytest.mark.wall_clock
@pytest.mark.parametrize("text", ['"', '"\\', '\\"', ";", "q=;", 'a;b="', ", ", "a/b;"])
def test_no_header_takes_long(text: str) -> None:
    header = text * LONGEST_ACCEPT
    with computed_within(0.1):
        wants_network_mask(header[:LONGEST_ACCEPT])
    with pytest.raises(Problem) as problem:
        negotiate(header[:LONGEST_ACCEPT] + "x")
    assert problem.value.status == 400
