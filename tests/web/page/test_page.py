"""The page driven as a visitor would, with a backend that needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.web.conftest import Node

HERE = Path(__file__).parent


@pytest.fixture
def small_photo(tmp_path: Path) -> Path:
    """An RGB photo of 48 x 32 whose pixels all differ from their neighbours."""
    photo = Image.new("RGB", (48, 32))
    photo.putdata([(5 * x, 8 * y, 255 - 3 * x) for y in range(32) for x in range(48)])
    path = tmp_path / "photo.png"
    photo.save(path)
    return path


@pytest.mark.parametrize("name", ["queue", "words", "kept", "parts_of_serving"])
def test_parts(run_node: Node, name: str) -> None:
    run_node(HERE / f"{name}.test.mjs")


@pytest.mark.parametrize("name", ["intake", "queue_page", "models", "save", "workspace", "notices", "axe", "served"])
def test_visitor(run_node: Node, small_photo: Path, tmp_path: Path, name: str) -> None:
    run_node(HERE / f"{name}.test.mjs", NSS_SMALL_PHOTO=small_photo, NSS_FOLDER=tmp_path)


def test_without_network(run_node: Node, site: Path, small_photo: Path, tmp_path: Path) -> None:
    run_node(HERE / "offline.test.mjs", NSS_SITE=site, NSS_SMALL_PHOTO=small_photo, NSS_FOLDER=tmp_path)
