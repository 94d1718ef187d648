"""The editor of the page: its parts that need no browser."""

from __future__ import annotations

from pathlib import Path

from tests.web.conftest import Node

HERE = Path(__file__).parent


def test_parts(run_node: Node) -> None:
    run_node(HERE / "editor_parts.test.mjs")
