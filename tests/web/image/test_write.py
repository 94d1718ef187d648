"""Pictures written in Chromium, and read there again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.web.conftest import Node

HERE = Path(__file__).parent


def test_small(run_node: Node) -> None:
    picture = {"width": 301, "height": 203, "formats": ["png", "webp"]}
    run_node(HERE / "write.test.mjs", PICTURE=json.dumps(picture))


@pytest.mark.long(reason="compresses and reads 400 MB; test_small does the same with less")
def test_100_megapixels(run_node: Node) -> None:
    picture = {"width": 11_600, "height": 8_700, "formats": ["png"]}
    run_node(HERE / "write.test.mjs", PICTURE=json.dumps(picture))
