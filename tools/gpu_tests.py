"""Run the tests of the WebGPU executor on a card: on each hardware adapter, in each implementation that is installed.

    python tools/gpu_tests.py [PATH ...] [--only wgpu|dawn] [--software] [--workers N] [-- PYTEST OPTIONS]

PATH is what to run, by default all of `tests/engine/gpu`. Nothing need be installed but what the tests import, and
nothing is fetched. For each adapter: how many tests passed, failed and were skipped, and on which adapter they say that
they ran. The exit status is 1 where one failed or ran elsewhere, where none passed, and where there is no adapter.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.gpu.device.adapters import Adapter, adapters
from engine.gpu.device.choice import no_adapter
from engine.gpu.device.implementations import IMPLEMENTATIONS, installed_implementations

ROOT = Path(__file__).resolve().parents[1]

MOST_WORKERS = 12
"""Processes that share a card; more only wait for it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the tests, and the adapters on which they opened a device."""

    passed: int
    failed: int
    skipped: int
    ran_on: frozenset[str]

    def are_good(self, adapter: Adapter) -> bool:
        """Whether all that ran passed, something did, and all of it ran on ``adapter``."""
        return self.passed > 0 and not self.failed and self.ran_on == {named(adapter)}

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def named(adapter: Adapter) -> str:
    """How the tests name an adapter in the file of ``NSS_TEST_ADAPTER_LOG``."""
    return f"{adapter.index}: {adapter}"


def run_on(adapter: Adapter, paths: Sequence[str], workers: int, options: Sequence[str]) -> Counts:
    """Run the tests in ``paths`` on ``adapter``, with pytest's output as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report.xml"), Path(folder, "adapters")
        # without a cache: the tree stays as it is
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-n", str(workers)] if workers > 1 else []
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "NSS_TEST_ADAPTER": str(adapter.index),
            "NSS_TEST_ADAPTER_LOG": str(log),
            "NSS_REQUIRE_ADAPTER": "1",
        }
        process = subprocess.run([*command, *options, *paths], cwd=ROOT, env=environment, check=False)
        return read_counts(report, log, process.returncode)


def read_counts(report: Path, log: Path, status: int) -> Counts:
    """The counts of a run of pytest, by its JUnit report, the log of adapters and its exit status."""
    ran_on = frozenset(log.read_text(encoding="utf-8").splitlines()) if log.exists() else frozenset()
    if not report.exists():  # pytest did not come so far
        return Counts(0, 1, 0, ran_on)
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    tests, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    # pytest knows of failures that belong to no test
    return Counts(tests - failed - skipped, failed or int(status != 0), skipped, ran_on)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the counts. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own, options = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", default=["tests/engine/gpu"], metavar="PATH")
    parser.add_argument("--only", choices=list(IMPLEMENTATIONS))
    parser.add_argument("--software", action="store_true", help="on software adapters as well")
    parser.add_argument("--workers", type=int, default=min(MOST_WORKERS, os.cpu_count() or 1))
    selection = parser.parse_args(own)
    workers = selection.workers if importlib.util.find_spec("xdist") else 1
    fitting = [
        adapter
        for adapter in adapters()
        if selection.only in (None, adapter.implementation) and (selection.software or not adapter.software)
    ]
    if not fitting:
        kind = "adapter" if selection.software else "hardware adapter"
        print(f"NOTHING WAS TESTED: no {kind}; " + (no_adapter() if not adapters() else _listed()), file=sys.stderr)
        return 1
    covered = {adapter.implementation for adapter in fitting}
    missing = [name for name in installed_implementations() if selection.only in (None, name) and name not in covered]
    results: list[tuple[Adapter, Counts]] = []
    for adapter in fitting:
        print(f"\n=== {named(adapter)}: {adapter.driver}", flush=True)
        results.append((adapter, run_on(adapter, selection.paths, workers, options)))
    print()
    for adapter, counts in results:
        state = "good" if counts.are_good(adapter) else "NOT GOOD"
        where = ", ".join(sorted(counts.ran_on)) or "NO ADAPTER"
        print(f"{state}: {named(adapter)}: {counts}; ran on {where}")
    for name in missing:
        print(f"NOT TESTED: {name} is installed and shows no such adapter; --only leaves it out")
    return 0 if not missing and all(counts.are_good(adapter) for adapter, counts in results) else 1


def _listed() -> str:
    return "the adapters are " + "; ".join(named(adapter) for adapter in adapters())


if __name__ == "__main__":
    sys.exit(main())
