"""What is remembered of adapters between processes: that there is none, and whether matrix units compute."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.caps import MatrixUnits
from engine.gpu.device import memory, probe
from engine.gpu.device.capabilities import caps_of
from engine.gpu.device.choice import choose
from engine.gpu.device.probe import Verdict
from engine.session import Session
from tests.engine.gpu.cards import DAWN_CARD
from tests.engine.in_threads import SMALL
from tests.project import output_of

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="each process searches here: A REMEMBERED SEARCH IS NOT TESTED"
)

SCRIPT = """
import json, sys
from pathlib import Path
import engine
from engine.gpu.device.base import PythonApi
from engine.gpu.device.dawn import Dawn
PythonApi.list_handles = Dawn.list_handles = lambda implementation: []
engine.remember_adapters(Path(sys.argv[1]))
from tests.engine.in_threads import SMALL
if sys.argv[2] == "devices":
    said = engine.devices().reason
else:
    with engine.Session(SMALL) as session:
        said = session.info.reason
print(json.dumps([said, sorted({"wgpu", "wgpudawn"} & set(sys.modules))]))
"""


def ask(folder: Path, what: str = "session", **variables: str) -> tuple[str, list[str]]:
    """What a process with no adapter says, and the implementations that it loaded."""
    said, loaded = json.loads(output_of(SCRIPT, str(folder), what, **variables))
    return said, loaded


@LINUX
def test_a_second_session_loads_no_implementation_where_there_was_no_gpu(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first, loaded = ask(folder, XDG_DATA_HOME=str(tmp_path))
    assert "wgpu" in loaded
    assert ask(folder, XDG_DATA_HOME=str(tmp_path)) == (first, [])
    # who asks for the GPU gets a search
    _, loaded = ask(folder, "devices", XDG_DATA_HOME=str(tmp_path))
    assert "wgpu" in loaded
    icd = tmp_path / "vulkan" / "icd.d" / "card.json"
    icd.parent.mkdir(parents=True)
    icd.write_text("{}")
    assert "wgpu" in ask(folder, XDG_DATA_HOME=str(tmp_path))[1]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    memory.remember_adapters(tmp_path)
    yield tmp_path
    memory.remember_adapters(None)


def absent_later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> str | None:
    now = memory.time.time()
    monkeypatch.setattr(memory.time, "time", lambda: now + seconds)
    return memory.absence()


@LINUX
def test_it_is_remembered_for_a_week_and_not_from_the_future(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.note_absence("no driver")
    assert memory.absence() == "no driver"
    assert [path.name for path in folder.iterdir()] == ["adapters.json"]
    with monkeypatch.context() as context:
        assert absent_later(context, memory.ABSENCE_S - 60) == "no driver"
    with monkeypatch.context() as context:
        assert absent_later(context, memory.ABSENCE_S + 60) is None
    assert absent_later(monkeypatch, -60) is None


@LINUX
def test_another_driver_device_or_version_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    icd = tmp_path / "card.json"
    monkeypatch.setenv("VK_DRIVER_FILES", str(icd))
    digests = [memory.machine()]

    def changed(change: Callable[[], object]) -> None:
        change()
        digests.append(memory.machine())

    changed(lambda: icd.write_text("{}"))
    changed(lambda: os.utime(icd, ns=(0, 0)))
    changed(lambda: monkeypatch.setenv("MESA_VK_DEVICE_SELECT", "list"))
    changed(lambda: monkeypatch.setattr(memory, "DEVICES", ("/dev/null",)))
    changed(lambda: monkeypatch.setattr(memory, "implementation_stamp", lambda name: f"{name} of tomorrow"))
    assert None not in digests
    assert len(set(digests)) == len(digests)
    assert memory.machine() == digests[-1]


def test_where_drivers_are_not_known_nothing_is_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.note_absence("no driver")
    assert memory.absence() is None
    assert list(folder.iterdir()) == []


@LINUX
@pytest.mark.parametrize("content", ["", "[]", '{"absence": 3}', '{"absence": {"time": "x", "reason": 1}}', "[" * 9999])
def test_a_damaged_file_is_a_search(folder: Path, content: str) -> None:
    (folder / "adapters.json").write_text(content)
    assert memory.absence() is None
    assert memory.matrix_units("x") is None
    memory.note_absence("no driver")
    assert memory.absence() == "no driver"


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory.remember_adapters(tmp_path / "file" / "below")
    try:
        memory.note_absence("no driver")
        assert memory.absence() is None
    finally:
        memory.remember_adapters(None)


@pytest.mark.parametrize(
    ("result", "probes"),
    [
        (Verdict(True, "right", MatrixUnits(32, m=16, n=8, k=4, spelling="dawn", truncates=True), tried=True), 1),
        (Verdict(False, "wrong", tried=True), 1),
        (Verdict(False, "refused"), 2),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_second_process_opens_no_device_for_a_product(
    monkeypatch: pytest.MonkeyPatch, result: Verdict, probes: int
) -> None:
    card = replace(DAWN_CARD, matrix_shapes=("f16→f32 16x16x16",))
    calls = []
    monkeypatch.setattr(probe, "try_matrix_units", lambda adapter: calls.append(adapter) or result)
    for _ in range(2):
        monkeypatch.setattr(probe, "_results", {})  # as a new process has it
        assert caps_of(card).matrix_units == result.units
        assert caps_of(card, matrix_units=False).matrix_units is None
    assert len(calls) == probes
    monkeypatch.setattr(probe, "_results", {})
    caps_of(replace(card, driver="maker 590"))
    assert len(calls) == probes + 1


@LINUX
@pytest.mark.usefixtures("folder")
def test_who_asks_for_webgpu_gets_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.note_absence("remembered")
    assert choose(remembered=True).reason == "remembered"
    assert choose().reason != "remembered"
    monkeypatch.setattr("engine.gpu.device.choice.choose", lambda _, *, remembered: pytest.fail(str(remembered)))
    for backend, expected in (("auto", "True"), ("webgpu", "False")):
        with pytest.raises(pytest.fail.Exception, match=expected):
            Session(SMALL, backend=backend)
