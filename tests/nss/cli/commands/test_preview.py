"""``nss-wgpu preview`` takes what ``remove`` takes, and shows on a sheet what that would write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.cli.commands.preview import NOT_ON_A_SHEET
from nss.cutouts.preview import COLUMNS, LABEL, MARGIN
from tests.nss.cli.command_line import hidden_options, options
from tests.nss.conftest import Outcome

Command = Callable[..., Outcome]
Listing = Callable[[Path], list[str]]

ONLY_REMOVE = {"--" + name.replace("_", "-") for name in NOT_ON_A_SHEET}
VALUES = {"--mask-bits": ["16"], "--hidden": ["zero"]}


@pytest.fixture
def mask(tmp_path: Path, rgb: np.ndarray) -> Path:
    """The right half."""
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[:, 30:] = 255
    Image.fromarray(alpha).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def panels(path: Path, count: int) -> list[np.ndarray]:
    """The pictures of a sheet of two rows, uint8 HxWx3."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    height = (sheet.shape[0] - MARGIN) // 2 - LABEL - MARGIN
    width = (sheet.shape[1] - MARGIN) // COLUMNS - MARGIN
    cells = [divmod(number, COLUMNS) for number in range(count)]
    tops = [MARGIN + LABEL + row * (height + LABEL + MARGIN) for row, _ in cells]
    lefts = [MARGIN + column * (width + MARGIN) for _, column in cells]
    return [sheet[top : top + height, left : left + width] for top, left in zip(tops, lefts, strict=True)]


def test_it_takes_what_remove_takes_but_for_what_no_sheet_shows() -> None:
    assert options("remove") - options("preview") == ONLY_REMOVE | {"--on", "--ray-address"}
    assert options("preview") - options("remove") == {"--size"}
    assert hidden_options("preview") - hidden_options("remove") == ONLY_REMOVE
    assert all(reason.startswith("a sheet ") for reason in NOT_ON_A_SHEET.values())


@pytest.mark.parametrize("option", sorted(ONLY_REMOVE))
def test_what_no_sheet_shows_is_refused_in_one_line(
    command: Command, photo: Path, option: str, listing: Listing
) -> None:
    outcome = command("preview", photo, option, *VALUES.get(option, []))
    reason = NOT_ON_A_SHEET[option.removeprefix("--").replace("-", "_")]
    assert (outcome.status, outcome.out) == (2, [])
    assert outcome.err == [f"nss-wgpu: {option} is not for preview: {reason}"]
    assert listing(photo.parent) == ["photo.png"]


@pytest.mark.parametrize("spelling", ["option", "old name"])
def test_a_sheet_that_exists(command: Command, photo: Path, mask: Path, listing: Listing, spelling: str) -> None:
    old_names = {"overwrite": "--overwrite", "skip": "--skip-existing", "rename": "--rename"}

    def preview(exists: str) -> Outcome:
        options = ["--exists", exists] if spelling == "option" else [old_names[exists]]
        return command("preview", photo, "--mask", mask, *options)

    sheet = photo.with_name("photo.preview.png")
    assert command("preview", photo, "--mask", mask).status == 0
    content = sheet.read_bytes()
    sheet.write_bytes(b"precious")
    failed = command("preview", photo, "--mask", mask)
    assert (failed.status, failed.err) == (
        1,
        [f"nss-wgpu: {sheet}: exists already; pass --exists overwrite to replace it"],
    )
    assert preview("skip").out == [f"{photo} skipped: {sheet} exists"]
    assert sheet.read_bytes() == b"precious"
    assert preview("rename").status == 0
    assert listing(photo.parent) == ["photo.png", "photo.preview-2.png", "photo.preview.png"]
    assert preview("overwrite").status == 0
    assert sheet.read_bytes() == content


def test_folders_formats_and_json(command: Command, photo: Path, mask: Path, tmp_path: Path, listing: Listing) -> None:
    (photo.parent / "deeper").mkdir()
    (photo.parent / "deeper" / "unnamed").write_bytes(photo.read_bytes())
    arguments = (photo.parent, "--mask", mask, "-r", "--all-files", "-o", f"{tmp_path / 'out'}/", "--format", "webp")
    plan = command("preview", *arguments, "--json", "--dry-run")
    assert [json.loads(line)["dry_run"] for line in plan.out] == [True, True]
    assert not (tmp_path / "out").exists()
    outcome = command("preview", *arguments, "--json", "--jobs", 1)
    assert outcome.status == 0
    assert [Path(json.loads(line)["output"]).name for line in outcome.out] == [
        "photo.preview.webp",
        "unnamed.preview.webp",
    ]
    assert listing(tmp_path / "out") == ["deeper", "photo.preview.webp"]
    assert Image.open(tmp_path / "out" / "photo.preview.webp").format == "WEBP"


def test_the_sheet_shows_the_composition(command: Command, photo: Path, mask: Path, rgb: np.ndarray) -> None:
    sheet = photo.with_name("photo.preview.png")
    assert command("preview", photo, "--mask", mask, "--invert", "--crop", "2", "--background", "#102030").status == 0
    shown_photo, alpha, _, _, _, behind = panels(sheet, 6)
    assert np.array_equal(shown_photo, rgb[:, :32])  # the left half, and two columns around it
    assert (alpha[:, :30] == 255).all()
    assert (alpha[:, 30:] == 0).all()
    assert np.array_equal(behind[:, :30], rgb[:, :30])
    assert (behind[:, 30:] == (0x10, 0x20, 0x30)).all()


def test_an_empty_photo_fails_where_that_was_asked_for(command: Command, photo: Path, listing: Listing) -> None:
    Image.new("RGB", (40, 30)).save(photo)
    assert command("preview", photo, "--fail-empty", "--model", "u2netp").status == 1
    assert listing(photo.parent) == ["photo.png"]
