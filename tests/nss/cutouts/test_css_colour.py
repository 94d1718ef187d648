"""Colours as CSS has them: the same ones that browsers show."""

from __future__ import annotations

import pytest

from nss.cutouts.css_colour import parse

ORANGE = (255, 136, 0)


@pytest.mark.parametrize(
    ("text", "rgb", "alpha"),
    [
        ("white", (255, 255, 255), 1),
        (" RebeccaPurple ", (102, 51, 153), 1),
        ("transparent", (0, 0, 0), 0),
        ("#f80", ORANGE, 1),
        ("#F80C", ORANGE, 0.8),
        ("#ff8800", ORANGE, 1),
        ("#ff8800cc", ORANGE, 0.8),
        ("rgb(255 136 0)", ORANGE, 1),
        ("rgb( 255  136 0/50% )", ORANGE, 0.5),
        ("rgb(255 136 0 / .5)", ORANGE, 0.5),
        ("RGB(255,136,0)", ORANGE, 1),
        ("rgba(255, 136, 0, 1)", ORANGE, 1),
        ("rgba(255 136 0)", ORANGE, 1),
        ("rgb(100%, 50%, 0%, 25%)", (255, 128, 0), 0.25),
        ("rgb(100% 136 none / none)", ORANGE, 0),
        ("rgb(1e2 +3.6 -5)", (100, 4, 0), 1),  # out of range is clamped
        ("rgb(300 136 0 / 2)", ORANGE, 1),
        ("hsl(32, 100%, 50%)", ORANGE, 1),
        ("hsl(32deg 100 50)", ORANGE, 1),
        ("hsla(0.5turn 100% 25% / 0.5)", (0, 128, 128), 0.5),
        ("hsl(-328 100% 50%)", ORANGE, 1),
        ("hsl(200grad none 50%)", (128, 128, 128), 1),
        ("hwb(32 0% 0%)", ORANGE, 1),
        ("hwb(0 60% 60%)", (128, 128, 128), 1),
        ("hwb(120 20% 40% / 10%)", (51, 153, 51), 0.1),
    ],
)
def test_what_css_writes(text: str, rgb: tuple[int, int, int], alpha: float) -> None:
    colour = parse(text)
    assert colour is not None
    assert colour.rgb == rgb
    assert colour.alpha == pytest.approx(alpha)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "#",
            "#12345",
            "#123456789",
            "rgb()",
            "rgb(1 2)",
            "rgb(1 2 3 4)",
            "rgb(1, 2 3)",
            "rgb(1, 2%, 3)",
            "rgb(1 2 3 /)",
        ),
        *("rgb(1, 2, 3 / 4)", "rgb(a b c)", "rgb(1deg 2 3)", "rgb(1e999 0 0)", "rgb(none, 1, 2)", "hsl(0, 100, 50)"),
        *("hsl(1% 2% 3%)", "hwb(0, 1%, 2%)", "lab(50% 0 0)", "oklch(1 0 0)", "color(srgb 1 0 0)", "rgb(1 2 3 / 4 / 5)"),
    ],
)
def test_what_is_written_like_a_colour_and_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is written like|hexadecimal digits|is not read"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["", "nowhere.png", "#1.png", "scan(2).png", "url(a.png)", "image (1)", "none", "blur"]
)
def test_what_is_no_colour(text: str) -> None:
    assert parse(text) is None
