"""The ONNX node tests of operators that the engine has, but which it does not pass: each with its reason.

A pattern must match a whole name. test_conformance holds the table to the truth: every pattern matches a test, and
every excluded test still fails, in the way that is written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx

from engine import UnsupportedError
from tools.node_tests import BACKENDS


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Node tests that fail with ``error``, whose message contains a match of ``message``, on ``backends``."""

    pattern: str
    reason: str
    error: type[Exception]
    message: str
    backends: tuple[str, ...] = BACKENDS

    def covers(self, name: str, backend: str) -> bool:
        """Whether that test on that backend is excluded."""
        return backend in self.backends and re.fullmatch(self.pattern, name) is not None


NARROW = r"has tensor type (bfloat16|u?int2|float[48]e\w+), which"

EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        r"test_cast(like)?_\w*(BFLOAT16|FLOAT8|FLOAT4|INT2)\w*",
        "casts from or to bfloat16, float8, float4 or int2, which NumPy does not have",
        UnsupportedError,
        NARROW,
    ),
    Exclusion(
        r"test_(de)?quantizelinear_(e4m3fn|e5m2|float4e2m1|u?int2)(_\w+)?",
        "quantises to float8, float4 or int2, which NumPy does not have",
        UnsupportedError,
        NARROW,
    ),
    Exclusion(
        r"test_\w+_(bf16|bfloat16)(_\w+)?",
        "computes in bfloat16, which NumPy does not have",
        UnsupportedError,
        NARROW,
    ),
    Exclusion(
        r"test_equal_string(_broadcast)?",
        "compares strings",
        UnsupportedError,
        "has tensor type string, which",
    ),
    Exclusion(
        r"test_identity_(opt|sequence)",
        "hands on a sequence of tensors",
        UnsupportedError,
        "is not a tensor",
    ),
    Exclusion(
        r"test_batchnorm_(epsilon|example)_training_mode|test_training_dropout(_default)?(_mask)?",
        "is training, not inference",
        UnsupportedError,
        "training is not supported",
    ),
    Exclusion(
        r"test_not_[234]d",
        "imports operator set 1; the engine reads 7 and later",
        UnsupportedError,
        "operator set 1 is older than 7",
    ),
    Exclusion(
        r"test_attention_4d_causal_fp16_expanded",
        "two of 192 float16 results are two steps, 1.04e-3, from those that NumPy's float16 products gave",
        error=AssertionError,
        message=r"Mismatched elements: 2 / 192",
        backends=("reference",),
    ),
)


ONNX = tuple(map(int, onnx.__version__.split(".")[:2]))
"""The release whose node tests are run."""

COMPLETE_SINCE = (1, 23)
"""The first release that has a test for each pattern."""

if ONNX < (1, 22):
    EXCLUSIONS += (
        Exclusion(
            r"test_qlinearmatmul_[23]D_int8_float(16|32)",
            "expects sums that have wrapped where the specification has them saturate; right since onnx 1.22",
            AssertionError,
            "Arrays are not equal",
        ),
    )
if ONNX < (1, 19):
    EXCLUSIONS += (
        Exclusion(
            r"test_cast(like)?_(FLOAT_to_STRING|STRING_to_FLOAT)(_expanded)?",
            "casts from or to strings; left out since onnx 1.19",
            UnsupportedError,
            "has tensor type string, which",
        ),
        Exclusion(
            r"test_cast_FLOAT(16)?_to_U?INT4",
            "expects that floats beyond four bits saturate; since onnx 1.19 they wrap",
            AssertionError,
            "Arrays are not equal",
        ),
    )
if ONNX < (1, 18):
    EXCLUSIONS += (
        Exclusion(
            r"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
            "counts what lies beyond the padding; right since onnx 1.18",
            AssertionError,
            "Mismatched elements: 217 / 729",
        ),
    )

NO_FLOAT64 = r"backend 'webgpu' cannot run .*float64"

EXCLUSIONS += (
    Exclusion(
        r"test_(cast(like)?_(DOUBLE_to_\w+|FLOAT(16)?_to_DOUBLE)(_expanded)?|mod_\w*float64\w*|m(ax|in)_float64"
        r"|eyelike_with_dtype)",
        "is about float64, which WGSL does not have",
        error=UnsupportedError,
        message=NO_FLOAT64,
        backends=("webgpu",),
    ),
    Exclusion(
        r"test_(reduce_log_sum_exp_(?!empty_set$)\w+|cum(sum|prod)_[12]d(_axis_\d|_negative_axis)?(_reverse)?(_exclusive)?|einsum_\w+)",
        "computes in float64, which WGSL does not have",
        error=UnsupportedError,
        message=NO_FLOAT64,
        backends=("webgpu",),
    ),
    Exclusion(
        r"test_attention_local_window_gqa_rank4_mask_expanded|test_flexattention_double_expanded_ver26",
        "takes a softmax in float64, which WGSL does not have",
        error=UnsupportedError,
        message=NO_FLOAT64,
        backends=("webgpu",),
    ),
    Exclusion(
        r"test_cum(sum|prod)_[12]d_int32(_exclusive)?",
        "sums integers along an axis that only the run knows",
        error=UnsupportedError,
        message="needs the axis at load",
        backends=("webgpu",),
    ),
)


def exclusion_of(name: str, backend: str) -> Exclusion | None:
    """The exclusion that covers that test on that backend, if there is one."""
    return next((entry for entry in EXCLUSIONS if entry.covers(name, backend)), None)
