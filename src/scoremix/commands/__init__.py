"""The command line, one file per command: one line per error, status 2 for wrong input, 1 for what failed."""

import io
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from scoremix import __version__
from scoremix.commands import errors
from scoremix.commands.options import app
from scoremix.commands.story import STEPS
from scoremix.data.csv_text import printable
from scoremix.execution import stopping
from scoremix.execution.torchrun import process, processes

ORDER = (  # in which --help lists the commands: a run from its images to the recognizer in use, then its parts, then tools
    *("verify-data", "run", "show", "report", "fit", "verify", "enroll", "identify", "embed", "export", "explore"),
    *("sheets", "quality", "analyze", "log", "plan", "rehearse", *STEPS, "benchmark", "study", "convert", "subset"),
    *("ema", "import-edm2"),
)
for _name in {*ORDER} - {"run", *STEPS} | {"sample"}:
    import_module(f"scoremix.commands.{_name.replace('-', '_')}")
app.registered_commands.sort(key=lambda of: ORDER.index(of.name or str(of.callback.__name__).replace("_", "-")))  # type: ignore[union-attr]


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
    if processes() > 1 and context.invoked_subcommand not in ("run", *STEPS, "benchmark"):
        hint = "; a study has --workers and --scheduler" if context.invoked_subcommand == "study" else ""
        raise typer.BadParameter(f"{context.invoked_subcommand} is for one process, not for torchrun{hint}")


def main() -> None:
    """Entry point: one line per error; status 2 for wrong input, 1 for what failed, 130 after Ctrl-C."""
    for name in (
        "stdin",
        "stdout",
        "stderr",
    ):  # where one is closed, no file that is opened later may stand in its place
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115 - stays open
    if sys.stdout.isatty():
        sys.stdout = _Plain(sys.stdout.buffer, sys.stdout.encoding, "backslashreplace", line_buffering=True)
    try:
        _stands_somewhere()
        status = app(standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = 130
    except errors.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help that a call without arguments gets
            error.show()
        else:
            _complain(errors.line_of(error))
        _leave(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv or os.environ.get("SCOREMIX_DEBUG"):
            if processes() == 1:
                raise
            traceback.print_exc()
        status, text = errors.explained(error)
        _complain(text)
        _leave(status)
    if status == 130:  # typer's word for an interrupt
        print(f"{_called()}: stopped; the next run continues from here", file=sys.stderr)
        number = stopping.asked()
        status = 0 if number == signal.SIGALRM else 128 + (number or signal.SIGINT)
    _leave(status)


def _stands_somewhere() -> None:
    """ValueError where the current folder was deleted: PyTorch's libraries end the process without a word of it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the current folder was deleted: change to another one") from None


def _complain(text: str) -> None:
    print(printable(f"{_called()}: {text}"), file=sys.stderr)


class _Plain(io.TextIOWrapper):
    """A terminal that no name in what is printed can steer."""

    def write(self, text: str) -> int:
        return super().write(printable(text))


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
