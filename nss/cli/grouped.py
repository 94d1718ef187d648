"""How a command takes options by groups, each of which becomes one object: they are declared once for all commands.

A command takes the object as a parameter; `grouped` gives it the options of the group in that place.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, get_args

from typer.models import OptionInfo

from nss.errors import UsageError

Command = Callable[..., None]

_NONE: Mapping[str, str] = MappingProxyType({})


def grouped(refused: Mapping[str, str] = _NONE, /, **groups: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator for commands: each parameter named in ``groups`` gives way to the parameters of its group.

    When the command is called, the group's function makes the object from their values.

    Args:
        refused: parameters of the groups that mean nothing to this command, each with the reason. Their options are not
            in its help, and one that is set is a UsageError with that reason.
        groups: the function of each group by the name of the command's parameter.
    """

    def decorate(command: Command) -> Command:
        members = {name: _parameters(group, {"return"}) for name, group in groups.items()}
        parameters: list[inspect.Parameter] = []
        for parameter in _parameters(command, set(groups)).values():
            parameters.extend(members[parameter.name].values() if parameter.name in groups else [parameter])
        parameters = [
            parameter.replace(
                kind=inspect.Parameter.KEYWORD_ONLY,
                annotation=_hidden(parameter.annotation) if parameter.name in refused else parameter.annotation,
            )
            for parameter in parameters
        ]
        defaults = {parameter.name: parameter.default for parameter in parameters}

        def call(**values: Any) -> None:
            for name, reason in refused.items():
                if values[name] != defaults[name]:
                    raise UsageError(f"{_option_name(name)} is not for {command.__name__}: {reason}")
            objects = {
                name: group(**{option: values.pop(option) for option in members[name]})
                for name, group in groups.items()
            }
            command(**values, **objects)

        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def moved(group: Callable[..., Any], sections: Mapping[str, str]) -> Callable[..., Any]:
    """The group with its options in other sections of the help: ``sections`` has the new one for each that is left."""

    def call(**values: Any) -> Any:
        return group(**values)

    parameters = []
    for parameter in _parameters(group, {"return"}).values():
        kind, option = get_args(parameter.annotation)
        option = copy.copy(option)
        option.rich_help_panel = sections.get(option.rich_help_panel, option.rich_help_panel)
        parameters.append(parameter.replace(annotation=Annotated[kind, option]))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameters(function: Callable[..., Any], unevaluated: set[str]) -> Mapping[str, inspect.Parameter]:
    """The function's parameters with their annotations evaluated, but for those in ``unevaluated``.

    Their types may be imported for type checking alone: to import them for a help text would take half a second.
    """
    placeholders = {text: Any for name, text in function.__annotations__.items() if name in unevaluated}
    return inspect.signature(function, eval_str=True, locals=placeholders).parameters


def _hidden(annotation: Any) -> Any:
    """The annotation of an option, ``Annotated[type, typer.Option(...)]``, that help texts do not show."""
    kind, option = get_args(annotation)
    option = copy.copy(option)
    assert isinstance(option, OptionInfo)
    option.hidden = True
    return Annotated[kind, option]


def _option_name(parameter: str) -> str:
    return "--" + parameter.replace("_", "-")
