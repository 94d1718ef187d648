"""The command's options for edges, colour, formats and batches, from the arguments to the decoded file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nss
from nss.evaluation.examine import examine
from tests.nss.images import STORED
from tests.project import ROOT

Command = Callable[..., Any]
Listing = Callable[[Path], list[str]]


@pytest.fixture
def mask(tmp_path: Path, rgb: np.ndarray) -> Path:
    """A disc with a soft rim, 16 bits deep, for the photo of ``rgb``."""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    alpha = np.clip((12 - np.hypot(x - 30, y - 20)) / 4 + 0.5, 0, 1)
    Image.fromarray(np.rint(alpha * 65535).astype(np.uint16)).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def alpha_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).getchannel("A")).astype(int)


def test_a_given_mask_takes_the_place_of_the_network(
    command: Command, photo: Path, mask: Path, network: type, rgb: np.ndarray
) -> None:
    outcome = command("remove", photo, "--mask", mask)
    assert outcome.status == 0, outcome.err
    assert outcome.err == []
    assert network.opened == []  # type: ignore[attr-defined]
    image = np.asarray(Image.open(photo.with_name("photo.cutout.png")))
    assert np.array_equal(image[..., :3], rgb)
    assert np.array_equal(image[..., 3], np.rint(np.asarray(Image.open(mask)) / 257))
    record = json.loads(command("remove", photo, "--mask", mask, "--overwrite", "--json").out[0])
    assert (record["mask"], record["model"], record["backend"]) == (str(mask), None, None)


def test_masks_from_a_directory_and_from_an_earlier_cut_out(command: Command, photo: Path, mask: Path) -> None:
    masks = photo.parent / "masks"
    masks.mkdir()
    (masks / "photo.mask.png").write_bytes(mask.read_bytes())
    assert command("remove", photo, "--mask", masks).status == 0
    first = photo.with_name("photo.cutout.png")
    again = photo.with_name("again.png")
    assert command("remove", photo, "--mask", first, "-o", again).status == 0
    assert np.array_equal(alpha_of(first), alpha_of(again))
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    outcome = command("remove", other, "--mask", masks)
    assert outcome.status == 1
    assert "other.png: has no mask in" in outcome.err[0]


def test_a_mask_of_another_size_is_resampled_and_of_another_shape_refused(
    command: Command, photo: Path, tmp_path: Path
) -> None:
    Image.new("L", (30, 20), 255).save(tmp_path / "half.png")
    outcome = command("remove", photo, "--mask", tmp_path / "half.png")
    assert outcome.err == [f"nss-wgpu: {photo}: the mask was resampled from 30 x 20"]
    Image.new("L", (30, 30), 255).save(tmp_path / "square.png")
    outcome = command("remove", photo, "--mask", tmp_path / "square.png", "--overwrite")
    assert outcome.status == 1
    assert "is 60 x 40, and its mask 30 x 30" in outcome.err[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--threshold", "0.5"], lambda a: np.where(a >= 127.5, 255, 0)),
        (["--black", "0.2", "--white", "0.8"], lambda a: np.clip((a / 255 - 0.2) / 0.6, 0, 1) * 255),
        (["--invert"], lambda a: 255 - a),
    ],
    ids=["threshold", "levels", "invert"],
)
def test_tones(command: Command, photo: Path, mask: Path, arguments: list[str], expected: Callable[..., Any]) -> None:
    alpha = np.asarray(Image.open(mask)) / 257
    assert command("remove", photo, "--mask", mask, *arguments).status == 0
    assert np.abs(alpha_of(photo.with_name("photo.cutout.png")) - expected(alpha)).max() <= 0.51


@pytest.mark.parametrize(
    ("arguments", "larger"), [(["--expand", "2"], True), (["--expand", "-2"], False), (["--feather", "3"], None)]
)
def test_contours(command: Command, photo: Path, mask: Path, arguments: list[str], larger: bool | None) -> None:
    before = np.asarray(Image.open(mask)) / 257
    assert command("remove", photo, "--mask", mask, *arguments).status == 0
    after = alpha_of(photo.with_name("photo.cutout.png"))
    radius = np.sqrt(after.sum() / 255 / np.pi) - np.sqrt(before.sum() / 255 / np.pi)
    assert radius == pytest.approx({True: 2, False: -2, None: 0}[larger], abs=0.15)
    if larger is None:
        assert ((after > 20) & (after < 235)).sum() > 1.3 * ((before > 20) & (before < 235)).sum()


FORMATS = ["png", "webp", "avif", "tiff"]


@pytest.mark.parametrize("hidden", ["keep", "bleed", "zero"])
@pytest.mark.parametrize("format_", FORMATS)
def test_every_output_passes_check(command: Command, tmp_path: Path, hidden: str, format_: str) -> None:
    astronaut = ROOT / "examples" / "astronaut.png"
    height, width = np.asarray(Image.open(astronaut)).shape[:2]
    y, x = np.mgrid[:height, :width]
    disc = np.clip((150 - np.hypot(x - width / 2, y - height / 2)) / 8 + 0.5, 0, 1)
    Image.fromarray(np.rint(disc * 255).astype(np.uint8)).save(tmp_path / "disc.png")
    target = tmp_path / f"out.{format_}"
    options = ["--hidden", hidden, "--decontaminate", "1", "-o", target]
    assert command("remove", astronaut, "--mask", tmp_path / "disc.png", *options).status == 0
    outcome = command("check", target)
    assert outcome.status == 0, outcome.out
    assert f"{target}: straight (" in outcome.out[0]
    examination = examine(target, astronaut)
    assert examination.alpha == "straight"
    if format_ in ("png", "tiff", "webp"):
        assert examination.hidden == ("zero" if hidden == "zero" else "colour")


def test_jpeg_goes_on_white_and_says_so(command: Command, photo: Path, mask: Path) -> None:
    target = photo.with_name("out.jpg")
    outcome = command("remove", photo, "--mask", mask, "-o", target)
    assert outcome.status == 0
    assert outcome.err == [f"nss-wgpu: {photo}: the format has no transparency: put on white (see --background)"]
    assert np.asarray(Image.open(target))[0, 0].min() >= 250
    assert command("remove", photo, "--mask", mask, "-o", target, "--background", "black", "--overwrite").err == []
    assert np.asarray(Image.open(target))[0, 0].max() <= 5


def test_format_names_and_extensions(command: Command, photo: Path, mask: Path, listing: Listing) -> None:
    assert command("remove", photo, "--mask", mask, "--format", "webp", "--quality", "80").status == 0
    assert command("remove", photo, "--mask", mask, "--mask-only", "--mask-bits", "16").status == 0
    assert listing(photo.parent) == ["photo.cutout.webp", "photo.mask.png", "photo.png"]
    image = Image.open(photo.with_name("photo.mask.png"))
    assert image.mode == "I;16"
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(mask)))


def test_a_crop_tells_where_it_lies(command: Command, photo: Path, mask: Path) -> None:
    record = json.loads(command("remove", photo, "--mask", mask, "--crop", "2", "--json").out[0])
    left, top, right, bottom = record["box"]
    assert Image.open(record["output"]).size == (right - left, bottom - top)
    assert (record["width"], record["height"]) == (60, 40)
    assert 0 < left < right < 60


def test_exif_orientations_give_one_cut_out(command: Command, tmp_path: Path, rgb: np.ndarray) -> None:
    outputs = []
    for orientation, stored in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010F] = "maker"
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(np.ascontiguousarray(stored(rgb))).save(path, exif=exif)
        target = tmp_path / f"{orientation}.cutout.png"
        options = ["--smooth", "1", "--expand", "0.7", "--feather", "1", "--decontaminate", "1", "--keep-exif"]
        assert command("remove", path, "--model", "u2netp", *options).status == 0
        image = Image.open(target)
        assert dict(image.getexif()) == {0x010F: "maker"}
        outputs.append(np.asarray(image))
    assert all(np.array_equal(outputs[0], other) for other in outputs[1:])


def test_the_sidecar_is_enough_to_make_the_file_again(command: Command, photo: Path, mask: Path) -> None:
    options = ["--feather", "1.5", "--expand", "-0.5", "--hidden", "bleed", "--format", "webp", "--sidecar"]
    assert command("remove", photo, "--mask", mask, *options).status == 0
    target = photo.with_name("photo.cutout.webp")
    sidecar = target.with_name("photo.cutout.webp.json")
    record = json.loads(sidecar.read_text())
    assert record["refinement"] == {"expand": -0.5, "feather": 1.5}
    assert record["composition"] == {"hidden": "bleed"}
    assert record["mask"]["path"] == str(mask)
    cutout = nss.apply_mask(record["input"]["path"], record["mask"]["path"]).refined(
        nss.Refinement(**record["refinement"])
    )
    again = cutout.save(photo.with_name("again.webp"), composition=nss.Composition(**record["composition"]))
    assert again.read_bytes() == target.read_bytes()
    assert record["background"] is None
    assert {"nss-wgpu", "python", "numpy", "pillow", "isal", "zlib-ng", "blas"} <= record["versions"].keys()
    assert record["versions"].keys().isdisjoint({"onnx", "wgpu", "wgpudawn", "driver"})  # no network ran
    # neither is replaced unasked
    target.unlink()
    outcome = command("remove", photo, "--mask", mask, *options)
    assert outcome.status == 1
    assert outcome.err == [f"nss-wgpu: {sidecar}: exists already; pass --exists overwrite to replace it"]
    assert not target.exists()


def test_the_sidecar_says_what_a_network_and_a_background_came_from(
    command: Command, photo: Path, tmp_path: Path
) -> None:
    behind = tmp_path / "behind.png"
    Image.new("RGB", (9, 9), "teal").save(behind)
    assert command("remove", photo, "--background", behind, "--sidecar").status == 0
    record = json.loads(photo.with_name("photo.cutout.png.json").read_text())
    assert record["background"] == {"path": str(behind), "sha256": hashlib.sha256(behind.read_bytes()).hexdigest()}
    assert "onnx" in record["versions"]
    assert command("remove", photo, "--background", "teal", "--sidecar", "--overwrite").status == 0
    assert json.loads(photo.with_name("photo.cutout.png.json").read_text())["background"] is None


def test_a_sidecar_does_not_depend_on_what_else_has_been_read(
    command: Command, photo: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HEIC of the same batch, before this photo or after it, showed in the record's versions."""
    records = []
    for is_loaded in (False, True):
        monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
        if is_loaded:
            monkeypatch.setitem(sys.modules, "pillow_heif", ModuleType("pillow_heif"))
        assert command("remove", photo, "--mask", mask, "--sidecar", "--exists", "overwrite").status == 0
        records.append(photo.with_name("photo.cutout.png.json").read_bytes())
    assert records[0] == records[1]


def test_skip_rename_and_a_second_run(command: Command, photo: Path, listing: Listing) -> None:
    second = photo.with_name("second.png")
    second.write_bytes(photo.read_bytes())
    assert command("remove", photo).status == 0
    outcome = command("remove", photo, second, "--skip-existing")
    assert outcome.status == 0
    assert outcome.out[0] == f"{photo} skipped: {photo.with_name('photo.cutout.png')} exists"
    assert outcome.err[0].startswith("nss-wgpu: 2 images: 1 written, 1 skipped, 0 failed, in ")
    assert command("remove", photo, "--rename").status == 0
    assert listing(photo.parent) == [
        *("photo.cutout-2.png", "photo.cutout.png", "photo.png"),
        *("second.cutout.png", "second.png"),
    ]


def test_a_dry_run_touches_nothing(command: Command, photo: Path, network: type, listing: Listing) -> None:
    missing = photo.with_name("missing.png")
    outcome = command("remove", missing, photo, "--dry-run")
    assert outcome.status == 1
    assert outcome.out == [f"{photo} -> {photo.with_name('photo.cutout.png')}"]
    assert outcome.err == [f"nss-wgpu: {missing}: no such file"]
    assert json.loads(command("remove", photo, "--dry-run", "--json").out[0])["dry_run"] is True
    assert network.opened == []  # type: ignore[attr-defined]
    assert listing(photo.parent) == ["photo.png"]


def test_recursion_keeps_the_tree(command: Command, photo: Path, tmp_path: Path) -> None:
    deeper = photo.parent / "a b" / "ü"
    deeper.mkdir(parents=True)
    (deeper / "-x.png").write_bytes(photo.read_bytes())
    (deeper / "loop").symlink_to(photo.parent, target_is_directory=True)
    out = tmp_path / "out"
    out.mkdir()
    outcome = command("remove", "-r", photo.parent, "-o", out)
    assert outcome.status == 0, outcome.err
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert files == [os.path.join("a b", "ü", "-x.cutout.png"), "photo.cutout.png"]  # noqa: PTH118


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_do_not_depend_on_jobs_or_order(command: Command, tmp_path: Path, jobs: int) -> None:
    rng = np.random.default_rng(3)
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(tmp_path / name)
    options = ["--smooth", "1", "--guided", "3", "--feather", "1", "--decontaminate", "1", "--hidden", "bleed"]
    for name in names:
        assert command("remove", tmp_path / name, "--jobs", 1, *options).status == 0
    alone = {name: (tmp_path / name).with_suffix(".cutout.png").read_bytes() for name in names}
    out = tmp_path / "out"
    out.mkdir()
    outcome = command("remove", *(tmp_path / n for n in reversed(names)), "-o", out, "--jobs", jobs, *options)
    assert [Path(line.split(" -> ")[0]).name for line in outcome.out] == names[::-1]
    for name in names:
        assert (out / name).with_suffix(".cutout.png").read_bytes() == alone[name]


def test_standard_input_and_output(photo: Path, mask: Path) -> None:
    command = [sys.executable, "-m", "nss", "remove", "-", "--mask", str(mask)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*more: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*command, *more], cwd=photo.parent, env=environment, input=data, capture_output=True, timeout=60
        )

    outcome = run("--format", "webp", data=photo.read_bytes())
    assert outcome.returncode == 0, outcome.stderr
    image = Image.open(io.BytesIO(outcome.stdout))
    assert (image.format, image.size) == ("WEBP", (60, 40))
    assert b"<standard input> -> <standard output>" in outcome.stderr
    outcome = run("-o", "named.png", "--quiet", data=photo.read_bytes())
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, b"", b"")
    assert Image.open(photo.with_name("named.png")).mode == "RGBA"
    outcome = run(data=b"no image")
    assert (outcome.returncode, outcome.stdout) == (1, b"")
    assert outcome.stderr.startswith(b"nss-wgpu: <standard input>: is not an image")
    (photo.parent / "named.png").unlink()


def test_a_preview_shows_five_pictures(command: Command, photo: Path, mask: Path, listing: Listing) -> None:
    outcome = command("preview", photo, "--mask", mask, "--threshold", "0.5")
    assert outcome.status == 0, outcome.err
    assert listing(photo.parent) == ["photo.png", "photo.preview.png"]
    assert Image.open(photo.with_name("photo.preview.png")).size == (3 * 72 + 12, 2 * 70 + 12)
    # a preview is no input of the next run
    assert len(command("preview", photo.parent, "--mask", mask, "--overwrite").out) == 1
