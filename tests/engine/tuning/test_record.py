"""A record of an adapter: read, refused where it is damaged, and made into defaults that such an adapter then has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.caps import PORTABLE
from engine.errors import InputError
from engine.gpu import kernels  # noqa: F401 (registers the tables)
from engine.gpu.lowering.table import check_choices
from engine.tuning import defaults as shipped
from engine.tuning.cases import cases
from engine.tuning.choices import choices_of
from engine.tuning.defaults import FOLDER, defaults_of, load, make_of
from engine.tuning.record import read_record
from engine.tuning.store import is_rows
from tests.engine.gpu.cards import CARD, FAKE
from tests.engine.models import U2NETP
from tools.tuning_defaults import main

RECORD = Path(__file__).with_name("lavapipe.json")
"""What ``nss-wgpu tune --record`` wrote of a small network, on Mesa's software adapter."""

FIRST = "convolution f32 f32 n1 c3 m4 g1 in32x32 k3x3 s1x1 d1x1 out32x32"
SECOND = "convolution f32 f32 n1 c4 m1 g1 in32x32 k1x1 s1x1 d1x1 out32x32"
LAVAPIPE = replace(FAKE, name="llvmpipe (LLVM 19.1, 256 bits)", driver="Mesa 25.0")


def test_a_record_is_read() -> None:
    record = read_record(RECORD.read_text("utf-8"))
    assert record.adapter["name"] == "llvmpipe (LLVM 15.0.6, 256 bits)"
    assert (record.adapter["make"], record.precision) == ((65541, 0), "f32")
    assert [(layer.key, layer.table) for layer in record.layers] == [(FIRST, "tiled-scalar"), (SECOND, "tiled-narrow")]
    for layer in record.layers:
        assert layer.seconds["direct"] < layer.seconds[layer.table]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "photo"}, "no record of a tuning"),
        ({"format": 2}, "has format 2; this version reads 1"),
        ({"layers": [{"key": "k"}]}, "the record is damaged: KeyError"),
        ({"layers": 3}, "the record is damaged: TypeError"),
        ({"adapter": {}}, "the record is damaged: KeyError"),
        ({"date": 3}, "the record is damaged: TypeError"),
        ({"layers": [{"key": "k", "table": "a b", "rows": []}]}, "a layer has no key or no row"),
        ({"layers": [{"key": "k", "table": "a", "rows": [{"row": "a", "seconds": -1}]}]}, "a row took no time"),
        ({"layers": [{"key": "k", "table": "a", "rows": [{"row": "a", "seconds": "x"}]}]}, "the record is damaged"),
        ({"layers": [{"key": "k", "table": "a", "rows": [{"row": "a", "seconds": 10**400}]}]}, "the record is damaged"),
    ],
)
def test_a_damaged_record_is_refused_in_a_line(change: dict[str, Any], said: str) -> None:
    document = json.loads(RECORD.read_text("utf-8"))
    with pytest.raises(InputError, match=said) as caught:
        read_record(json.dumps({**document, **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "[]", "3", "[" * 100_000])
def test_what_is_no_record_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(InputError, match=r"the record is no JSON|no record of a tuning"):
        read_record(text)


def test_defaults_are_made_of_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(RECORD.read_text("utf-8"))
    document["layers"][1]["rows"] = [{"row": row, "seconds": 1.0} for row in ("tiled-narrow", "direct")]
    (tmp_path / "record.json").write_text(json.dumps(document))
    assert main([str(tmp_path / "record.json"), "--command", "nss-wgpu tune small", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "llvmpipe-wgpu.json: 1 in f32, llvmpipe (LLVM 15.0.6, 256 bits)\n"
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    defaults = defaults_of(LAVAPIPE)
    assert defaults.choices == {"f32": {FIRST: "direct"}}
    assert defaults.origin["command"] == "nss-wgpu tune small"
    assert choices_of(LAVAPIPE, "f32").describe([FIRST]) == (
        "not tuned; defaults measured on llvmpipe (LLVM 15.0.6, 256 bits)"
    )
    assert defaults_of(CARD).choices == {}
    # compiled models are kept by them: of that make, that precision
    digests = [choices_of(*each).digest for each in ((LAVAPIPE, "f32"), (LAVAPIPE, "f16"), (CARD, "f32"))]
    assert digests[0]
    assert digests[1:] == ["", ""]
    # a second record of the same driver adds to it
    assert main([str(RECORD), "--command", "again", "--out", str(tmp_path)]) == 0
    load.cache_clear()
    assert defaults_of(LAVAPIPE).choices == {"f32": {FIRST: "direct", SECOND: "direct"}}


def test_defaults_are_made_of_the_laboratorys_records(tmp_path: Path) -> None:
    facts = {"adapter": "NVIDIA H200", "vendor": 0x10DE, "model": 1, "driver": "580", "implementation": "dawn"}
    facts |= {"package": "wgpudawn 1", "engine": "0.1.0", "date": "2026-11-29"}
    layers = [
        ("f32", FIRST, "tiled-scalar", 2.0, True, 1e-6),
        ("f32", FIRST, "direct", 1.0, True, 7e-6),
        ("f32", FIRST, "tiled-wide", 0.5, False, 1.0),
        # faster, and right, and further off than choices that nobody looks at again may be
        ("f32", FIRST, "winograd-4x4", 0.5, True, 8e-6),
        # what is no further off than twice the table's own row is exact enough, too
        ("f32", SECOND, "tiled-narrow", 2.0, True, 1e-5),
        ("f32", SECOND, "direct", 1.0, True, 1.9e-5),
        ("f32", SECOND, "tiled-wide", 0.5, True, 2.1e-5),
        ("f16", SECOND, "tiled-narrow", 2.0, True, 1e-4),
        ("f16", SECOND, "direct", 1.99, True, 1e-4),
    ]
    words = ("precision", "key", "row", "seconds", "right", "error")
    lines = [{"kind": "ceilings", **facts, "copy": 1e12}]
    for layer in layers:
        entry = {"kind": "layer", **facts, **dict(zip(words, layer, strict=True))}
        lines.append({**entry, "own": entry["row"].startswith(("tiled-scalar", "tiled-narrow"))})
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(path), "--command", "python -m tools.kernel_lab", "--out", str(tmp_path)]) == 0
    defaults = load(tmp_path / "nvidia-dawn.json")
    assert defaults.choices == {"f32": {FIRST: "direct", SECOND: "direct"}, "f16": {}}
    assert (defaults.origin["adapter"], defaults.origin["implementation"]) == ("NVIDIA H200", "wgpudawn 1")


def test_a_record_of_another_make_makes_no_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(RECORD.read_text("utf-8"))
    document["adapter"]["name"] = "Slow Rasterizer"
    (tmp_path / "record.json").write_text(json.dumps(document))
    assert main([str(tmp_path / "record.json"), "--command", "x", "--out", str(tmp_path)]) == 1
    assert "Slow Rasterizer is of no make" in capsys.readouterr().err


def test_makes() -> None:
    assert make_of("NVIDIA H200", (0x10DE, 0x2335)) == "nvidia"
    assert make_of("SwiftShader Device (Subzero)", (6880, 49374)) == "swiftshader"
    assert make_of("Some Card", (1, 2)) is None


def test_what_comes_with_the_package_is_whole() -> None:
    for path in FOLDER.glob("*.json"):
        defaults = load(path)
        assert defaults.origin.keys() == {"adapter", "driver", "implementation", "engine", "date", "command"}, path
        assert all(map(is_rows, defaults.choices.values())), path
        for rows in defaults.choices.values():
            check_choices(rows)  # a row that was renamed would be passed over in silence


def test_what_was_measured_on_a_network_is_of_its_layers() -> None:
    choices = load(FOLDER / "llvmpipe-wgpu.json").choices["f32"]
    assert choices
    keys = {case.key for case in cases(U2NETP, PORTABLE)}
    assert choices.keys() <= keys  # else keys have another form now, and nobody has these choices
