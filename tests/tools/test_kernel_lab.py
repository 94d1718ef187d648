"""The kernel laboratory on a small network: its records, and the roofline that is drawn of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.caps import Caps
from engine.errors import DeviceLostError, UnsupportedError
from engine.gpu.device.choice import Choice
from engine.tuning.cases import Case, cases
from engine.tuning.timing import Trial
from tests.engine.gpu.cards import CARD
from tests.engine.gpu.gpu import device
from tests.engine.tuning.networks import network, skip_where_nothing_can_be_tuned
from tools.kernel_lab import __main__ as lab
from tools.kernel_lab import measure, roofline, workers
from tools.kernel_lab.measure import groups, measure_layers
from tools.kernel_lab.records import measured, read
from tools.kernel_lab.turns import Turns


def test_records_of_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = device().adapter
    if not adapter.timestamps:
        pytest.skip("the adapter has no timestamps")
    (tmp_path / "small.onnx").write_bytes(network().SerializeToString())
    out = tmp_path / "records.jsonl"
    options = ["--families", "convolution", "--rows", "tiled-scalar,direct", "--out", str(out)]
    assert lab.main([str(tmp_path / "small.onnx"), "--adapter", str(adapter.index), *options]) == 0
    ceilings, *layers = read([out])
    assert ceilings["kind"] == "ceilings"
    assert min(ceilings["copy"], ceilings["f32"]) > 0
    # those with most work first, and of each the table's own row; a product has no direct kernel
    assert [(layer["op"], layer["row"], layer["own"]) for layer in layers] == [
        ("Conv", "tiled-scalar", False),
        ("Conv", "direct", False),
        ("FusedConv", "tiled-scalar", True),
        ("FusedConv", "direct", False),
        ("MatMul", "tiled-scalar", False),
    ]
    first = layers[0]
    assert (first["models"], first["precision"], first["driver"]) == ({"small": 2}, "f32", adapter.driver)
    assert all(layer["right"] and layer["flops"] > 0 and layer["samples"] for layer in layers)
    assert first["flops_per_second"] == first["flops"] / first["seconds"]
    output = capsys.readouterr().out
    assert f"{adapter}: 3 layers with 5 rows; copy " in output
    assert "small f32: 1 layers, " in output
    # what the file has is not measured again
    assert lab.main([str(tmp_path / "small.onnx"), "--adapter", str(adapter.index), *options, "--resume"]) == 0
    assert [record["kind"] for record in read([out])] == ["ceilings", *["layer"] * 5, "ceilings"]


def test_what_it_is_asked_for_and_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = str(tmp_path / "small.onnx"), str(tmp_path / "records.jsonl")
    with pytest.raises(SystemExit, match="no adapter is 'none of them'; "):
        lab.main([model, "--out", out, "--adapter", "none of them"])
    monkeypatch.setattr(lab, "choose", lambda _: Choice(None, "there is no adapter"))
    with pytest.raises(SystemExit, match=r"^there is no adapter; --adapter takes a software adapter, too$"):
        lab.main([model, "--out", out])
    with pytest.raises(SystemExit):
        lab.main([model, "--out", out, "--precision", "f16,f17"])
    assert "f17: f32, f16 or both" in capsys.readouterr().err


@pytest.mark.long(reason="two processes open a device each: 5 s")
def test_workers_measure_what_one_process_does(tmp_path: Path) -> None:
    skip_where_nothing_can_be_tuned()
    (tmp_path / "small.onnx").write_bytes(network().SerializeToString())
    # equal layers of two networks are measured once
    (tmp_path / "same.onnx").write_bytes(network().SerializeToString())
    models = [str(tmp_path / name) for name in ("small.onnx", "same.onnx")]
    out, index = tmp_path / "records.jsonl", str(device().adapter.index)
    options = ["--adapter", index, "--families", "matmul", "--workers", "2", "--out", str(out)]
    assert lab.main([*models, *options]) == 0
    _, *layers = read([out])
    rows = sorted((layer["key"].split()[-1], layer["row"], layer["own"]) for layer in layers)
    assert rows == [
        ("y1x9x11x24", "linear", True),
        ("y1x9x11x24", "strided", False),
        ("y1x9x11x5", "strided", True),
    ]
    assert all(layer["right"] and layer["models"] == {"small": 1, "same": 1} for layer in layers)


def test_who_is_alone_waits_for_all_and_keeps_all_out() -> None:
    turns, begun, leave = Turns(2), threading.Event(), threading.Event()

    def stay(turn: AbstractContextManager[None]) -> None:
        with turn:
            begun.set()
            leave.wait(60)

    with ThreadPoolExecutor(2) as threads:
        for first, second in ((turns.beside(), turns.alone()), (turns.alone(), turns.beside())):
            inside = threads.submit(stay, first)
            assert begun.wait(60)
            begun.clear()
            waiting = threads.submit(stay, second)
            assert not begun.wait(0.05)
            leave.set()
            assert begun.wait(60)
            wait([inside, waiting])
            begun.clear()
            leave.clear()
        with turns.beside():  # two may be beside each other
            leave.set()
            threads.submit(stay, turns.beside()).result(60)


def test_those_that_wait_to_be_alone_do_not_share_the_places() -> None:
    turns, first, second = Turns(2), ExitStack(), ExitStack()
    first.enter_context(turns.beside())
    second.enter_context(turns.beside())

    def alone() -> None:
        with turns.alone():
            pass

    waiting = [threading.Thread(target=alone, daemon=True) for _ in range(2)]
    for each in waiting:
        each.start()
    for each in (first, second):
        time.sleep(0.05)
        each.close()
    for thread in waiting:
        thread.join(60)
        assert not thread.is_alive()


def test_a_layer_that_the_oracle_refuses_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_where_nothing_can_be_tuned()
    file = network().SerializeToString()
    refused, fine = [case for case in cases(file, device().caps) if case.family == "matmul"]
    oracle = Case.oracle

    def refuse(case: Case, seed: int) -> Any:
        if case is refused:
            raise UnsupportedError("no such operator")
        return oracle(case, seed)

    monkeypatch.setattr(Case, "oracle", refuse)
    end = time.monotonic() + 200
    results = list(measure_layers(device(), [refused, fine], rows=None, end=end, turns=Turns()))
    assert [len(each) for each in results] == [0, len(fine.rows)]
    assert f"{refused.key}: no such operator\n" in capsys.readouterr().err


def test_a_software_adapter_has_no_clock_that_must_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_where_nothing_can_be_tuned()
    case = next(case for case in cases(network().SerializeToString(), device().caps) if case.family == "matmul")
    taken: list[str] = []
    monkeypatch.setattr(type(device().adapter), "software", True)
    monkeypatch.setattr(Trial, "wake", lambda trial: taken.append(f"{trial.row} is woken"))
    monkeypatch.setattr(Trial, "sample", lambda trial: taken.append(trial.row) or 1e-3)
    (results,) = measure_layers(device(), [case], rows=None, end=time.monotonic() + 200, turns=Turns())
    # the cold one, and one more of each, not beside the others
    assert len(case.rows) == 2
    assert taken[:6] == [row for result in results for row in [result.timing.row] * 2] + taken[:3:2]


def test_rows_are_on_the_device_as_far_as_there_is_room() -> None:
    (case, *_) = cases(network().SerializeToString(), Caps())
    models = {row: case.compile(row) for row in case.rows}
    sizes = {row: sum(model.plan.buffers) for row, model in models.items()}
    assert len(sizes) > 3
    assert list(groups(models, sum(sizes.values()))) == [list(models)]
    assert list(groups(models, 1)) == [[row] for row in models]
    room = sum(sizes.values()) // 2
    parts = list(groups(models, room))
    assert list(chain.from_iterable(parts)) == list(models)
    assert len(parts) > 1
    assert max(sum(sizes[row] for row in part) for part in parts) <= room
    for part, behind in pairwise(parts):  # as many as fit
        assert sum(sizes[row] for row in (*part, behind[0])) > room


@pytest.mark.parametrize(
    ("kind", "largest", "free", "expected"),
    [
        ("discrete", 32, 4, 8),
        ("discrete", 2, 4, 2),
        ("integrated", 4, 16, 4),
        ("integrated", 4, 6, 3),
        ("other", 4, 6, 3),
        ("software", 2, 1, 0.5),
    ],
)
def test_what_rows_may_take_together(
    kind: str, largest: int, free: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In GiB: no card has less than its largest buffer, and what is no card takes the machine's memory."""
    monkeypatch.setattr(measure, "available_memory", lambda: free << 30)
    adapter = replace(CARD, kind=kind, limits={**CARD.limits, "max-buffer-size": largest << 30})
    assert measure.group_bytes(adapter) == expected * (1 << 30)


def test_processes_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_where_nothing_can_be_tuned()
    case = next(case for case in cases(network().SerializeToString(), device().caps) if case.family == "matmul")
    rooms: list[int] = []
    monkeypatch.setattr(measure, "group_bytes", lambda _: 3 << 30)
    monkeypatch.setattr(measure, "groups", lambda _, room: rooms.append(room) or [])
    list(measure_layers(device(), [case], rows=None, end=time.monotonic() + 30, turns=Turns(3)))
    assert rooms == [1 << 30]


def test_where_a_worker_fails_the_others_do_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    cancelled, cancel = threading.Event(), workers._cancel

    def fail(*arguments: Any) -> None:
        begun.append(arguments[0])
        assert len(begun) == 1 or cancelled.wait(60)
        raise DeviceLostError("lost")

    def tell(futures: Iterable[Future[Any]]) -> None:
        cancel(futures)
        cancelled.set()

    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda count, *_: ThreadPoolExecutor(count))
    monkeypatch.setattr(workers, "_in_worker", fail)
    monkeypatch.setattr(workers, "_cancel", tell)
    case = next(iter(cases(network().SerializeToString(), device().caps)))
    layers = [workers.Layer(case, {})] * (40 * workers.SHARE)
    with pytest.raises(DeviceLostError):
        list(workers.measure(device().adapter, layers, seconds=200, workers=2))
    assert len(begun) <= 3


def test_what_was_measured_is_of_the_adapter() -> None:
    adapter = device().adapter
    here = {"adapter": adapter.name, "implementation": adapter.implementation}
    found = [record("k1", "a", 1.0, **here), record("k1", "b", 1.0, **here)]
    found += [record("k2", "a", 1.0, **{**here, word: "other"}) for word in here]
    assert measured([{"kind": "ceilings", **here}, *found], adapter) == {("f32", "k1")}


def record(key: str, row: str, seconds: float, **values: Any) -> dict[str, Any]:
    facts = {"kind": "layer", "precision": "f32", "models": {"net": 2}, "family": "convolution", "right": True}
    return {**facts, "key": key, "row": row, "own": row == "a", "seconds": seconds, **values}


RECORDS = [
    {"kind": "ceilings", "adapter": "Card", "implementation": "dawn", "copy": 1e12, "f32": 5e13, "matrix": 6e14},
    record("k1", "a", 1e-3, flops=10**10, bytes=10**8),
    record("k1", "b", 5e-4, flops=10**10, bytes=10**8),
    record("k1", "c", 1e-4, flops=10**10, bytes=10**8, right=False),
    record("k2", "a", 1e-5, flops=10**7, bytes=10**7),
    record("k2", "a", 2e-5, flops=10**7, bytes=10**7),
]


def test_points() -> None:
    own = roofline.points_of(RECORDS, "net", "f32")
    assert [(point.row, point.seconds, point.count) for point in own] == [("a", 1e-3, 2), ("a", 2e-5, 2)]
    assert (own[0].intensity, own[0].rate) == (100.0, 1e13)
    assert own[0].of_roof(copy=1e12, unit=5e13) == pytest.approx(0.2)
    assert own[1].of_roof(copy=1e12, unit=5e13) == pytest.approx(0.5)
    best = roofline.points_of(RECORDS, "net", "f32", best=True)
    assert [point.row for point in best] == ["b", "a"]
    assert roofline.points_of(RECORDS, "net", "f16") == []


def test_the_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "records.jsonl", tmp_path / "plot.svg"
    source.write_text("\n".join(map(json.dumps, RECORDS)), encoding="utf-8")
    assert roofline.main([str(source), "--model", "net", "--out", str(target), "--title", "a < b"]) == 0
    assert "| k1 " in capsys.readouterr().out
    root = ElementTree.fromstring(target.read_text("utf-8"))
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{name}text")]
    assert "a < b" in texts
    assert "1000 GB/s" in texts
    assert "f32, 50 TFLOP/s" in texts
    # nothing here ran on matrix units
    assert not any("matrix" in text for text in texts if text)
    layers = [element for element in root.iter(f"{name}circle") if len(element)]
    assert [element[0].text.split(":")[0] for element in layers if element[0].text] == ["k1", "k2"]
    first, second = ({side: float(element.attrib[side]) for side in ("cx", "cy", "r")} for element in layers)
    assert first["cx"] > second["cx"]
    assert first["cy"] < second["cy"]
    assert first["r"] > second["r"]


def test_a_profile_is_drawn_by_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def kernel(op: str, node: str, name: str, flops: int) -> dict[str, Any]:
        return {"op": op, "node": node, "kernel": name, "seconds": 1e-4, "flops": flops, "nbytes": 10**7}

    kernels = [
        kernel("Conv", "first", "winograd_input", 0),
        kernel("Conv", "first", "winograd_product", 10**9),
        kernel("Conv", "second", "winograd_input", 0),
        kernel("Conv", "second", "winograd_product", 10**9),
        kernel("Resize", "third", "resize", 10**7),
        kernel("Copy", "fourth", "copy", 0),
    ]
    profile = {"model": "net", "precision": "f32", "kernels": kernels}
    points = roofline.points_of_profile(profile)
    assert [(point.key, point.kind, point.count) for point in points] == [
        ("Conv first", "winograd_product", 2),
        ("Resize third", "resize", 1),
    ]
    assert (points[0].seconds, points[0].flops, points[0].nbytes) == (2e-4, 10**9, 2 * 10**7)
    (tmp_path / "profile.json").write_text(json.dumps(profile), encoding="utf-8")
    (tmp_path / "records.jsonl").write_text(json.dumps(RECORDS[0]), encoding="utf-8")
    arguments = [str(tmp_path / "records.jsonl"), "--profile", str(tmp_path / "profile.json")]
    assert roofline.main([*arguments, "--out", str(tmp_path / "plot.svg")]) == 0
    assert "net, f32, dawn, Card" in (tmp_path / "plot.svg").read_text("utf-8")
    assert "2 layers, 0.500 ms" in capsys.readouterr().out
