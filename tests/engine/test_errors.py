"""The tree of error classes that the docstring of engine.errors shows is the tree there is."""

from __future__ import annotations

from engine import errors
from engine.errors import EngineError
from engine.ops import registry


def tree(base: type[EngineError], depth: int = 1) -> set[str]:
    """Each class below ``base``, as a line of the docstring: indented by four blanks for each level."""
    module = "" if base.__module__ == errors.__name__ else f" ({base.__module__})"
    lines = {f"{'    ' * depth}{base.__name__}{module}"}
    return lines.union(*(tree(child, depth + 1) for child in base.__subclasses__()))


def test_the_docstring_shows_the_tree_of_errors() -> None:
    assert registry.MisfitError in errors.ModelError.__subclasses__()
    text = (errors.__doc__ or "").split("The tree of classes::")[1]
    lines = [line for line in text.splitlines() if line.strip()]
    assert set(lines) == tree(EngineError)
    assert len(lines) == len(set(lines))
