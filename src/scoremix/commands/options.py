"""The options that commands share, and what they mean."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_type_hints

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from scoremix.config import Experiment, Runtime
    from scoremix.data.source import SourceHints

F = TypeVar("F", bound=Callable[..., Any])


class OnceEach(TyperCommand):
    """A command that refuses a second value of an option for one, and whose summary is shown whole."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        for parameter, times in Counter(given).items():
            single = parameter.param_type_name == "option" and not (parameter.multiple or parameter.is_flag)
            if single and times > 1:
                raise typer.BadParameter(f"given {times} times, allowed is once", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)

    def get_short_help_str(self, limit: int = 45) -> str:
        return " ".join((self.help or "").partition("\n\n")[0].split())


class Commands(typer.Typer):
    """An application all of whose commands are `OnceEach`, and whose options may be grouped.

    A parameter whose type is a dataclass stands for an option per field, but for those named in `without`.
    """

    def command(self, name: str | None = None, without: Sequence[str] = (), **options: Any) -> Callable[[F], F]:
        add = super().command(name, cls=OnceEach, **options)

        def added(function: F) -> F:
            add(_spread(function, without))
            return function

        return added


def _spread(function: Callable[..., None], without: Sequence[str]) -> Callable[..., None]:
    """The same function of single options in place of groups."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    single = [one for parameter in parameters for one in _options_of(parameter, without)]

    @functools.wraps(function)
    def called(**given: Any) -> None:
        function(**{p.name: _built(p.name, p.annotation, given) for p in parameters})

    called.__signature__ = inspect.Signature(single)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in single}
    return called


def _options_of(parameter: inspect.Parameter, without: Sequence[str]) -> Iterator[inspect.Parameter]:
    """The parameter itself, or one for every field of a group and of the groups in it."""
    if not is_dataclass(group := parameter.annotation):
        yield parameter.replace(kind=parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        if field.name not in without:
            one = inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default)
            yield from _options_of(one.replace(annotation=hints[field.name]), without)


def _built(name: str, kind: Any, given: dict[str, Any]) -> Any:
    """An option as it was given, or a group of options."""
    if not is_dataclass(kind):
        return given[name]
    hints = get_type_hints(kind).items()
    return cast("Any", kind)(**{n: _built(n, of, given) for n, of in hints if n in given or is_dataclass(of)})


app = Commands(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make a recognizer better with nothing but its own labelled images, and learn whether it did.",
)


def _some_arms(given: str | None) -> str | None:
    if given is not None and not all(name.strip() for name in given.split(",")):
        raise typer.BadParameter(f"{given!r} leaves a name empty; give arms and groups, such as table2,controls")
    return given


PRESET_NAMES = (  # of config.presets, which --help does not load
    *("folder", "3-plet-sum-max", "3-plet-sum-min", "repro-aligned", "demo", "omniglot"),
    *("edm2-xxs", "edm2-xs", "edm2-s", "edm2-m", "edm2-l", "edm2-xl", "edm2-xxl"),
    *("adaface-ir50", "adaface-ir101", "arcface-r50", "arcface-r100", "cosface-r50"),
    *("webface160k", "webface160k-ir101"),
)
ConfigFile = Annotated[
    list[Path] | None, typer.Option("--config", "-c", help="YAML, TOML or JSON file of settings; repeatable")
]
Settings = Annotated[list[str] | None, typer.Option("--set", "-s", help="one setting, a.b=c; repeatable")]
ClassLevel = Annotated[
    int | None,
    typer.Option("--class-level", min=1, help="folders so many steps down are classes; by default found"),
]
Reported = Annotated[str | None, typer.Argument(help="name of a run; by default the latest with a report")]
Out = Annotated[Path, typer.Option("--out", help="folder of everything scoremix makes")]
RUNS = Path("scoremix_runs")
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Checkpoint = Annotated[
    str,
    typer.Argument(
        help="a recognizer: checkpoint file, or RUN (the arm its verdict speaks for), RUN/ARM or RUN/ARM/SEED"
    ),
]
Delivered = Annotated[str, typer.Argument(help="a folder of `fit`, its .onnx file, or a run in ./scoremix_runs")]
Far = Annotated[
    float | None, typer.Option("--far", help="false accept rate of the threshold; by default what suits the question")
]
Colour = Annotated[
    Literal["rgb", "bgr"] | None, typer.Option("--colour", help="where a published checkpoint does not say")
]


def _some_device(given: str) -> str:
    if given == "mps":
        raise typer.BadParameter("mps: without float64, in which images are weighed; take cpu")
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", given):
        raise typer.BadParameter(f"{given!r} is not one of auto, cpu, cuda, cuda:0, cuda:1 ...")
    return given


Device = Annotated[
    str, typer.Option("--device", callback=_some_device, help="where networks compute: auto, cpu, cuda or cuda:N")
]


@dataclass(frozen=True)
class ReadingOptions:
    """How a set of images is read."""

    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave unreadable files out (and count them) instead of stopping")
    ] = False
    class_level: ClassLevel = None
    image_column: Annotated[
        str | None, typer.Option("--image-column", help="column of a table with images or their paths")
    ] = None
    label_column: Annotated[str | None, typer.Option("--label-column", help="column of a table with the classes")] = (
        None
    )

    @property
    def hints(self) -> SourceHints:
        from scoremix.data.source import SourceHints

        return SourceHints(self.class_level, self.image_column, self.label_column)


@dataclass(frozen=True)
class ExperimentOptions:
    """Which experiment is meant."""

    preset: Annotated[
        str | None,
        typer.Argument(help=f"one of {', '.join(PRESET_NAMES)}; by default folder, which needs --data"),
    ] = None
    config: ConfigFile = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="folder or archive of class folders, RecordIO, shards, parquet, packed set, fonts, .npz, or 'glyphs'",
        ),
    ] = None
    arms: Annotated[
        str | None,
        typer.Option(
            "--arms", callback=_some_arms, help="arms and groups by name, such as table2,controls; see docs/arms.md"
        ),
    ] = None
    settings: Settings = None
    layout: ReadingOptions = ReadingOptions()

    @property
    def changes(self) -> bool:
        """Whether anything but the preset was given."""
        return bool(self.config or self.data or self.arms or self.settings or self.layout != ReadingOptions())

    def experiment(self, judged: bool = True, quick: bool = False, time: str | None = None) -> Experiment:
        """The preset, changed by files and settings; ConfigError also where it has no images and none are given.

        Arms that the verdict needs and nobody named are added, and said where there is a verdict (`judged`). `quick` makes
        it a first look, and a run that nobody named is called after that, or after its `time`.
        """
        from scoremix.config import presets, read_settings
        from scoremix.execution.torchrun import say

        files = [read_settings(file) for file in self.config or ()]
        reading = {name: value for name, value in vars(self.layout).items() if value not in (None, False)}
        changes = [*(self.settings or ()), *(f"data.{name}={json.dumps(value)}" for name, value in reading.items())]
        kind = "-".join(["quick"] * quick + ([re.sub(r"[^0-9A-Za-z.]", "", time)] if time else []))
        say_added = say if judged else None
        return presets.experiment(self.preset, files, self.data, self.arms, changes, say_added, quick, kind)


@dataclass(frozen=True)
class RuntimeOptions:
    """Where runs lie, and what computes."""

    out: Out = RUNS
    device: Device = "auto"
    quiet: Quiet = False
    debug: Debug = False

    @property
    def runtime(self) -> Runtime:
        """How this process computes; ValueError before anything is made where the device is not there."""
        from scoremix.config import Runtime

        device = self.device
        if device.startswith("cuda"):
            from scoremix.execution import processes as engine

            engine.check(device := engine.only(device))
        return Runtime(out=self.out, device=cast("Any", device), quiet=self.quiet)


@dataclass(frozen=True)
class LongRunOptions(RuntimeOptions):
    """The same of what runs for long: side by side, for some time."""

    workers: Annotated[
        str, typer.Option("--workers", help="steps that run side by side: a number, or auto: one per core or GPU")
    ] = "auto"
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="threads of each worker; bytes depend on it")
    ] = None
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="a Dask cluster on a shared folder: address or scheduler file")
    ] = None
    compile: Annotated[bool, typer.Option("--compile", help="train the generator through torch.compile")] = False
    max_hours: Annotated[
        float | None, typer.Option("--max-hours", min=0, help="stop with a checkpoint after that time; a run continues")
    ] = None

    @property
    def runtime(self) -> Runtime:
        from scoremix.config import ConfigError

        if self.workers != "auto" and (not self.workers.isdecimal() or int(self.workers) < 1):
            raise ConfigError(f"--workers {self.workers!r}: allowed are auto and whole numbers from 1")
        workers = "auto" if self.workers == "auto" else int(self.workers)
        more = {"workers": workers, "threads": self.threads, "compile": self.compile}
        return super().runtime.model_copy(update=more)


def stop_after(hours: float | None) -> None:
    """Ctrl-C, a signal to end and the end of the time given all stop with a checkpoint."""
    import signal

    from scoremix.execution import stopping

    stopping.listen(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if hours is not None:
        stopping.after(3600 * hours)


def last_reported(name: str | None, out: Path) -> Experiment:
    """The experiment of a run, by default the latest with a report, else the one last started."""
    from scoremix.execution.records import latest_reported, recorded

    return recorded(out, name or latest_reported(out))
