"""Damage models and images at random, and see that nothing aborts, hangs, or leaves with another library's exception.

    python tools/fuzz.py [onnx|images|all] [--cases N | --seconds S] [--seed N] [--jobs N] [--webgpu N] [--keep DIR]
    python tools/fuzz.py onnx --seed 7 --case 1234 [--keep DIR]

A case is a file that is damaged at random; it is the same for the same seed, number and versions of onnx and Pillow.
Each runs in a child process with a limit of time and one of memory. A model that loads runs by ``reference`` and on
NumPy, and one in ``--webgpu`` on WebGPU too (the first adapter, be it software); the results must agree, or differ for
a reason of tools/fuzzing/explanations.py. An image goes through the library or the command, with a mask that is
given, to a file.

Without --case a table of what came out, then each distinct fault once. What a faulty case was made of, and what
happened, is written to a folder of its own in --keep. The exit status is 1 where there was a fault. In CI
``--seconds 60`` is run: half a minute for each kind.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.cores import available_cores
from tools.fuzzing.children import Context, Limits, run_cases
from tools.fuzzing.image_cases import ImageCases
from tools.fuzzing.onnx_cases import OnnxCases
from tools.fuzzing.verdict import FAULTS, Verdict, report

Cases = OnnxCases | ImageCases


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.case is not None and options.kind == "all":
        parser.error("--case is of one kind: onnx or images")
    if not hasattr(os, "fork"):
        print("cases run in forked children, and this system has no fork", file=sys.stderr)
        return 2
    kinds: list[Cases] = []
    if options.kind in ("onnx", "all"):
        kinds.append(OnnxCases(options.seed, options.webgpu))
    if options.kind in ("images", "all"):
        kinds.append(ImageCases(options.seed))
    limits = Limits(options.limit, options.memory << 20)
    faults = 0
    for cases in kinds:
        start = time.monotonic()
        cases.prepare()
        if options.case is not None:
            faults += _one(cases, options.case, limits, options.keep)
            continue
        share = None if options.seconds is None else max(1.0, options.seconds / len(kinds) - time.monotonic() + start)
        numbers: Iterable[int] = itertools.count(options.first)
        if share is None:
            numbers = itertools.islice(numbers, options.cases)
        verdicts: dict[int, Verdict] = {}
        for index, verdict in run_cases(cases.judge, numbers, limits=limits, jobs=options.jobs, seconds=share):
            verdicts[index] = verdict
            if verdict.fault and options.keep:
                _keep(cases, index, verdict, options.keep)
        print(report(f"{cases.name}, seed {options.seed}, {time.monotonic() - start:.0f} s", verdicts), flush=True)
        faults += sum(verdict.fault for verdict in verdicts.values())
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Faults: " + "; ".join(f"{kind}: {meaning}" for kind, meaning in FAULTS.items()) + ".",
    )
    parser.add_argument("kind", nargs="?", choices=("onnx", "images", "all"), default="all")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--cases", type=int, default=10_000, help="so many of each kind")
    length.add_argument("--seconds", type=float, help="so long in all")
    length.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=available_cores(), help="children at a time")
    parser.add_argument("--webgpu", type=int, default=20, help="one model in so many runs on WebGPU too; 0: none")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds of a case")
    parser.add_argument("--memory", type=int, default=3072, help="MiB of a case")
    parser.add_argument("--keep", type=Path, help="a folder for faulty cases")
    return parser


def _one(cases: Cases, index: int, limits: Limits, keep: Path | None) -> bool:
    """Judge one case, and say all that is known of it."""
    ((_, verdict),) = run_cases(cases.judge, [index], limits=limits)
    print(f"{cases.name} {index}: {verdict}\n{verdict.detail}")
    if keep:
        _keep(cases, index, verdict, keep)
    return verdict.fault


def _keep(cases: Cases, index: int, verdict: Verdict, folder: Path) -> None:
    """Write the case's files and what happened; in a child, as the case itself was made."""
    place = folder / f"{cases.name}-{cases.seed}-{index}"
    place.mkdir(parents=True, exist_ok=True)

    def write(index: int, _: Context) -> Verdict:
        origin = cases.make(index, place)
        text = f"{verdict}\nmade from {origin}\n{verdict.detail}\n"
        (place / "verdict.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        return verdict

    list(run_cases(write, [index]))


if __name__ == "__main__":
    sys.exit(main())
