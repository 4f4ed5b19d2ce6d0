"""What went wrong in one line: calls that name no command or option of ours, wrong values, and what failed."""

import difflib
import errno
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import typer

UsageError: Any = typer.BadParameter.__base__  # typer names only this one, whichever click it is made of


def explained(error: Exception) -> tuple[int, str]:
    """Exit status and the text for an error."""
    named = re.sub(
        r"\.[0-9a-f]{32}\.partial$", "", str(getattr(error, "filename", None) or "")
    )  # not yet under its name
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f"{named}: " if named else ""
        return 1, f"{where}the disk is full ({error.strerror}); finished stages are safe: free space, run again"
    if isinstance(error, OSError) and named and error.strerror:
        return 2, f"{named}: {error.strerror}"
    if isinstance(error, (ValueError, OSError)):
        return 2, str(error)
    if isinstance(error, (RuntimeError, FloatingPointError, MemoryError)):
        return 1, str(error) or type(error).__name__
    return 1, f"{type(error).__name__}: {error} (use --debug for the traceback)"


def line_of(error: Any) -> str:
    """What was given in a wrong call, and what is allowed."""
    context, option = error.ctx, str(getattr(error, "option_name", ""))
    command: Any = context.command if context else None
    if getattr(error, "param", None) is not None:
        return _of_parameter(error)
    if type(error).__name__ == "NoSuchOption" and command is not None:
        if option == "--runs":
            return f"--runs is now --out, the folder of runs, as in every command (`{context.command_path} --help`)"
        if command.name == "evaluate" and option in _options(context.parent.command.commands["benchmark"]):
            place = (arguments := sys.argv[1:]).index("evaluate")
            call = shlex.join(["scoremix", *arguments[:place], "benchmark", *arguments[place + 1 :]])
            return f"evaluate --sets is now `{call}`"
        return (
            f"{option}: no such option of `{context.command_path}` ({_close(option, [*_options(command), '--help'])})"
        )
    if hasattr(command, "commands") and (given := re.match(r"No such command '(.*?)'", error.message)):
        return f"{given[1]}: no such command ({_close(given[1], list(command.commands))})"
    where = f" (`{context.command_path} --help` says what is allowed)" if context else ""
    return _lower(error.format_message()) + where


def _options(command: Any) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts if name.startswith("-")]


def _of_parameter(error: Any) -> str:
    """One line on an option or argument that is missing or has a wrong value."""
    parameter = error.param
    is_option = parameter.param_type_name == "option"
    # an argument as `--help` writes it: its metavar, if it has one
    name = max(parameter.opts, key=len) if is_option else (parameter.metavar or parameter.name.upper()).strip("[]")
    if type(error).__name__ == "MissingParameter":
        about = f" ({parameter.help})" if getattr(parameter, "help", None) else ""
        return f"{name}: missing, `{error.ctx.command_path}` needs it{about}"
    if choice := re.search(r"('.*') is not one of (.*?)\.?$", error.message):
        return f"{name} {choice[1]}: allowed are {choice[2].replace(chr(39), '')}"
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
