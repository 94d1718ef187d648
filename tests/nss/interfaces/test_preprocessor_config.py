"""``preprocessor_config.json``: what is read of it, where it is looked for, and what is ignored with a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nss.interfaces import preprocessor_config
from nss.interfaces.interface import EdgeSize, FixedSize
from tests.nss.interfaces.preprocessor_configs import WHOLE


def parse(**changes: Any) -> tuple[dict[str, Any], list[str]]:
    values = {key: value for key, value in {**WHOLE, **changes}.items() if value is not ...}
    description, lines = preprocessor_config.parse(values, "config")
    return dict(description), lines


def test_all_that_it_says_is_read() -> None:
    assert parse() == (
        {
            "mean": (0.5, 0.5, 0.5),
            "std": (1.0, 1.0, 1.0),
            "scale": 1 / 255,
            "size": FixedSize(1024, 768),
            "filter": "bilinear-antialias",
            "channels": "RGB",
        },
        [],
    )


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"size": {"shortest_edge": 512}}, EdgeSize("shortest", 512)),
        ({"size": {"shortest_edge": 512}, "size_divisor": 32}, EdgeSize("shortest", 512, 32)),
        ({"size": {"shortest_edge": 512}, "size_divisibility": 32}, EdgeSize("shortest", 512, 32)),
        ({"size": {"longest_edge": 1024}, "ensure_multiple_of": 14}, EdgeSize("longest", 1024, 14)),
        ({"size": 320}, FixedSize(320, 320)),
        ({"size": [320, 640]}, FixedSize(320, 640)),
        ({"do_resize": False}, None),
        ({"size": ...}, None),
    ],
)
def test_sizes(changes: dict[str, Any], size: object) -> None:
    description, lines = parse(**changes)
    assert (description.get("size"), lines) == (size, [])


@pytest.mark.parametrize(
    ("resample", "expected"),
    [
        (0, "nearest"),
        (1, "lanczos-antialias"),
        (2, "bilinear-antialias"),
        (3, "bicubic-antialias"),
        (None, None),
    ],
)
def test_filters_are_pillows(resample: int | None, expected: str | None) -> None:
    description, lines = parse(resample=resample)
    assert (description.get("filter"), lines) == (expected, [])


def test_what_is_not_done() -> None:
    raw, lines = parse(do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3)
    assert (raw["scale"], raw["mean"], raw["std"], lines) == (1, (127.5,) * 3, (127.5,) * 3, [])
    unit, lines = parse(do_normalize=False)
    assert (unit["scale"], unit["mean"], unit["std"], lines) == (1 / 255, (0.0,), (1.0,), [])
    assert not {"mean", "std"} & set(parse(do_normalize=..., image_mean=..., image_std=...)[0])
    assert parse(do_flip_channel_order=True)[0]["channels"] == "BGR"
    assert parse(rescale_factor=...)[0]["scale"] == 1 / 255


@pytest.mark.parametrize(
    ("changes", "without", "line"),
    [
        ({"image_mean": "half"}, "mean", 'config: mean "half": a number'),
        ({"image_std": [0, 1, 1]}, "std", "config: std [0, 1, 1]: a number other than 0"),
        ({"size": {"width": 7}}, "size", 'config: size {"width": 7}: 512, '),
        ({"size": {"shortest_edge": -1}}, "size", "config: size"),
        ({"resample": 9}, "filter", "config: resample 9 is none of Pillow's filters; ignored"),
        ({"resample": True}, "filter", "config: resample true is none of Pillow's filters; ignored"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_kept(changes: dict[str, Any], without: str, line: str) -> None:
    description, lines = parse(**changes)
    assert set(parse()[0]) - set(description) == {without}
    assert len(lines) == 1
    assert lines[0].startswith(line)
    assert "ignored" in lines[0]


def test_what_is_not_followed_is_said() -> None:
    description, lines = parse(resample=4, size={"shortest_edge": 256, "longest_edge": 900})
    assert (description["filter"], description["size"]) == ("bilinear-antialias", EdgeSize("shortest", 256))
    assert ["longest_edge" in lines[0], "(box)" in lines[1]] == [True, True]
    description, lines = parse(do_center_crop=True, crop_size={"height": 224, "width": 224})
    assert (description["size"], len(lines)) == (FixedSize(224, 224), 1)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b" " * (preprocessor_config.LARGEST + 1)]
)
def test_a_damaged_file_is_ignored_with_a_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / preprocessor_config.NAME
    path.write_bytes(content)
    description, (line,) = preprocessor_config.read(path)
    assert description == {}
    assert line.startswith(f"{path}: ignored: ")


def test_it_lies_beside_the_model_or_above_its_onnx_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("onnx", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.onnx").touch()
    assert preprocessor_config.beside(tmp_path / "onnx" / "model.onnx") is None
    above = tmp_path / preprocessor_config.NAME
    above.write_text(json.dumps(WHOLE))
    assert preprocessor_config.beside(tmp_path / "onnx" / "model.onnx") == above
    assert preprocessor_config.beside(tmp_path / "other" / "model.onnx") is None
    monkeypatch.chdir(tmp_path / "onnx")
    assert preprocessor_config.beside(Path("model.onnx")) == above
    nearer = tmp_path / "onnx" / preprocessor_config.NAME
    nearer.mkdir()
    assert preprocessor_config.beside(tmp_path / "onnx" / "model.onnx") == above
    nearer.rmdir()
    nearer.write_text("{}")
    assert preprocessor_config.beside(tmp_path / "onnx" / "model.onnx") == nearer


def test_a_link_is_taken_where_it_lies(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "123").touch()
    (blobs / preprocessor_config.NAME).write_text("{}")  # of another file
    (blobs / "456").write_text(json.dumps(WHOLE))
    (snapshot / "model.onnx").symlink_to("../../../blobs/123")
    (snapshot.parent / preprocessor_config.NAME).symlink_to("../../blobs/456")
    assert preprocessor_config.beside(snapshot / "model.onnx") == snapshot.parent / preprocessor_config.NAME
