"""A site out of the command, under the headers of docs/web.md: it is whole, and its page starts."""

from __future__ import annotations

import re
from pathlib import Path

from tests.project import ROOT
from tests.web.conftest import Node

HERE = Path(__file__).parent


def test_a_site_in_chromium(run_node: Node, site: Path) -> None:
    text = (ROOT / "docs" / "web.md").read_text("utf-8")
    (policy,) = re.findall(r"`Content-Security-Policy: ([^`]+)`", text)
    run_node(HERE / "site.test.mjs", NSS_SITE=site, NSS_POLICY=policy)
