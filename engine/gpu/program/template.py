"""shaders/*.wgsl → WGSL source: jinja2 templates, in which an undefined name is an error."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _environment() -> Any:
    import jinja2

    def source(name: str) -> str:
        path = files("shaders").joinpath(*name.split("/"))
        if not path.is_file():
            raise jinja2.TemplateNotFound(name)
        return path.read_text(encoding="utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        undefined=jinja2.StrictUndefined,
        line_statement_prefix="//%",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(kernel: str, /, **params: Any) -> str:
    """The source of ``shaders/<kernel>.wgsl`` with ``params``; jinja2's UndefinedError where one is missing."""
    return str(_environment().get_template(f"{kernel}.wgsl").render(**params))
