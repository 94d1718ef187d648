"""How ``pytest -n`` shares out the tests, and what they all begin with."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# what a shell or nohup ignores for a background job, the commands under test would inherit
for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), default)

WHOLE_FILES = (
    "tests/test_models.py",
    "tests/test_python_docs.py",
    "tests/engine/gpu/test_birefnet_plan.py",
    "tests/nss/ray/test_cluster.py",
    "tests/nss/compat/test_rembg.py",  # which compiles what rembg imports
    "tests/tools/test_fuzz.py",
)
"""Files whose tests share fixtures that take seconds, or are long: one worker has all of each, from the start."""

NODE_TESTS = "tests/engine/test_conformance.py"
"""Where the tests of one name, on several backends, begin with what the first of them finds out."""


# how long an example takes says nothing on a machine with much else to do
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Keep what this machine remembers and has compiled out of all tests, and of fixtures that outlive one."""
    folder = Path(tempfile.mkdtemp(prefix="nss-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ |= {f"NSS_{name}_DIR": str(folder / name.lower()) for name in ("STATE", "CACHE")}
    os.environ["NSS_CACHE_SIZE"] = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked 'long', too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if marker := item.get_closest_marker("long"):
            reason = f"{marker.kwargs['reason']}: NOT TESTED HERE, `pytest --long` and `.ci/run long` run it"
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Take what has been collected out of later collections of garbage: each would go through it, for half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # so that pytest runs without xdist, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Called by xdist, once, before it hands out the first test."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        """Test by test, but for the files that stay whole, and the node tests, of which one worker has all backends.

        xdist's own ``--dist loadgroup`` does this with a marker, which version 3.8 no longer sees under pytest 9.2.
        """

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            if file in WHOLE_FILES:
                return file
            return nodeid.rpartition("-")[0] if file == NODE_TESTS and "-" in nodeid else nodeid

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ARG002
            nodeid = self.registered_collections[node][item_index]
            scope = self._split_scope(nodeid)
            unit = self.assigned_work[node][scope]
            unit[nodeid] = True
            if all(unit.values()):  # or xdist would count through all that was ever done, after each test
                del self.assigned_work[node][scope]
            self._reschedule(node)

    return Scheduling(config, log)
