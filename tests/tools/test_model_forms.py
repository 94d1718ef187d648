"""The table of forms: what it takes for right, for said and for refused, and that it fails on all else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nss
from nss.errors import ModelUnavailableError
from tools import model_forms
from tools.forms import truth
from tools.forms.table import FORMS

Behaviour = Callable[[Mapping[str, Any]], tuple[bool, list[str]]]
"""From the configuration that was given: whether the mask is right, and the lines; what it raises is the refusal."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("NSS_STATE_DIR", "NSS_CACHE_DIR"):  # which the script sets
        monkeypatch.setenv(variable, str(tmp_path / variable))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the script for one form, whose Remover behaves as said: the exit status, and what it printed."""

    def tabled(name: str, behaviour: Behaviour) -> tuple[int, str]:
        expected = truth.mask(FORMS[name], truth.photo())

        class Remover:
            def __init__(self, path: Path, *, model_config: Mapping[str, Any] | None, notify: Any, **_: Any) -> None:
                assert path.is_file()
                self.right, self.lines = behaviour(model_config or {})
                for line in self.lines:
                    notify(line)

            def __enter__(self) -> Remover:
                return self

            def __exit__(self, *_: object) -> None: ...

            def remove(self, photo: Path) -> Any:
                assert np.asarray(Image.open(photo)).shape[:2] == expected.shape
                return SimpleNamespace(mask=expected if self.right else 1 - expected, notes=())

        monkeypatch.setitem(vars(nss), "Remover", Remover)
        status = model_forms.main(["--backend", "numpy", name])
        return status, capsys.readouterr().out

    return tabled


def cells(out: str, name: str) -> list[str]:
    (row,) = (line for line in out.splitlines() if line.startswith(f"{name} "))
    return re.split(r" {2,}", row)[3:]


def refuse(line: str) -> tuple[bool, list[str]]:
    raise ModelUnavailableError(line)


def test_a_mask_that_is_right_by_itself(table: Callable[..., tuple[int, str]]) -> None:
    status, out = table("logits", lambda _: (True, []))
    assert status == 0
    assert cells(out, "logits") == ["right", "right"]
    assert "networks: 1, on numpy; failures: 0" in out


def test_a_guess_that_is_said_and_right_with_the_keys_of_its_line(table: Callable[..., tuple[int, str]]) -> None:
    guess = "took ImageNet's numbers; say them by 'mean' and 'std'"
    status, out = table("halves", lambda config: ("mean" in config and "std" in config, [guess]))
    assert status == 0
    assert cells(out, "halves") == ["said", "mean std", "right", "right"]


def test_a_refusal_whose_keys_make_it_run_one_after_the_other(table: Callable[..., tuple[int, str]]) -> None:
    def behaviour(config: Mapping[str, Any]) -> tuple[bool, list[str]]:
        if "size" not in config:
            refuse("the size is dynamic: say it by 'size'")
        return (True, []) if "inputs" in config else refuse("r1i has no value: --model-inputs NAME=VALUE")

    status, out = table("recurrent", behaviour)
    assert status == 0
    assert cells(out, "recurrent") == ["refused", "size inputs", "right", "right"]


@pytest.mark.parametrize(
    ("name", "behaviour", "fault"),
    [
        ("logits", lambda _: (False, []), "silently wrong: its files say what it wants"),
        ("logits", lambda _: (False, ["took it for a mask: 'activation'"]), "silently wrong: its files say"),
        ("halves", lambda _: (False, []), "silently wrong: no line names 'mean', 'std'"),
        (
            "halves",
            lambda _: (False, ["a layout was guessed: 'layout'"]),
            "silently wrong: no line names 'mean', 'std'",
        ),
        ("halves", lambda c: (len(c) > 3, ["guessed 'mean'"]), "name 'mean', and with that it is: WRONG"),
        ("trimap", lambda c: (True, []) if c else refuse("takes 2 inputs"), "refused by a line that names no key"),
        ("trimap", lambda _: refuse("it needs 'inputs'"), "name 'inputs', and with that it is: refused: it needs"),
        ("logits", lambda c: (True, []) if c else refuse("say 'activation'"), "refused, where it should be right"),
        ("logits", lambda c: (not c, []), "with its whole interface given it is: WRONG"),
        ("logits", lambda _: [][0], "it crashes"),
    ],
)
def test_all_else_is_a_failure(
    table: Callable[..., tuple[int, str]], name: str, behaviour: Behaviour, fault: str
) -> None:
    status, out = table(name, behaviour)
    assert status == 1
    assert f"\n{name}: " in out
    assert fault in out
    assert "\n    on numpy\n" in out
    assert "networks: 1, on numpy; failures: 1" in out


def test_an_unknown_name_and_backend_are_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in ((["logit"], "no network logit here"), (["--backend", "cuda"], "no backend cuda here")):
        with pytest.raises(SystemExit) as failure:
            model_forms.main(arguments)
        assert failure.value.code == 2
        assert message in capsys.readouterr().err


def test_there_are_enough_forms_and_each_says_itself_apart() -> None:
    assert len(FORMS) >= 24
    assert len({form.what for form in FORMS.values()}) == len(FORMS)
