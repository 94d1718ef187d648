"""Help texts in sections: what most people need, then options by what they are about."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

ARGUMENTS = "Arguments"
COMMON = "Most used options"
SERVER = "Who may ask, and for how much"
WATCH = "A watched folder"
INPUT = "Input"
MODEL = "Model and backend"
MASK = "Mask, in the order in which it is refined"
COLOUR = "Colour"
OUTPUT = "Output"
BATCH = "Batch"
INTERFACE = "A model file of your own"

SECTIONS = (ARGUMENTS, COMMON, SERVER, INPUT, MODEL, WATCH, MASK, COLOUR, OUTPUT, BATCH, INTERFACE)
"""The titles of sections in the order in which they stand; an option names its own as ``rich_help_panel``."""


class SectionedCommand(TyperCommand):
    """A command whose help has the sections of ``SECTIONS``.

    They are typer's panels without rich, whose import alone would double the time of a help text.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections, each with its options in the order of their declaration; ``--help`` is a common one."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                records[section_of(parameter)].append(record)
        for title, lines in records.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


def section_of(parameter: Any) -> str:
    """The section of an argument or option of a command; of an option that names none the first one of options."""
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or COMMON
