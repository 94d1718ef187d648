"""wgpu-py's start: the types that cffi would parse one by one."""

from __future__ import annotations

import json
from pathlib import Path

import cffi
import pytest
import wgpu

from engine.gpu.device.choice import no_adapter
from engine.gpu.device.implementations import IMPLEMENTATIONS
from engine.gpu.device.wgpu import TYPES, parse_together
from tests.project import output_of

SCRIPT = """
import json, sys
from engine.gpu.device.implementations import IMPLEMENTATIONS
wgpu = IMPLEMENTATIONS["wgpu"]
wgpu.module
parser, parsed = wgpu.api.ffi._parser, []
parse_type = parser.parse_type
parser.parse_type = lambda name: parsed.append(name) or parse_type(name)
import engine
from tests.engine.in_threads import IMAGES, SMALL
with engine.Session(SMALL, backend="webgpu", adapter="wgpu") as session:
    session.run({"x": IMAGES[0]})
print(json.dumps(parsed))
"""


def test_types_are_what_cffi_parses_by_itself() -> None:
    header = (Path(wgpu.__file__).parent / "resources" / "combined_header.h").read_text("utf-8")
    together, alone = cffi.FFI(), cffi.FFI()
    for ffi in (together, alone):
        ffi.cdef(header)
    parse_together(together, TYPES)
    for name in TYPES:
        assert name in together._parsed_types
        alone._typeof(name, consider_function_as_funcptr=True)
        ((own, own_kind), (expected, kind)) = (ffi._parsed_types[name] for ffi in (together, alone))
        assert (str(own), own_kind) == (str(expected), kind)
        assert own is together._typeof(name, consider_function_as_funcptr=True)


def test_a_header_without_one_of_them_changes_nothing() -> None:
    ffi = cffi.FFI()
    ffi.cdef("typedef struct { int x; } here;")
    parse_together(ffi, ["here *", "not_here *"])
    assert ffi.new("here *").x == 0
    with pytest.raises(cffi.CDefError):
        ffi.new("not_here *")


def test_a_session_meets_no_other_types() -> None:
    if not IMPLEMENTATIONS["wgpu"].handles():
        pytest.skip(f"{no_adapter()}: THE START OF WGPU IS NOT TESTED")
    # another version of wgpu-py may have some more
    types = json.loads(output_of(SCRIPT))
    assert len(types) <= 3, types
