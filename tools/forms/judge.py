"""What becomes of a form in a user's hands: nothing said, then what the lines ask for, then everything.

A network is right, or a line names what settles it, and with that it is right: all else is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nss
from nss.errors import NssError, one_line
from tools.forms.form import DEFAULTS, Form, Outcome

BOUND = 1e-6
"""The largest mean absolute error of a mask that is right; rounding makes a tenth of it."""

HALF_BOUND = 2e-4
"""That of a network whose inputs and outputs are float16."""

RANKS: dict[Outcome, int] = {"refused": 0, "said": 1, "right": 2}

_KEY = re.compile(rf"(?:'|--model-)({'|'.join(DEFAULTS)})\b")


@dataclass(frozen=True)
class Run:
    """One photo through one network.

    Attributes:
        error: the mask's mean absolute error; None where there is no mask.
        lines: what was said, the line of the refusal last.
        crash: whether it ended in what is no error of the project's own.
        bound: the largest error of a mask that is right.
    """

    error: float | None
    lines: tuple[str, ...]
    crash: bool = False
    bound: float = BOUND

    @property
    def right(self) -> bool:
        """Whether the mask is the true one."""
        return self.error is not None and self.error <= self.bound

    @property
    def keys(self) -> set[str]:
        """The keys of an interface that the lines name: in quotes, or as an option of the command."""
        return {key for line in self.lines for key in _KEY.findall(line)}

    def __str__(self) -> str:
        if self.error is None:
            return f"{'CRASHED' if self.crash else 'refused'}: {self.lines[-1]}"
        return f"{'right' if self.right else 'WRONG'}, MAE {self.error:.1e}"


@dataclass(frozen=True)
class Verdict:
    """What became of a form on one backend.

    Attributes:
        alone: the run in which nobody said anything.
        named_keys: the keys that its lines named, and those of the runs with them.
        then: the run with these; None where nothing was named or ``alone`` is right.
        whole: the run with the whole interface; None where it was not asked for.
        fault: why this is a failure; None where it is none.
    """

    alone: Run
    named_keys: tuple[str, ...]
    then: Run | None
    whole: Run | None
    fault: str | None

    @property
    def outcome(self) -> Outcome:
        """What came of it where nobody said anything, if it is no failure."""
        if self.alone.right:
            return "right"
        return "refused" if self.alone.error is None else "said"


def run(
    path: Path,
    photo: Path,
    truth: np.ndarray,
    *,
    backend: str,
    device: str | int | None = None,
    config: Mapping[str, Any] | None = None,
    bound: float = BOUND,
) -> Run:
    """Cut out a photo with a model file, as a program does; ``truth`` is the mask, float32 HxW."""
    lines: list[str] = []
    try:
        with nss.Remover(path, backend=backend, device=device, model_config=config, notify=lines.append) as remover:
            cutout = remover.remove(photo)
    except NssError as error:
        return Run(None, (*lines, str(error)))
    except Exception as error:
        return Run(None, (*lines, f"{type(error).__name__}: {one_line(error)}"), crash=True)
    difference = np.abs(cutout.mask.astype(np.float64) - truth)
    return Run(float(difference.mean()), (*lines, *cutout.notes), bound=bound)


def bound_of(form: Form) -> float:
    """The largest mean absolute error of the form's mask."""
    return HALF_BOUND if form.interface["dtype"] == "float16" else BOUND


def judge(
    form: Form,
    path: Path,
    photo: Path,
    truth: np.ndarray,
    *,
    backend: str,
    device: str | int | None = None,
    whole: bool = True,
) -> Verdict:
    """Run a form's file alone, with what its lines ask for, and, if ``whole``, with all of its interface."""

    def result(config: Mapping[str, Any] | None) -> Run:
        return run(path, photo, truth, backend=backend, device=device, config=config, bound=bound_of(form))

    alone = result(None)
    keys: set[str] = set()
    then: Run | None = None
    while not (then or alone).right and not (then or alone).keys <= keys:
        keys |= (then or alone).keys
        then = result({key: form.interface[key] for key in keys})
    everything = result(form.interface) if whole else None
    named_keys = tuple(key for key in form.interface if key in keys)
    fault = _fault(form, alone, named_keys=named_keys, then=then, whole=everything)
    return Verdict(alone=alone, named_keys=named_keys, then=then, whole=everything, fault=fault)


def _fault(form: Form, alone: Run, named_keys: tuple[str, ...], then: Run | None, whole: Run | None) -> str | None:
    if any(run.crash for run in (alone, then, whole) if run):
        return "it crashes"
    if not alone.right:
        if alone.error is not None and not alone.keys & form.untold:
            detail = f"no line names {_listed(form.untold)}" if form.untold else "its files say what it wants"
            return f"silently wrong: {detail}"
        if not named_keys or then is None:
            return "refused by a line that names no key"
        if not then.right:
            return f"the lines name {_listed(named_keys)}, and with that it is: {then}"
    if whole and not whole.right:
        return f"with its whole interface given it is: {whole}"
    outcome: Outcome = "right" if alone.right else "refused" if alone.error is None else "said"
    if RANKS[outcome] < RANKS[form.alone]:
        return f"{outcome}, where it should be {form.alone}"
    return None


def _listed(keys: Collection[str]) -> str:
    return ", ".join(f"'{key}'" for key in DEFAULTS if key in keys)
