"""The library speaks of parameters, the command of its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from engine import BackendError
from nss.cli.option_words import PARAMETERS, in_options, option_names
from nss.cli.terminal import describe
from nss.errors import ModelUnavailableError, UsageError, quoted
from nss.interfaces.interface import Description
from tests.nss.conftest import Outcome
from tests.nss.library import library
from tests.project import ROOT

Command = Callable[..., Outcome]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string in a file that is no docstring."""
    tree = ast.parse(path.read_text("utf-8"))
    bare = {id(entry.value) for entry in ast.walk(tree) if isinstance(entry, ast.Expr)}
    for entry in ast.walk(tree):
        if isinstance(entry, ast.Constant) and isinstance(entry.value, str) and id(entry) not in bare:
            yield entry.lineno, entry.value


def test_the_library_and_the_command_are_told_apart() -> None:
    names = {path.name for path in library()}
    assert {"remover.py", "resolve.py", "hub.py", "image_size.py", "session.py", "rembg.py"} <= names
    assert not {"terminal.py", "option_words.py", "main.py", "planning.py", "stages.py", "typer.py"} & names


def test_no_text_of_the_library_names_an_option() -> None:
    option = re.compile(r"(?<![\w-])--[a-z]")
    passages = [f"{path.relative_to(ROOT)}:{line}: {text}" for path in library() for line, text in texts(path)]
    assert [text for text in passages if option.search(text)] == []


def test_values_are_never_in_single_quotes() -> None:
    """Or a value that is named like a parameter would be taken for it."""
    passages = []
    for path in library():
        if not path.is_relative_to(ROOT / "nss"):
            continue
        for text in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = text.values if isinstance(text, ast.JoinedStr) else []
            for before, part in zip([ast.Constant(""), *parts], parts, strict=False):
                quote = isinstance(before, ast.Constant) and str(before.value).endswith("'")
                if isinstance(part, ast.FormattedValue) and (quote or part.conversion == ord("r")):
                    passages.append(f"{path.name}:{part.lineno}: {ast.unparse(part.value)}")
    # fields of dataclasses, and an attribute of the module: names of the library's own
    assert {text.split(": ", 1)[1] for text in passages} == {"key", "name"}, passages


def test_every_option_that_a_line_may_name_is_one(command: Command) -> None:
    help_text = " ".join(command("remove", "--help").out)
    missing = [
        o for name in PARAMETERS if (o := option_names()[name]) not in help_text and not o.startswith("--model-")
    ]
    assert missing == []
    assert {option_names()[key].partition("-model-")[0] for key in Description.__annotations__} == {"-"}


def test_an_error_reads_right_in_both_places(command: Command, photo: Path) -> None:
    with pytest.raises(UsageError) as library_error:
        nss.Refinement(feather=-1)
    assert str(library_error.value) == "'feather' -1: a number from 0 to 1000 pixels is possible"
    assert command("remove", photo, "--feather", "-1").err == [
        "nss-wgpu: --feather -1: a number from 0 to 1000 pixels is possible"
    ]


def test_a_model_that_is_missing_reads_right_in_both_places(command: Command) -> None:
    with pytest.raises(ModelUnavailableError) as failure:
        nss.Remover("rmbg-1.4", allow_fetch=False)
    assert str(failure.value) == "rmbg-1.4 is not on this machine: 'allow_fetch' would fetch it"
    assert command("models", "path", "rmbg-1.4").err == [
        "nss-wgpu: rmbg-1.4 is not on this machine: `nss-wgpu models pull` would fetch it"
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nss.Encoding("png", 90), "'quality' 90: png is lossless; leave it out, or see 'effort'"),
        (lambda: nss.Composition(hidden="mask"), "'hidden' \"mask\": one of keep, bleed, zero is possible"),
    ],
)
def test_an_error_names_parameters_and_values_apart(call: Callable[[], object], text: str) -> None:
    with pytest.raises(UsageError) as failure:
        call()
    assert str(failure.value) == text
    assert describe(failure.value) == re.sub(r"'([a-z]+)'", r"--\1", text)


def test_a_key_of_a_models_interface_is_the_option_for_it() -> None:
    error = ModelUnavailableError("m.onnx: gives 2 channels; 'channel' says which, 'inputs' what else goes in")
    assert describe(error) == "m.onnx: gives 2 channels; --model-channel says which, --model-inputs what else goes in"
    assert in_options("say 'dtype', or 'max_pixels'") == "say --model-config, or --max-pixels"


def test_what_another_package_quotes_stays_as_it_is() -> None:
    """A model's input may well be called 'input'."""
    error = ModelUnavailableError("m.onnx: input 'input' is no array; see 'size'")
    error.__cause__ = BackendError("input 'input' is no array")
    assert describe(error) == "m.onnx: input 'input' is no array; see --model-size"


def test_a_call_of_the_engine_is_the_command_that_does_the_same() -> None:
    assert in_options("gone; `engine.devices()` lists what is") == "gone; `nss-wgpu devices` lists what is"


def test_a_note_is_in_the_words_of_the_command(command: Command, photo: Path, tmp_path: Path) -> None:
    cutout = nss.apply_mask(photo, np.full((40, 60), 0.5))
    (note,) = cutout.composed(opaque=True).notes
    assert note == "the format has no transparency: put on white (see 'background')"
    outcome = command("remove", photo, "--mask", photo, "-o", tmp_path / "a.jpg", "--json")
    assert outcome.status == 1  # the photo is in colour, and no mask
    Image.new("L", (60, 40), 128).save(tmp_path / "mask.png")
    outcome = command("remove", photo, "--mask", tmp_path / "mask.png", "-o", tmp_path / "a.jpg", "--json")
    assert "(see --background)" in outcome.err[0]
    assert "(see --background)" in outcome.out[0]


def test_a_value_is_quoted_as_json_has_it() -> None:
    assert quoted("a 'b'") == "\"a 'b'\""
    assert quoted(None) == "null"
    assert quoted(Path("x")) == '"x"'
