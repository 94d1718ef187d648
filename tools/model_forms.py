"""Small networks in the forms that people's models have, through the whole program, on every backend.

    python tools/model_forms.py [--backend NAME ...] [--write DIR] [NAME ...]

Each network (tools/forms/) marks what is orange on a photo, and depends on every step before and after it: a wrong
normalisation, channel or size is a wrong mask. It runs as a user runs it: with nothing said; then, where it was refused
or wrong, with the keys of ``model_config`` that the lines named; and with its whole interface given. The truth is ONNX
Runtime's, with Pillow's resampling and the arithmetic written out (tools/forms/truth.py).

    right    the mask is within 1e-3 of the truth, as a mean
    said     it is wrong, as nothing in the file tells; a line names the keys that settle it, and with them it is right
    refused  by a line that names the keys that make it run, and with them it is right

Backends are numpy, reference, and for WebGPU wgpu and dawn, where they are installed and have an adapter. --write keeps
the networks in a folder. Exit status: 0 all are one of the three, 1 one is silently wrong, crashes, is refused by a
line that does not help, or comes to less than it should, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

import engine
from nss.cli.table import aligned
from tools.forms import truth
from tools.forms.form import Form
from tools.forms.judge import Verdict, judge
from tools.forms.table import FORMS

PROCESSOR = ("numpy", "reference")
HEADS = ("network", "what it is", "backends", "with nothing said", "keys that the lines named", "with them", "with all")


def backends() -> dict[str, tuple[str, int | None]]:
    """What runs here, by its name in the table: the backend, and the adapter's number."""
    adapters = engine.devices().adapters
    numbers = {adapter.implementation: adapter.index for adapter in reversed(adapters)}  # the first of each
    return {name: (name, None) for name in PROCESSOR} | {name: ("webgpu", n) for name, n in sorted(numbers.items())}


def judge_form(
    form: Form, folder: Path, photo: Path, backends: dict[str, tuple[str, int | None]]
) -> dict[str, Verdict]:
    """What became of a form, by backend; its files stay in a folder of its own in ``folder``."""
    with Image.open(photo) as image:
        expected = truth.mask(form, np.asarray(image))
    path = form.write(folder / form.name)
    return {
        name: judge(form, path, photo, expected, backend=backend, device=device)
        for name, (backend, device) in backends.items()
    }


def rows(form: Form, verdicts: dict[str, Verdict]) -> list[list[str]]:
    """The table's rows for a form: one for all backends that say the same."""
    by_cells: dict[tuple[str, ...], list[str]] = {}
    for backend, verdict in verdicts.items():
        by_cells.setdefault(_cells(verdict), []).append(backend)
    return [[form.name, form.what, ", ".join(names), *cells] for cells, names in by_cells.items()]


def _cells(verdict: Verdict) -> tuple[str, ...]:
    then = "" if verdict.then is None else "right" if verdict.then.right else "WRONG"
    whole = "" if verdict.whole is None else "right" if verdict.whole.right else "WRONG"
    return (verdict.fault and "FAILED") or verdict.outcome, " ".join(verdict.named_keys), then, whole


def explain(verdict: Verdict) -> str:
    """What is wrong, and what each run said."""
    lines = [str(verdict.fault)]
    for title, run in (("nothing said", verdict.alone), ("as asked", verdict.then), ("all", verdict.whole)):
        if run is not None:
            lines.append(f"    {title}: {run}")
            lines += [f"        {line}" for line in (run.lines[:-1] if run.error is None else run.lines)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which networks; by default all {len(FORMS)}")
    parser.add_argument(
        "--backend", action="append", metavar="NAME", help="numpy, reference, wgpu or dawn; by default all"
    )
    parser.add_argument("--write", type=Path, metavar="DIR", help="keep the networks, and the photo, in this folder")
    options = parser.parse_args(arguments)
    here = backends()
    for what, unknown, choices in (
        ("network", set(options.names) - set(FORMS), FORMS),
        ("backend", set(options.backend or ()) - set(here), here),
    ):
        if unknown:
            parser.error(f"no {what} {', '.join(sorted(unknown))} here; choose from {', '.join(choices)}")
    targets = {name: here[name] for name in options.backend or here}
    with tempfile.TemporaryDirectory() as scratch:
        for variable in ("NSS_STATE_DIR", "NSS_CACHE_DIR"):  # what was tried or compiled before is not remembered
            os.environ[variable] = str(Path(scratch) / variable)
        folder = options.write or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth.photo()).save(folder / "photo.png")
        table: list[list[str]] = [list(HEADS)]
        failures: dict[str, list[str]] = {}
        for form in (FORMS[name] for name in options.names or FORMS):
            verdicts = judge_form(form, folder, folder / "photo.png", targets)
            table += rows(form, verdicts)
            for backend, verdict in verdicts.items():
                if verdict.fault:
                    failures.setdefault(f"{form.name}: {explain(verdict)}", []).append(backend)
    print("\n".join(aligned(table)))
    for what, names in failures.items():
        print(f"\n{what}\n    on {', '.join(names)}")
    count = sum(map(len, failures.values()))
    print(f"\nnetworks: {len(options.names or FORMS)}, on {', '.join(targets)}; failures: {count}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
