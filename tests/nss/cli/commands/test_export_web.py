"""``nss-wgpu export-web``: what it prints, its JSON, its exit statuses, and its options by their own names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import engine
from tests.engine.models import model, node
from tests.nss.conftest import Outcome
from tests.project import ROOT, environment

Command = Callable[..., Outcome]


def test_it_prints_each_model_with_its_licence_and_origin(command: Command, folder: Path) -> None:
    outcome = command("export-web")
    assert outcome.status == 0
    assert outcome.err == []
    head, line, last = outcome.out
    assert head.split() == ["MODEL", "SIZE", "WEIGHTS", "INPUT", "LICENCE", "COMMERCIAL", "USE", "ORIGIN"]
    assert line.split()[:2] == ["u2netp", "5.2"]
    assert {"f32", "320x320", "Apache-2.0", "yes"} <= set(line.split())
    assert "https://github.com/xuebinqin/U-2-Net" in line
    assert last.startswith(f"{folder / 'site'}: ")
    assert (folder / "site" / "index.html").read_bytes() == (ROOT / "web" / "index.html").read_bytes()


def test_json_is_one_object(command: Command, folder: Path, small: Path) -> None:
    outcome = command("export-web", small, "u2netp", "-o", "out", "--weights", "int8", "--no-page", "--json")
    record = json.loads("\n".join(outcome.out))
    assert (record["folder"], record["page"]) == (str(folder / "out"), False)
    assert record["models"] == json.loads((folder / "out" / "site.json").read_bytes())["models"]
    assert [item["weights"] for item in record["models"]] == ["int8", "int8"]
    assert record["bytes"] == sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    page = (ROOT / "docs" / "commands.md").read_text("utf-8").split("\n## export-web")[1].split("\n## ")[0]
    assert [key for key in (*record, *record["models"][0]) if f"`{key}`" not in page] == []
    (licence,) = [line for line in outcome.err if "licence" in line]
    assert licence.startswith("nss-wgpu: small: its licence is not known")
    assert record["notes"] == [line.removeprefix("nss-wgpu: ") for line in outcome.err]


@pytest.mark.usefixtures("folder")
def test_what_a_licence_allows_is_not_known_where_nobody_said_which_it_is(command: Command, small: Path) -> None:
    _, line, _ = command("export-web", small).out
    assert " unknown  not known " in line


@pytest.mark.usefixtures("folder")
def test_quiet_prints_nothing_but_what_was_asked_for(command: Command, small: Path) -> None:
    assert command("export-web", small, "-q") == Outcome(0, [], [])
    outcome = command("export-web", small, "-q", "--json", "--exists", "overwrite")
    assert outcome.err == []
    assert json.loads("\n".join(outcome.out))["models"][0]["name"] == "small"


@pytest.mark.usefixtures("folder")
def test_a_site_that_exists_stays_or_is_replaced(command: Command, small: Path) -> None:
    assert command("export-web", small, "-q").status == 0
    outcome = command("export-web", small)
    assert outcome.status == 1
    assert outcome.err[-1].endswith("site: exists already; pass --exists overwrite to replace the site")
    assert command("export-web", small, "-q", "--exists", "overwrite").status == 0


def test_options_say_what_the_file_does_not(command: Command, folder: Path) -> None:
    proto = model([node("ReduceMean", "x", "y", axes=[1])], {"x": [1, 3, "height", "width"]}, "y")
    onnx.save(proto, folder / "m.onnx")
    (folder / "m.json").write_text('{"mean": 0.5, "size": 8}', "utf-8")
    outcome = command("export-web", "m.onnx", "--model-config", "m.json", "--model-size", "24x40", "-q")
    assert outcome == Outcome(0, [], [])
    interface = engine.load_compiled(folder / "site" / "models" / "m").metadata["interface"]
    assert (interface["mean"], interface["size"]) == ([0.5], [24, 40])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["none.onnx"], 3, "no model file none.onnx"),
        (["u2netp", "u2netp"], 2, "u2netp is the same file as u2netp"),
        (["u2netp", "-o", "none/site"], 2, "does not exist; create it first"),
        (["u2netp", "-o", ""], 2, "the output has no name"),
        (["u2netp", "-o", "/"], 2, "is the root of the file system"),
        (["u2netp", "--exists", "skip"], 2, "--exists"),
        (["u2netp", "--weights", "q4"], 2, "--weights"),
        (["u2netp", "silueta", "--model-size", "320"], 2, "--model-size: of which of 2 models?"),
        (["u2netp", "--model-size", "x"], 2, "--model-size"),
        (["u2netp", "--model-size", "64"], 3, "--model-size 64x64 does not fit"),
    ],
)
def test_what_cannot_be_is_one_line(
    command: Command, folder: Path, arguments: list[str], status: int, words: str
) -> None:
    outcome = command("export-web", *arguments)
    assert (outcome.status, outcome.out) == (status, [])
    assert words in outcome.err[-1]
    assert list(folder.iterdir()) == []


def test_a_model_that_is_too_large_is_refused_in_the_words_of_the_command(command: Command, folder: Path) -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Sigmoid", "m", "y")]
    onnx.save(model(nodes, {"x": [1, 3, 9000, 9000]}, "y"), folder / "large.onnx")
    outcome = command("export-web", "large.onnx", "-q")
    assert outcome.status == 3
    (line,) = outcome.err
    assert "browser" in line
    assert "say a smaller --model-size" in line


def test_no_adapter_is_looked_for(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom nss.cli.main import main\nstatus = main(sys.argv[1:])\n"
        "print(status, sorted({'wgpu', 'wgpudawn'} & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, "export-web", "-o", str(tmp_path / "site"), "-q"],
        cwd=tmp_path,
        env=environment(VK_DRIVER_FILES="/dev/null"),
        capture_output=True,
        text=True,
    )
    assert (process.stdout, process.stderr) == ("", "0 []\n")
