"""``nss-wgpu eval``: what is compared with what, the table, the JSON and the exit status."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.cli.commands.evaluate import COLUMNS
from nss.cli.main import main
from nss.evaluation.metrics import Scores, scores


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Empty folders for predictions and truths."""
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    pred.mkdir()
    truth.mkdir()
    return pred, truth


def mask(seed: int = 0, size: tuple[int, int] = (30, 40)) -> np.ndarray:
    """A soft disc with noise, uint16 HxW."""
    rows, columns = np.indices(size)
    noise = np.random.default_rng(seed).normal(0, 0.05, size)
    soft = np.clip(10 - np.hypot(rows - 14, columns - 18) + noise, 0, 4) / 4
    return np.rint(soft * 65535).astype(np.uint16)


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def rgba(alpha: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A cut-out of one colour with this alpha, uint16 HxW reduced to 8 bits."""
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, np.rint(alpha / 257)
    return pixels


def outcome(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    capsys.readouterr()
    status = main(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def record(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], list[str]]:
    status, out, err = outcome(capsys, *arguments, "--json")
    return status, json.loads("\n".join(out)), err


def test_all_16_bits_of_masks_are_compared(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    pred, truth = folders
    for name, seed in (("a", 1), ("b c", 2)):
        save(pred / f"{name}.mask.png", mask(seed))
        save(truth / f"{name}.png", mask())
    status, result, err = record(capsys, *folders)
    assert (status, err, result["unmatched"]) == (0, [], [])
    expected = [asdict(scores(mask(seed) / 65535, mask() / 65535)) for seed in (1, 2)]
    for item, name, measures in zip(result["images"], ("a", "b c"), expected, strict=True):
        assert (item["name"], item["error"], item["colour"]) == (name, None, None)
        assert item["pred"] == str(pred / f"{name}.mask.png")
        assert {key: item[key] for key in COLUMNS if item[key] is not None} == pytest.approx(
            {key: value for key, value in measures.items() if value is not None}, rel=1e-4
        )
    assert result["mean"]["sad"] == pytest.approx((expected[0]["sad"] + expected[1]["sad"]) / 2, rel=1e-4)
    assert result["mean"]["colour"] is None


def test_the_table(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    pred, truth = folders
    save(pred / "photo.png", mask())
    save(truth / "photo.png", mask())
    status, out, err = outcome(capsys, *folders)
    assert (status, err) == (0, [])
    assert out[0].split() == ["IMAGE", *" ".join(head for head, _ in COLUMNS.values()).split()]
    assert out[1].split()[:6] == ["photo", "0.00000", "0.000", "0.000000", "0.000", "0.000"]
    assert out[1].split()[-1] == "-"
    assert out[2].split()[1:] == out[1].split()[1:]
    assert out[2].startswith("mean ")
    assert len(out) == 3


def test_every_measure_has_a_column() -> None:
    assert list(COLUMNS) == list(Scores.__dataclass_fields__)


def test_colours_are_compared_where_the_prediction_shows_them(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]
) -> None:
    pred, truth = folders
    alpha = mask()
    unseen = alpha.copy()
    unseen[:, :18] = 0
    cutout = rgba(unseen, (110, 100, 70))
    cutout[unseen == 0, :3] = 255  # wholly transparent: no one sees that it is wrong
    save(pred / "a.cutout.png", cutout)
    save(pred / "b.mask.png", alpha)
    for name in "ab":
        save(truth / f"{name}.png", alpha)
        save(truth / f"{name}.foreground.png", np.full((30, 40, 3), (100, 100, 100), np.uint8))
    _, result, _ = record(capsys, *folders)
    first, second = result["images"]
    assert first["colour"] == pytest.approx(40 / 3)
    assert second["colour"] is None
    assert result["mean"]["colour"] == first["colour"]
    assert result["mean"]["mae"] == pytest.approx((first["mae"] + second["mae"]) / 2)


def test_a_cutout_that_lost_nothing_is_all_foreground(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]
) -> None:
    pred, truth = folders
    save(pred / "a.cutout.png", rgba(np.full((30, 40), 65535, np.uint16), (1, 2, 3)))
    save(truth / "a.png", mask())
    status, result, _ = record(capsys, *folders)
    assert status == 0
    assert result["images"][0]["mae"] == pytest.approx(1 - (mask() / 65535).mean(), rel=1e-5)


def test_the_first_of_several_endings_is_taken(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    pred, truth = folders
    save(truth / "a.png", mask())
    for name in ("a.png", "a.mask.png", "a.cutout.webp"):
        save(pred / name, rgba(mask(), (1, 2, 3)))
        _, result, err = record(capsys, *folders)
        assert [item["pred"] for item in result["images"]] == [str(pred / name)]
        assert err == []


def test_what_cannot_be_compared_fails_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]
) -> None:
    pred, truth = folders
    for name in "abcde":
        save(truth / f"{name}.png", mask())
    save(pred / "a.png", mask(size=(30, 41)))
    (pred / "b.png").write_bytes(b"no image")
    save(pred / "c.png", rgba(mask(), (1, 2, 3)))
    save(pred / "c.webp", rgba(mask(), (1, 2, 3)))
    save(pred / "d.png", mask())
    save(pred / "e.png", rgba(mask(), (1, 2, 3)))
    save(truth / "e.foreground.png", np.zeros((31, 40, 3), np.uint8))
    status, out, err = outcome(capsys, *folders)
    assert status == 1
    assert [line.split()[1] for line in out[1:-1]] == ["failed", "failed", "failed", "0.00000", "failed"]
    assert out[-1].split()[:2] == ["mean", "0.00000"]
    size, damaged, twice, foreground = err
    assert size == (
        f"nss-wgpu: a: {pred / 'a.png'} is 41 x 30 pixels and {truth / 'a.png'} 40 x 30; they must be of one size"
    )
    assert damaged.startswith(f"nss-wgpu: b: {pred / 'b.png'}: is not an image")
    assert twice == "nss-wgpu: c: c.png and c.webp are for the same image; keep one"
    assert f"{truth / 'e.foreground.png'} 40 x 31" in foreground
    status, result, _ = record(capsys, *folders)
    assert status == 1
    assert [item["error"] is None for item in result["images"]] == [False, False, False, True, False]


def test_missing_counterparts_are_said(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    pred, truth = folders
    for name in ("a", "only true"):
        save(truth / f"{name}.png", mask())
    for name in ("a", "only found"):
        save(pred / f"{name}.png", mask())
    (pred / "notes.txt").write_text("no image")
    status, out, err = outcome(capsys, *folders)
    assert (status, len(out)) == (0, 3)
    assert err == [
        f"nss-wgpu: {truth / 'only true.png'}: has no prediction in {pred}",
        f"nss-wgpu: {pred / 'only found.png'}: has no truth in {truth}",
    ]


def test_nothing_in_common_is_status_1(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    status, out, err = outcome(capsys, *folders)
    assert (status, out) == (1, [])
    assert len(err) == 1
    assert "no image in common" in err[0]
    status, result, _ = record(capsys, *folders)
    assert (status, result) == (1, {"images": [], "mean": None, "unmatched": []})


def test_a_folder_that_is_none(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    pred, truth = folders
    file = pred / "a.png"
    save(file, mask())
    for wrong, reason in ((pred / "missing", "No such file"), (file, "Not a directory")):
        for arguments in ((wrong, truth), (pred, wrong)):
            status, out, (line,) = outcome(capsys, *arguments)
            assert (status, out) == (2, [])
            assert line.startswith(f"nss-wgpu: {wrong}: cannot be listed as a folder: {reason}")
