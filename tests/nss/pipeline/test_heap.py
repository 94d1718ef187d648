"""What was freed is the system's again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.project import ROOT

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from nss.pipeline.heap import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "returned":
    assert return_large_blocks()

def photo(i):
    np.ones(20 << 20, np.uint8)  # its size is now one that the heap takes
    array, small = np.ones(12 << 20, np.uint8), np.ones(100_000, np.uint8)  # which keeps what lies below it
    del array
    return small

before = resident()
with ThreadPoolExecutor(4) as pool:
    kept = list(pool.map(photo, range(40)))
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system's allocator is not the GNU C library's")
def test_large_blocks_go_back() -> None:
    held = {}
    for how in ("kept", "returned"):
        command = [sys.executable, "-c", PROGRAM, how]
        process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        held[how] = int(process.stdout)
    assert held["returned"] < 12 << 20 < held["kept"], held
