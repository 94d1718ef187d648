"""How fast it goes and how long it will go on, in words."""

from __future__ import annotations

import re
import sys

import pytest

from nss.cli.progress import RECENT, Pace, Progress, rate, summary
from tests.wall_clock import wait_until


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [
        (34, 10.0, "3.4 images/s"),
        (10, 10.0, "1.0 images/s"),
        (2, 25.0, "12.5 s an image"),
        (0, 10.0, ""),
        (3, 0.0, ""),
    ],
)
def test_rate(count: int, seconds: float, text: str) -> None:
    assert rate(count, seconds) == text


@pytest.mark.parametrize(
    ("counts", "seconds", "line"),
    [
        ((200, 8, 4), 61.2, "212 images: 200 written, 8 skipped, 4 failed, in 61.2 s (3.3 images/s)"),
        ((1, 0, 0), 2.0, "1 image: 1 written, 0 skipped, 0 failed, in 2.0 s (2.0 s an image)"),
        ((0, 2, 1), 0.04, "3 images: 0 written, 2 skipped, 1 failed, in 0.0 s"),
        ((0, 0, 0), 0.0, "0 images: 0 written, 0 skipped, 0 failed, in 0.0 s"),
    ],
)
def test_summary(counts: tuple[int, int, int], seconds: float, line: str) -> None:
    assert summary(*counts, seconds) == line


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pace_is_that_of_the_recent_images() -> None:
    clock = Clock()
    pace = Pace(5 * RECENT, clock)
    assert str(pace) == ""
    finished = 0
    for seconds in (10.0, 0.5):
        for _ in range(RECENT):
            clock.now += seconds
            finished += 1
            pace.update(finished, 0)
        if seconds == 10.0:
            assert str(pace) == "10.0 s an image, 21:20 left"  # 128 images
    assert str(pace) == "2.0 images/s, 0:48 left"  # 96 images, nothing of the slow ones
    clock.now += 0.4
    assert str(pace) == "2.0 images/s, 0:48 left"  # the one in work takes no longer than those before
    clock.now += 16.1
    assert str(pace) == "1.0 images/s, 1:35 left"
    clock.now += 1e5
    assert str(pace).endswith(" left")
    assert str(pace).count(":") == 2


def test_skipped_images_do_not_make_it_look_fast() -> None:
    clock = Clock()
    pace = Pace(52, clock)
    for finished in range(1, 9):
        pace.update(finished, finished)
    assert str(pace) == ""
    for finished in (9, 10):
        clock.now += 2
        pace.update(finished, 8)
    for more in range(1, 41):
        pace.update(10 + more, 8 + more)
    assert str(pace) == "2.0 s an image, 0:04 left"


def test_what_it_waits_for_is_said_last() -> None:
    clock = Clock()
    for total, text in ((10, "2.0 images/s, 0:04 left"), (None, "2.0 images/s")):
        pace, stage = Pace(total, clock), ""
        pace.bottleneck = lambda: stage  # noqa: B023 - what it is when it is asked for
        clock.now += 1
        pace.update(2, 0)
        assert str(pace) == text
        stage = "network"
        assert str(pace) == f"{text}, waiting for: network"


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setattr("nss.cli.progress.DELAY_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    shown: list[str] = []

    def text() -> str:
        shown.append(capsys.readouterr().err)
        lines = re.split(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]", "".join(shown))
        return " ".join("".join(lines).split())

    with Progress(2000, quiet=False) as progress:
        progress.watch(lambda: "network")
        progress.update(0, "a rather long name of a photo from the last holiday.png")
        wait_until(lambda: "a rather lon" in text())
        progress.update(2, "a rather long name of a photo from the last holiday.png")
        wait_until(lambda: "2/2000" in text() and " left, waiting for: network" in text())


def test_the_bar_shows_pace_and_file_and_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nss.cli.progress.DELAY_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    shown: list[str] = []

    def shows(*parts: str) -> bool:
        shown.append(capsys.readouterr().err)
        return all(part in "".join(shown) for part in parts)

    with Progress(2000, quiet=False) as progress:
        progress.update(1, "a rather long name of a photo from the last holiday.png")
        wait_until(lambda: shows("a rather long", "1/2000", "image", " left"))
    capsys.readouterr()
    with progress.paused():  # told after the end, by a thread for instance
        print("a line", file=sys.stderr)
    progress.update(2, "another.png")
    assert capsys.readouterr().err == "a line\n"
