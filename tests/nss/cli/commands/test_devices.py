"""``nss-wgpu devices``: what it prints for a card, for software alone, and for no driver at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import engine
from nss.cli import drivers
from nss.cli.drivers import advice
from nss.cli.main import main
from nss.cli.table import aligned, format_bytes
from tests.project import ROOT
from tests.wall_clock import within

LIMITS = {
    "max-buffer-size": 4 << 30,
    "max-storage-buffer-binding-size": 128 << 20,
    "max-compute-workgroup-storage-size": 48 << 10,
    "max-compute-invocations-per-workgroup": 1024,
    "max-storage-buffers-per-shader-stage": 8,
}
CARD = engine.DeviceInfo(
    index=0,
    name="Fast Card 9",
    implementation="dawn",
    api="Vulkan",
    driver="maker 580",
    kind="discrete",
    software=False,
    f16=True,
    timestamps=True,
    subgroup=(32, 32),
    matrix_shapes=("f16→f32 16x16x16", "i8→i32 16x16x32"),
    matrix_works=True,
    matrix_reason="a product of f16→f32 16x16x16 came out right",
    limits=LIMITS,
)
SOFTWARE = engine.DeviceInfo(
    index=1,
    name="Rasterizer",
    implementation="wgpu",
    api="Vulkan",
    driver="",
    kind="software",
    software=True,
    f16=False,
    timestamps=False,
    subgroup=None,
    matrix_shapes=(),
    matrix_works=None,
    matrix_reason="wgpu lists none on this adapter",
    limits=LIMITS,
)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command prints where these are the adapters."""

    def run(listing: engine.Devices, *arguments: str) -> str:
        monkeypatch.setitem(vars(engine), "devices", lambda **_: listing)
        monkeypatch.setattr(drivers, "advice", lambda: ["install this", "or that"])
        assert main(["devices", *arguments]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


def test_a_card_and_a_software_adapter(show: Callable[..., str]) -> None:
    lines = show(engine.Devices((CARD, SOFTWARE), 0, "the first hardware adapter")).splitlines()
    head, card, software = (line.split() for line in lines[:3])
    assert " ".join(head) == "# NAME WEBGPU API DRIVER KIND F16 SUBGROUPS TIMESTAMPS MATRIX UNITS"
    assert " ".join(card) == "* 0 Fast Card 9 dawn Vulkan maker 580 discrete yes 32 yes work"
    assert " ".join(software) == "1 Rasterizer wgpu Vulkan - software no - no no"
    text = "\n".join(lines)
    limits = "buffer 4 GiB, binding 128 MiB, workgroup memory 48 KiB, 1024 invocations, 8 storage buffers"
    assert f"0  limits: {limits}" in text
    assert "came out right (lists f16→f32 16x16x16, i8→i32 16x16x32)" in text
    assert "backend auto: webgpu on adapter 0; the first hardware adapter" in text
    assert lines[-2].startswith("order: discrete adapters before integrated ones")
    assert "install" not in text


def test_two_cards_of_one_make(show: Callable[..., str]) -> None:
    first, second = (replace(CARD, index=i, implementation="wgpu", ordinal=i, equals=2) for i in range(2))
    failures = {"other": "cannot be loaded (OSError: no such library)"}
    cards = engine.Devices(
        (first, second, replace(CARD, index=2)), 0, "the first hardware adapter", cards=2, failures=failures
    )
    lines = show(cards).splitlines()
    assert [" ".join(line.split()[:6]) for line in lines[1:4]] == [
        "* 0 Fast Card 9 #1",
        "1 Fast Card 9 #2 wgpu",
        "2 Fast Card 9 dawn Vulkan",
    ]
    assert lines[-4:-2] == [
        "cards: the drivers have 2; dawn shows 1 of them",
        "other: cannot be loaded (OSError: no such library)",
    ]


def test_software_alone(show: Callable[..., str]) -> None:
    lines = show(engine.Devices((SOFTWARE,), None, "there is only a software adapter")).splitlines()
    assert lines[-3:] == ["backend auto: numpy; there is only a software adapter", "  install this", "  or that"]
    assert not any(line.startswith(("*", "order")) for line in lines)


def test_no_adapter(show: Callable[..., str]) -> None:
    lines = show(engine.Devices((), None, "no WebGPU adapter: found no driver")).splitlines()
    assert lines == ["backend auto: numpy; no WebGPU adapter: found no driver", "  install this", "  or that"]


def test_json(show: Callable[..., str]) -> None:
    record = json.loads(show(engine.Devices((CARD,), 0, "the first hardware adapter"), "--json"))
    assert (record["chosen"], record["reason"], record["advice"]) == (0, "the first hardware adapter", [])
    (adapter,) = record["adapters"]
    assert adapter["limits"] == LIMITS
    assert adapter["matrix_works"] is True
    assert adapter["subgroup"] == [32, 32]


@pytest.mark.skipif(sys.platform != "linux", reason="on other systems drivers cannot be hidden by a variable")
@pytest.mark.wall_clock
def test_without_a_driver_it_answers_soon_and_says_what_to_install() -> None:
    hidden = dict.fromkeys(("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"), "/nonexistent")
    with within(30):  # 0.7 s on an idle machine
        outcome = subprocess.run(
            [sys.executable, "-m", "nss", "devices"],
            cwd=ROOT,
            env={**os.environ, **hidden},
            capture_output=True,
            text=True,
            check=True,
        )
    assert outcome.stderr == ""
    first, *rest = outcome.stdout.splitlines()
    assert first.startswith("backend auto: numpy; no WebGPU adapter: ")
    assert [line.strip() for line in rest] == advice()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NAME=x\nID=debian\n", "apt install mesa-vulkan-drivers"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt install mesa-vulkan-drivers"),
        ("ID=fedora", "dnf install mesa-vulkan-drivers"),
        ('ID="opensuse-leap"\n', "zypper install"),
        ("ID=arch", "pacman -S vulkan-radeon"),
        ("ID=plan9", "the Vulkan loader"),
        ("", "the Vulkan loader"),
    ],
)
def test_advice_follows_the_distribution(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    lines = advice("linux", file)
    assert expected in lines[0]
    assert "container" in lines[-1]


def test_advice_elsewhere(tmp_path: Path) -> None:
    assert "Direct3D 12" in advice("win32")[0]
    assert "Metal" in advice("darwin")[0]
    assert "Vulkan driver" in advice("linux", tmp_path / "missing")[0]


def test_tables_and_sizes() -> None:
    assert aligned([["a", "12"], ["bcd", "3"]], numbers=(1,)) == ["a    12", "bcd   3"]
    sizes = [0, 900, 1024, 1536, 4_800_000, 128 << 20, (1 << 30) - 1, 2 << 30, 5 << 40]
    expected = ["0 bytes", "900 bytes", "1 KiB", "1.5 KiB", "4.6 MiB", "128 MiB", "1 GiB", "2 GiB", "5120 GiB"]
    assert [format_bytes(size) for size in sizes] == expected
