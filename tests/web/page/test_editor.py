"""The editor and the settings of the page, by mouse, finger and keyboard; the settings are those of the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nss.cutouts.compose import HIDDEN, Composition
from nss.errors import UsageError
from nss.masks.refine import Refinement
from tests.web.conftest import Node

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["editor_parts", "editor", "brush", "settings"])
def test_page(run_node: Node, name: str) -> None:
    run_node(HERE / f"{name}.test.mjs")


def test_ranges_are_the_commands(run_node: Node, tmp_path: Path) -> None:
    """What the settings offer is what `nss` takes, to its limits, and nothing beyond is left out."""
    file = tmp_path / "fields.json"
    run_node(HERE / "fields.test.mjs", NSS_FIELDS=file)
    written = json.loads(file.read_text("utf-8"))
    fields = written["fields"]

    refinement = written["defaults"].pop("refinement")
    assert Refinement(**refinement) == Refinement()
    assert set(refinement) == {field.name for field in dataclasses.fields(Refinement)}
    assert written["defaults"] | {"background": "none"} == {
        name: getattr(Composition(), name) for name in written["defaults"]
    }
    assert tuple(written["hidden"]) == HIDDEN

    for name in refinement:
        lowest, highest = fields[name]["min"], fields[name]["max"]
        assert getattr(Refinement(**{name: lowest}), name) == lowest
        assert getattr(Refinement(**{name: highest}), name) == highest
        for beyond in (lowest - 1, *((highest + 1,) if name not in {"drop_islands", "fill_holes"} else ())):
            with pytest.raises(UsageError):
                Refinement(**{name: beyond})
    for amount in (fields["decontaminate"]["min"], fields["decontaminate"]["max"]):
        assert Composition(decontaminate=amount).decontaminate == amount
    with pytest.raises(UsageError):
        Composition(decontaminate=fields["decontaminate"]["max"] + 1)
