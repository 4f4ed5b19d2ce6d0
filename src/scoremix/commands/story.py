"""`scoremix run`, a verb per stage, and what is done with runs: report, show, analyze, study, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import (
    Arms,
    Colour,
    ConfigFile,
    DataPath,
    Debug,
    Device,
    Out,
    Preset,
    Quiet,
    Settings,
    SkipBad,
    app,
    colour_of,
    device_of,
    experiment_of,
    recorded,
    reported,
    run_until,
    store_of,
    with_flags,
)
from scoremix.execution.torchrun import processes

VERBS = {  # name: (the step to stop after, help)
    "run": (None, "From a folder of classes to a report that says whether mixing helped."),
    "ingest": ("ingest", "Read the images, split the classes, pack them."),
    "recognizer": ("baseline", "Train the baseline recognizer."),
    "generator": ("generator", "Train the class-conditional diffusion generator."),
    "select": ("describe", "Choose the classes to mix."),
    "sample": ("sample", "Sample the mixed images."),
    "combine": ("combine", "Put real and mixed images into one training set."),
}
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".onnx")


def _verb(name: str, until: str | None, text: str) -> None:
    def verb(
        preset: Preset = None,
        config: ConfigFile = None,
        data: DataPath = None,
        arms: Arms = None,
        settings: Settings = None,
        skip_bad: SkipBad = False,
        out: Out = Path("scoremix_runs"),
        device: Device = "auto",
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        run_until(until, preset, config, data, arms, with_flags(settings, skip_bad), out, device, quiet)

    verb.__doc__ = text if until is None else text + " Runs what it needs and stops there."
    app.command(name)(verb)


for _name, (_until, _text) in VERBS.items():
    _verb(_name, _until, _text)


@app.command()
def evaluate(
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET|CHECKPOINT]", help="a preset, or a recognizer's file, or RUN/ARM")
    ] = None,
    config: ConfigFile = None,
    data: DataPath = None,
    arms: Arms = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets", help="public sets: lfw,cfp_fp,cplfw,calfw,agedb_30,ijbb,ijbc,tinyface, or paths; repeatable"
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="folder that holds the named sets; by default this one")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="arcface_torch, adaface, cvlface, or one with ,switch=value; default all three"
        ),
    ] = None,
    colour: Colour = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="images per forward on the public sets; default 64")
    ] = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train every arm and compare them on unseen classes; with --sets, also on public face benchmarks.

    A checkpoint (ours, arcface_torch's, AdaFace's or CVLFace's) is only evaluated: scoremix evaluate FILE --sets lfw,ijbc
    --root FACES.
    """
    settings = with_flags(settings, skip_bad)
    from scoremix.config import ConfigError
    from scoremix.config.presets import PRESETS

    known = preset is None or preset in PRESETS
    is_file = not known and (
        Path(str(preset)).exists() or "/" in str(preset) or Path(str(preset)).suffix in CHECKPOINTS
    )
    if not is_file and colour is not None:
        raise ConfigError(
            f"--colour {colour}: only for a published checkpoint; images of a run are read as RGB or grey"
        )
    if not sets and not is_file:
        given = {"--root": root, "--protocol": " ".join(protocol or ()) or None, "--batch": batch}
        if idle := [f"{name} {value}" for name, value in given.items() if value is not None]:
            raise ConfigError(f"{idle[0]}: only with --sets; unseen classes of the run's own data need none")
        run_until("compare", preset, config, data, arms, settings, out, device, quiet)
        return
    from scoremix.commands import facesets
    from scoremix.config import Embedding, Runtime
    from scoremix.config.arms import named as arms_named
    from scoremix.execution import records
    from scoremix.execution.artifacts import Store

    if not sets:
        raise ConfigError(f"{preset}: what shall it be evaluated on? give --sets, such as lfw or a list of pairs")
    if is_file and processes() > 1:
        raise ConfigError(f"{preset}: a checkpoint is evaluated by one process, not with torchrun")
    if is_file and (config or data or arms or settings):
        raise ConfigError(f"{preset}: a checkpoint takes no --config, --data, --arms or --set (where sets are: --root)")
    exp = None if is_file else experiment_of(preset, config, data, arms, settings, judged=False)
    runtime = Runtime(out=out, device=device_of(device), quiet=quiet)
    faces = facesets.opened(sets, root or Path())
    chosen = [facesets.protocol(text) for text in protocol or ()]
    settled = Embedding() if batch is None else Embedding(batch=batch)
    store = Store(out / "store")
    if exp is not None:
        # the verdict's arms are not trained here: sets have no verdict
        wanted = list(arms_named(arms.split(","), exp.arms)) if arms else list(exp.arms)
        folder = facesets.evaluate_run(exp, wanted, faces, chosen, runtime, store, settled)
    else:
        path = Path(str(preset))
        file = path if path.suffix in CHECKPOINTS else records.checkpoint_of(out, str(preset), "--out")
        named = [(path.name if path.suffix else str(preset), file)]
        called = named[0][0].removesuffix(".safetensors").replace("/", "-")
        folder = facesets.evaluate(
            named, faces, chosen, runtime, store, settled, called=called, colour=colour_of(colour)
        )
    if folder is not None:
        print(f"\nall numbers and thresholds: {folder / 'measures.csv'}")


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file: data sets, arms, seeds, budget; see docs/study.md")],
    part: Annotated[
        str, typer.Option("--part", help="K/N: this process takes every N-th arm, from K = 0; one device each")
    ] = "0/1",
    only_tables: Annotated[
        bool, typer.Option("--tables", help="run nothing, write the tables of what is done")
    ] = False,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Arms x data sets x seeds on shared artifacts, and their tables."""
    import re

    from scoremix import study as studies
    from scoremix.config import ConfigError, Runtime
    from scoremix.execution.artifacts import Store

    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or int(found[1]) >= int(found[2]):
        raise ConfigError(f"--part {part!r}: expected K/N with K from 0 to N - 1")
    config = studies.read(file)
    runtime, store = Runtime(out=out, device=device_of(device), quiet=quiet), Store(out / "store")
    if only_tables:
        studies.tables(config, runtime, store)
    else:
        studies.execute(config, runtime, store, (int(found[1]), int(found[2])))


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest with a report")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """Write the report of a run that is done, and print where it is."""
    from scoremix.config import Runtime
    from scoremix.execution import progress

    exp, store = reported(name, out)
    progress.execute(exp, Runtime(out=out), store, only_report=True)


@app.command()
def analyze(
    name: Annotated[str | None, typer.Argument(help="name of a finished run; by default the latest one")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="another finished run, its generator followed as well; repeatable"),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The geometry of a finished run: conditions against embeddings, as a page, CSV and JSON."""
    from scoremix.commands import analyze
    from scoremix.config import Runtime, load

    store = store_of(out)
    runtime = Runtime(out=out, device=device_of(device), quiet=quiet)
    analyze.analyze(name, runtime, store, lambda exp: load(exp, config or (), settings or ()), against or ())


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """The chain of a run: done, missing or stale, and why, with the cost of each stage."""
    from scoremix.commands import show

    exp, store = recorded(name, out)
    print(show.chain_table(store, exp))


@app.command()
def plan(
    preset: Preset = None,
    config: ConfigFile = None,
    data: DataPath = None,
    settings: Settings = None,
    measure: Annotated[bool, typer.Option("--measure", help="compare images of the run's trained generator")] = False,
    images: Annotated[int | None, typer.Option("--images", min=1, help="images timed; by default a chunk")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="how often each plan is timed")] = 3,
    to: Annotated[Path | None, typer.Option("--json", help="also write the table to this file")] = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What ways of sampling cost here: evaluations, seconds per image, hours; by default of the latest run."""
    from scoremix.commands import planning
    from scoremix.config import Runtime, load
    from scoremix.execution.artifacts import Store

    if preset or config or data:
        exp, store = experiment_of(preset, config, data, None, settings), Store(out / "store")
    else:
        exp, store = recorded(None, out)
        exp = load(exp, (), settings or ())
    runtime = Runtime(out=out, device=device_of(device), quiet=quiet)
    planning.show_plans(exp, runtime, store, measure, images, rounds, to)
