"""The kernels around a network are measured, each by name."""

from __future__ import annotations

import json

import pytest

from tests.engine.gpu.gpu import device
from tools import image_kernels


def test_each_kernel_has_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    if not device().timestamps:
        pytest.skip(f"{device().adapter} has no timestamps: THE TIMES OF KERNELS ARE NOT TESTED")
    words = ["--device", str(device().adapter.index), "--photo", "90x70", "--network", "32", "--repeats", "2"]
    assert image_kernels.main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["photo"] == [70, 90]
    for stage in report["preprocess"].values():
        assert [entry["kernel"] for entry in stage["kernels"]] == ["x"]
        assert stage["gpu"] >= 0
        assert stage["numpy"] > 0
    names = {name: [entry["kernel"] for entry in stage["kernels"]] for name, stage in report["postprocess"].items()}
    assert names["no step"] == ["mask_plane", "enlarge"]
    assert names["feather 2"] == ["mask_plane", "enlarge", "blur", "blur"]
    assert names["smooth 2"] == ["mask_plane", "enlarge", *["blur"] * 6, "sharpen"]
    assert names["expand 2"] == ["mask_plane", "enlarge", "dilate"]
