"""The table of refinements: each step mends the defect it is for, and the numbers are those of ``nss-wgpu eval``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nss.cli.main import main
from nss.masks.refine import Refinement
from tools import refinement_table, synthetic
from tools.refinement_table import DEFECTS, Step

SIZE = (120, 180)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Hair before green, discs before noise and glass before red, small."""
    out = tmp_path_factory.mktemp("set")
    return out, synthetic.write(out, count=3, size=SIZE)


def defect(folder: str) -> refinement_table.Defect:
    return next(defect for defect in DEFECTS if defect.folder == folder)


@pytest.mark.parametrize("folder", ["specked", "haze", "stepped", "wide", "narrow", "hard"])
def test_a_step_mends_the_defect_it_is_for(photos: tuple[Path, list[str]], folder: str) -> None:
    before, *after = (
        refinement_table.mean(scores, ("discs",))
        for scores in refinement_table.measure(*photos, defect(folder), seed=0)
    )
    assert min(scores.mae for scores in after) < 0.95 * before.mae


def test_decontamination_halves_the_colour_error_before_a_strong_colour(photos: tuple[Path, list[str]]) -> None:
    before, after, *_ = refinement_table.measure(*photos, defect("exact"), seed=0)
    strong = [name for name in before if name.endswith(synthetic.STRONG)]
    assert [name.split("-")[2] for name in strong] == ["green", "red"]
    for name in strong:
        assert after[name].colour < before[name].colour / 2
        assert after[name].mae == before[name].mae


def test_rows_hold_what_eval_prints(photos: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    out, names = photos
    rows = refinement_table.rows(out, names, [defect("haze")])
    assert [row[:3] for row in rows] == [
        ["haze", "`--black 0.06 --white 0.94`", "all"],
        ["haze", "`--black 0.09 --white 0.91`", "all"],
    ]
    means = []
    for folder in ("haze-as-it-is", "haze-black-0.09-white-0.91"):
        capsys.readouterr()
        assert main(["eval", str(out / "pred" / folder), str(out / "truth"), "--json"]) == 0
        means.append(json.loads(capsys.readouterr().out)["mean"])
    cells = [refinement_table.change(*(mean[name] for mean in means)) for name in refinement_table.MEASURES]
    assert rows[1][3:] == cells


def test_a_row_is_over_the_photos_that_it_names(photos: tuple[Path, list[str]]) -> None:
    out, names = photos
    rows = refinement_table.rows(out, names, [defect("hard")])
    assert [row[1:3] for row in rows] == [
        ["`--feather 0.5`", "discs"],
        ["`--feather 0.5`", "hair"],
        ["`--feather 1`", "discs"],
    ]
    alone = refinement_table.rows(out, names[1:2], [defect("hard")])
    assert alone == [rows[0], rows[2]]
    before, *_ = refinement_table.measure(out, names, defect("hard"), seed=0)
    assert refinement_table.mean(before, ("red", "hair")).sad == pytest.approx(
        (before[names[0]].sad + before[names[2]].sad) / 2
    )


def test_missing_images_are_no_mean(photos: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, names = photos
    with pytest.raises(SystemExit, match="00-hair-green, 01-discs-noise, 02-glass-red: missing"):
        refinement_table.evaluate(tmp_path, out / "truth", names)


@pytest.mark.parametrize(
    ("before", "after", "cell"),
    [
        (0.0123, 0.00456, "0.0123 → **0.00456**"),
        (1.0, 20.25, "**1.00** → 20.2"),
        (3.14159, 3.1416, "3.14 → 3.14"),
        (123.0, 0.0, "123 → **0.00**"),
        (None, None, "- → -"),
    ],
)
def test_a_change(before: float | None, after: float | None, cell: str) -> None:
    assert refinement_table.change(before, after) == cell


def test_spread_is_by_a_disc() -> None:
    point = np.zeros((9, 9), np.float32)
    point[4, 4] = 0.5
    rows, columns = np.indices(point.shape) - 4
    assert np.array_equal(refinement_table.dilate(point, 3), np.where(rows**2 + columns**2 <= 9, np.float32(0.5), 0))


def test_names() -> None:
    step = Step(Refinement(drop_islands=60, black=0.5), 1)
    assert step.name == "--black 0.5 --drop-islands 60 --decontaminate 1"
    assert step.folder == "black-0.5-drop-islands-60-decontaminate-1"
    assert Step().folder == "as-it-is"
    folders = [(defect.folder, step.folder) for defect in DEFECTS for step in (Step(), *defect.steps)]
    assert len(set(folders)) == len(folders)
