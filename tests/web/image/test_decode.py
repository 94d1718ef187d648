"""Photos decoded by web/image, against nss.photos: pixel for pixel."""

from __future__ import annotations

from pathlib import Path

from tests.web.conftest import Node
from tests.web.image import photo_files

HERE = Path(__file__).parent


def test_png(run_node: Node, tmp_path: Path) -> None:
    photo_files.write(tmp_path, photo_files.png_files())
    run_node(HERE / "png_pixels.test.mjs", PHOTOS=tmp_path)


def test_what_the_browser_decodes(run_node: Node, tmp_path: Path) -> None:
    photo_files.write(tmp_path, photo_files.browser_files() | photo_files.damaged_files())
    run_node(HERE / "decode.test.mjs", PHOTOS=tmp_path)


def test_what_is_damaged(run_node: Node, tmp_path: Path) -> None:
    photo_files.write(tmp_path, photo_files.png_files() | photo_files.browser_files())
    run_node(HERE / "damaged.test.mjs", PHOTOS=tmp_path)


def test_metadata(run_node: Node) -> None:
    run_node(HERE / "metadata.test.mjs")
