"""Programs: a template, and all that it is rendered with. Equal programs are one shader, compiled once.

What differs between dispatches of one program are numbers: ranges of buffers, uniforms and workgroups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.template import render

Constant = None | bool | int | float | str | tuple[Any, ...]
"""Plain data: a scalar, a tuple of constants, or Fields."""


class Fields(tuple[tuple[str, Constant], ...]):
    """A mapping as pairs, in the order of their names; templates read a pair's value as an attribute."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Constant:
        for field_name, value in self:
            if field_name == name:
                return value
        raise AttributeError(name)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A storage buffer of a program: its name, the WGSL type of an item, and "read" or "read_write"."""

    name: str
    item: str
    access: str


@dataclass(frozen=True)
class Program:
    """A template and its constants; ``parameters`` are bindings 1, 2, …, and ``uniforms`` names of the numbers in
    binding 0 behind those of every kernel.

    ``key`` tells constants apart that are equal and written differently: 1, 1.0 and True.
    """

    kernel: str
    constants: tuple[tuple[str, Constant], ...] = field(compare=False)
    parameters: tuple[Parameter, ...]
    uniforms: tuple[str, ...]
    f16: bool
    trusted: bool
    key: str = field(repr=False)

    @classmethod
    def of(cls, dispatch: Dispatch) -> Program:
        """The program that a dispatch runs. Raises TypeError for a constant that is no plain data."""
        access = ["read"] * len(dispatch.reads) + ["read_write"] * len(dispatch.writes)
        constants = tuple(sorted((name, frozen(value)) for name, value in dispatch.params.items()))
        return cls(
            kernel=dispatch.kernel,
            constants=constants,
            parameters=tuple(
                Parameter(operand.name, operand.item, mode)
                for operand, mode in zip(dispatch.operands, access, strict=True)
            ),
            uniforms=tuple(dispatch.uniforms),
            # matrix units multiply float16, whatever the operands are
            f16="matrix" in dispatch.params or any(operand.tensor.dtype == "f16" for operand in dispatch.operands),
            trusted=dispatch.trusted,
            key=repr(constants),
        )

    @cached_property
    def source(self) -> str:
        """The WGSL."""
        return render(
            self.kernel,
            operands=self.parameters,
            uniforms=self.uniforms,
            uses_f16=self.f16,
            **dict(self.constants),
        )

    @property
    def subgroup_lanes(self) -> int:
        """The size that every subgroup must have for a kernel on matrix units; 0 for every other."""
        matrix = dict(self.constants).get("matrix")
        if not isinstance(matrix, Fields) or matrix.spelling == "emulated":
            return 0
        assert isinstance(matrix.lanes, int)
        return matrix.lanes


def frozen(value: Any) -> Constant:
    """``value`` with lists as tuples and mappings as Fields.

    Raises TypeError for what is no plain data: it would have no bytes that are the same in two processes.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return Fields((str(name), frozen(entry)) for name, entry in sorted(value.items()))
    if isinstance(value, (tuple, list)):
        return tuple(frozen(entry) for entry in value)
    raise TypeError(f"a constant of a program is plain data, not {type(value).__name__}")
