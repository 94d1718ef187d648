"""What sums lose on matrix units: measured on emulated ones, which round, and nothing where there are none."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from engine.gpu.kernels.convolution.split import LOSS
from tests.engine.gpu.gpu import device
from tests.engine.gpu.plans import EMULATED, ROOM
from tools import truncation


def test_units_that_round(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They lose nothing, so that what is given back all the same is too much by just that."""
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: MATRIX UNITS ARE NOT EMULATED")
    caps = device().caps
    limits = {**caps.limits, **ROOM}
    monkeypatch.setattr(device(), "caps", replace(caps, limits=limits, matrix_units=EMULATED))
    assert truncation.main(["--adapter", str(device().adapter.index), "--summands", "768,1024"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{device().adapter}: units that round, by the probe"
    assert [line.split()[0] for line in lines] == ["768", "1024"]
    for line in lines:
        lost, left, given_back = (float(number) for number in re.findall(r"-?\d\.\d+e-\d+", line))
        assert abs(lost) < 1e-9  # measured: 5e-11
        assert left == pytest.approx(-LOSS, rel=0.1)
        assert given_back == LOSS


def test_an_adapter_without_units(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(device(), "caps", replace(device().caps, matrix_units=None))
    assert truncation.main(["--adapter", str(device().adapter.index)]) == 1
    message = f"{device().adapter} has no matrix units that kernels use: there is nothing to measure\n"
    assert capsys.readouterr().err == message
    with pytest.raises(SystemExit, match="no adapter is 'none of them'; "):
        truncation.main(["--adapter", "none of them"])
