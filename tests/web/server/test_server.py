"""The page behind ``nss-wgpu serve``, driven as a visitor would, and what it saves held to what the command writes."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT
from tests.web.conftest import Node, lacks, once, require
from tests.web.whole.cutouts import EXAMPLES, assert_same, turned_jpeg

HERE = Path(__file__).parent


def workplace(folder: Path) -> Path:
    """Where the command is run: this tree is imported from its root."""
    return folder if os.environ.get("NSS_TEST_COMMAND") else ROOT


def serve(run_node: Node, command: list[str], folder: Path, name: str, **variables: str | Path) -> None:
    """Run a file of tests with what it needs to start the server."""
    (folder / "downloads").mkdir(exist_ok=True)
    variables = {"NSS_FOLDER": folder, "NSS_CWD": workplace(folder), **variables}
    run_node(HERE / f"{name}.test.mjs", NSS_COMMAND=json.dumps(command), **variables)


@pytest.fixture(scope="module", autouse=True)
def extra(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The command can serve: it has the packages that are for that alone."""
    folder = tmp_path_factory.mktemp("none")
    arguments = [*command, "serve", "--port", "0", "--model", folder / "none.onnx"]
    done = subprocess.run(arguments, cwd=workplace(folder), capture_output=True, text=True, timeout=60)
    require("nss-wgpu[serve] where the command is" if "[serve]" in done.stderr else None)


def u2netp(folder: Path, side: int) -> Path:
    """A U²-Netp for so many pixels a side."""
    require(lacks("harness.mjs"))
    from tests.web.models import write_small_u2netp  # with onnx and ONNX Runtime, for which other tests need not wait

    with once(folder, f"served-{side}") as (path, is_first):
        if is_first:
            write_small_u2netp(path.with_suffix(".onnx"), side)
    return path.with_suffix(".onnx")


@pytest.fixture
def model(shared_folder: Path) -> Path:
    """A model that is quick."""
    return u2netp(shared_folder, 64)


@pytest.fixture
def slow(shared_folder: Path) -> Path:
    """A model that takes a quarter of a second a photo: the server is mostly at work where the tests hold masks."""
    return u2netp(shared_folder, 160)


def batch_of(folder: Path, count: int) -> Path:
    """A folder of so many small photos, each another part of the cat."""
    folder.mkdir()
    cat = Image.open(EXAMPLES / "chelsea.png").convert("RGB")
    for index in range(count):
        left = 7 * index
        part = cat.crop((left, 3 * index, left + 240 + 5 * index, 3 * index + 200))
        part.save(folder / f"photo-{index:02}.{'png' if index % 2 else 'jpg'}")
    return folder


def remove(command: list[str], *arguments: str | Path, folder: Path) -> None:
    """Have the command under test write what the page is held to."""
    done = [*command, "remove", *arguments, "--backend", "numpy", "--quiet"]
    subprocess.run(done, cwd=workplace(folder), check=True, timeout=200)


def test_from_drop_to_download(run_node: Node, model: Path, slow: Path, tmp_path: Path, command: list[str]) -> None:
    photo, batch = turned_jpeg(tmp_path / "cat.jpg"), batch_of(tmp_path / "batch", 10)
    serve(run_node, command, tmp_path, "visit", NSS_MODEL=model, NSS_SLOW=slow, NSS_PHOTO=photo, NSS_BATCH=batch)

    expected = tmp_path / "cutouts"
    remove(command, photo, batch, "--model", model, "-o", f"{expected}/", folder=tmp_path)
    png = Image.open(tmp_path / "saved.png.png")
    assert_same(png, Image.open(expected / "cat.cutout.png"))
    assert np.asarray(png)[..., 3].max() > 200  # there is a subject
    assert np.array_equal(np.asarray(Image.open(tmp_path / "saved.webp.webp")), np.asarray(png))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "saved.mask.png")), np.asarray(png)[..., 3])
    edges = tmp_path / "expected-edges.png"
    options = ["--smooth", "2.5", "--feather", "1.5", "--crop", "7"]
    remove(command, photo, "--model", model, "-o", edges, *options, folder=tmp_path)
    assert_same(Image.open(tmp_path / "edges.png"), Image.open(edges))

    with zipfile.ZipFile(tmp_path / "downloads/cutouts.zip") as archive:
        assert archive.testzip() is None
        assert sorted([*archive.namelist(), "cat.cutout.png"]) == sorted(path.name for path in expected.iterdir())
        for name in archive.namelist():
            with archive.open(name) as file:
                assert_same(Image.open(file), Image.open(expected / name))

    fourth = sorted(batch.iterdir())[3]
    remove(command, fourth, "--model", slow, "-o", tmp_path / "fourth.png", folder=tmp_path)
    assert_same(Image.open(tmp_path / "reloaded.png"), Image.open(tmp_path / "fourth.png"))


def test_a_server_that_is_stopped_and_started(run_node: Node, slow: Path, tmp_path: Path, command: list[str]) -> None:
    serve(run_node, command, tmp_path, "restart", NSS_MODEL=slow, NSS_BATCH=batch_of(tmp_path / "batch", 6))


def test_this_browser(run_node: Node, site: Path, tmp_path: Path, command: list[str]) -> None:
    from tests.web.models import RED_INTERFACE, write_red_network

    photo, model = turned_jpeg(tmp_path / "cat.jpg"), write_red_network(tmp_path / "red.onnx")
    serve(
        run_node,
        command,
        tmp_path,
        "browser",
        NSS_MODEL=model,
        NSS_INTERFACE=json.dumps(RED_INTERFACE),
        NSS_PHOTO=photo,
        NSS_SITE=site,
    )
    by_browser = Image.open(tmp_path / "by_browser.png")
    assert_same(by_browser, Image.open(tmp_path / "by_computer.png"))
    assert np.ptp(np.asarray(by_browser)[..., 3]) > 100


def test_pages_of_other_origins(run_node: Node, model: Path, tmp_path: Path, command: list[str]) -> None:
    serve(run_node, command, tmp_path, "strangers", NSS_MODEL=model, NSS_PHOTO=turned_jpeg(tmp_path / "cat.jpg"))


def test_no_one_is_shut_out(run_node: Node, model: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "none.png").write_bytes(b"no photo")
    serve(run_node, command, tmp_path, "axe", NSS_MODEL=model, NSS_PHOTO=turned_jpeg(tmp_path / "cat.jpg"))
