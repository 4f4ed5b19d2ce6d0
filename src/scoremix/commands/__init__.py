"""The command line: one line per error, status 2 for wrong input, 1 for what failed."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from scoremix import __version__
from scoremix.commands import story  # each adds its verbs, in the order in which --help lists them

# isort: split
from scoremix.commands import models, sets, usage
from scoremix.commands.options import app
from scoremix.execution.torchrun import process, processes

__all__ = ["app", "main", "models", "sets", "story"]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"scoremix {__version__}")
        raise typer.Exit


@app.callback()
def _(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if processes() > 1 and context.invoked_subcommand not in (*story.VERBS, "evaluate"):
        hint = "; a study shares its arms with --part K/N" if context.invoked_subcommand == "study" else ""
        raise typer.BadParameter(f"{context.invoked_subcommand} is for one process, not for torchrun{hint}")


def main() -> None:
    """Entry point: one line per error; status 2 for wrong input, 1 for what failed, 130 after Ctrl-C."""
    try:
        status = app(standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = 130
    except usage.UsageError as error:
        if usage.shows_help(error):
            error.show()
        else:
            print(f"{_called()}: {usage.line_of(error)}", file=sys.stderr)
        _leave(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv or os.environ.get("SCOREMIX_DEBUG"):
            if processes() == 1:
                raise
            traceback.print_exc()
        status, text = _explain(error)
        print(f"{_called()}: {text}", file=sys.stderr)
        _leave(status)
    if status == 130:
        print(f"{_called()}: stopped; the next run continues from here", file=sys.stderr)
    _leave(status)


def _called() -> str:
    """Who speaks: of several processes also which."""
    return "scoremix" + (f" (process {process()})" if processes() > 1 else "")


def _leave(status: int) -> None:
    """Ends this process, of several a failing one at once: what they share cannot be taken down by one alone."""
    if status and processes() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _explain(error: Exception) -> tuple[int, str]:
    """Exit status and the text for an error."""
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}the disk is full ({error.strerror}); finished stages are safe: free space, run again"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return 2, f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError)):
        return 2, str(error)
    if isinstance(error, (RuntimeError, FloatingPointError, MemoryError)):
        return 1, str(error) or type(error).__name__
    return 1, f"{type(error).__name__}: {error} (use --debug for the traceback)"
