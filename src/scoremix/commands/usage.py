"""Calls that name no verb or option of ours, or give it a wrong value: each said in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import typer

UsageError: Any = typer.BadParameter.__base__  # typer names only this one, whichever click it is made of


def shows_help(error: Any) -> bool:
    """Whether that is no error, but the help that a call without arguments gets."""
    return type(error).__name__ == "NoArgsIsHelpError"


def line_of(error: Any) -> str:
    """What was given, and what is allowed."""
    context, option = error.ctx, str(getattr(error, "option_name", ""))
    command: Any = context.command if context else None
    if getattr(error, "param", None) is not None:
        return _of_parameter(error)
    if type(error).__name__ == "NoSuchOption" and command is not None:
        known = [name for parameter in command.params for name in parameter.opts if name.startswith("-")]
        return f"{option}: no such option of `{context.command_path}` ({_close(option, [*known, '--help'])})"
    if hasattr(command, "commands") and (given := re.match(r"No such command '(.*?)'", error.message)):
        return f"{given[1]}: no such verb ({_close(given[1], list(command.commands))})"
    where = f" (`{context.command_path} --help` says what is allowed)" if context else ""
    return _lower(error.format_message()) + where


def _of_parameter(error: Any) -> str:
    """One line on an option or argument that is missing or has a wrong value."""
    parameter = error.param
    name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.name.upper()
    if type(error).__name__ == "MissingParameter":
        about = f" ({parameter.help})" if getattr(parameter, "help", None) else ""
        return f"{name}: missing, `{error.ctx.command_path}` needs it{about}"
    if not hasattr(error.__cause__, "errors"):
        return f"{name}: {_lower(error.message)}"
    wrong = error.__cause__.errors()[0]
    said = wrong["msg"].replace("Input should be", "must be").partition(", unable")[0]
    return f"{name} {wrong['input']}: {said}"


def _close(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(known)}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
