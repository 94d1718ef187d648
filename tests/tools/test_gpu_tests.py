"""The run of the GPU's tests on hardware: the right adapter, true counts, and a status that tells a failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.gpu.device.adapters import Adapter
from tests.engine.gpu.cards import CARD, DAWN_CARD
from tests.engine.gpu.cards import FAKE as SLOW
from tools import gpu_tests
from tools.gpu_tests import Counts, read_counts

NAMES = {0: "0: Fast Card 9 (Vulkan, dawn)", 2: "2: Fast Card 9 (Vulkan, wgpu)"}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The adapters that tests were run on, each of which passes one and skips one."""
    indices: list[int] = []

    def run_on(adapter: Adapter, paths: Sequence[str], workers: int, options: Sequence[str]) -> Counts:
        indices.append(adapter.index)
        assert workers >= 1
        assert (paths, options) == (["tests/engine/gpu"], ["-k", "conv"])
        return Counts(1, 0, 1, frozenset({NAMES[adapter.index]}))

    monkeypatch.setattr(gpu_tests, "run_on", run_on)
    monkeypatch.setattr(gpu_tests, "adapters", lambda: (DAWN_CARD, SLOW, CARD))
    monkeypatch.setattr(gpu_tests, "installed_implementations", lambda: ["dawn", "wgpu"])
    return indices


def test_every_hardware_adapter_gets_its_run(ran: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_tests.main(["--", "-k", "conv"]) == 0
    assert ran == [0, 2]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"good: {NAMES[0]}: 1 passed, 0 failed, 1 skipped; ran on {NAMES[0]}",
        f"good: {NAMES[2]}: 1 passed, 0 failed, 1 skipped; ran on {NAMES[2]}",
    ]


def test_one_implementation_alone(ran: list[int]) -> None:
    assert gpu_tests.main(["--only", "dawn", "--", "-k", "conv"]) == 0
    assert ran == [0]


def test_an_implementation_without_a_card_fails(
    ran: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_tests, "adapters", lambda: (SLOW, CARD))
    assert gpu_tests.main(["--", "-k", "conv"]) == 1
    assert ran == [2]
    assert "NOT TESTED: dawn is installed and shows no such adapter" in capsys.readouterr().out
    assert gpu_tests.main(["--only", "wgpu", "--", "-k", "conv"]) == 0


@pytest.mark.parametrize(
    "counts",
    [
        Counts(5, 1, 0, frozenset({NAMES[0]})),
        Counts(0, 0, 9, frozenset({NAMES[0]})),
        Counts(5, 0, 0, frozenset()),
        Counts(5, 0, 0, frozenset({NAMES[0], NAMES[2]})),
    ],
    ids=["a failure", "skips alone", "no adapter", "another adapter"],
)
@pytest.mark.usefixtures("ran")
def test_what_is_not_good_fails(
    counts: Counts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_tests, "run_on", lambda *_: counts)
    assert gpu_tests.main(["--only", "dawn"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"NOT GOOD: {NAMES[0]}: {counts}; ran on ")


def test_without_hardware_nothing_is_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_tests, "adapters", lambda: (SLOW,))
    assert gpu_tests.main([]) == 1
    err = capsys.readouterr().err
    assert (
        err == "NOTHING WAS TESTED: no hardware adapter; the adapters are 1: Slow Rasterizer (Vulkan, wgpu, software)\n"
    )


def test_a_report_is_counted(tmp_path: Path) -> None:
    report, log = tmp_path / "report.xml", tmp_path / "log"
    assert read_counts(report, log, 4) == Counts(0, 1, 0, frozenset())
    suite = '<testsuite name="pytest" tests="9" failures="1" errors="2" skipped="3"/>'
    report.write_text(f"<testsuites>{suite}</testsuites>")
    log.write_text("1: a card\n1: a card\n")
    assert read_counts(report, log, 1) == Counts(3, 3, 3, frozenset({"1: a card"}))
    report.write_text('<testsuites><testsuite tests="2"/></testsuites>')
    assert read_counts(report, log, 3).failed == 1


WRITTEN = """
import os, pytest

def test_one():
    assert os.environ["NSS_REQUIRE_ADAPTER"] == "1"
    with open(os.environ["NSS_TEST_ADAPTER_LOG"], "a") as log:
        log.write(os.environ["NSS_TEST_ADAPTER"])

def test_two():
    assert False

def test_three():
    pytest.skip("no such thing here")
"""


def test_pytest_is_run_on_the_adapter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "test_written.py"
    path.write_text(WRITTEN)
    counts = gpu_tests.run_on(DAWN_CARD, [str(path)], 1, ["--tb=no"])
    assert counts == Counts(1, 1, 1, frozenset({"0"}))
    assert "no such thing here" in capfd.readouterr().out
