"""`scoremix benchmark`: a recognizer, or every arm of a run, on public face benchmarks and lists of one's own."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Colour, ExperimentOptions, LongRunOptions, app


@app.command(without=("preset", "class_level", "image_column", "label_column", "scheduler", "max_hours"))
def benchmark(
    name: Annotated[
        str | None, typer.Argument(metavar="[PRESET|CHECKPOINT]", help="a preset, or a recognizer's file, or RUN/ARM")
    ] = None,
    *,
    asked: ExperimentOptions,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets", help="public sets: lfw,cfp_fp,cplfw,calfw,agedb_30,ijbb,ijbc,tinyface, or paths; repeatable"
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="folder that holds the named sets")] = Path(),
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="arcface_torch, adaface, cvlface, or one with ,switch=value; default all three"
        ),
    ] = None,
    colour: Colour = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="images per forward")] = 64,
    running: LongRunOptions,
) -> None:
    """A recognizer, or the arms of a run, on public face benchmarks: LFW ... IJB-C, TinyFace, lists of pairs.

    Of a preset the arms are trained first. A checkpoint (ours, arcface_torch's, AdaFace's or CVLFace's) is only
    evaluated: scoremix benchmark FILE --sets lfw,ijbc --root FACES.
    """
    from scoremix.config import ConfigError
    from scoremix.config.arms import named
    from scoremix.config.presets import CHECKPOINTS, PRESETS
    from scoremix.execution.records import checkpoint_of
    from scoremix.execution.store import Store
    from scoremix.execution.torchrun import process

    path = Path(str(name))
    is_file = name is not None and name not in PRESETS and (path.exists() or "/" in name or path.suffix in CHECKPOINTS)
    refuse_unfit(name or "benchmark", is_file, colour, bool(sets), asked.changes)
    exp = None if is_file else dataclasses.replace(asked, preset=name).experiment(judged=False)
    of_run = is_file and path.suffix not in CHECKPOINTS
    file = checkpoint_of(running.out, str(name), "--out") if of_run else path
    if is_file and not file.exists():
        raise ConfigError(f"{file}: no such checkpoint")
    runtime, store = running.runtime, Store(running.out / "store")

    from scoremix.data.faces import open_set
    from scoremix.evaluation import templates
    from scoremix.execution.benchmarks import BenchmarkSetup, keep, measured, recognizers_of

    faces = [open_set(one.strip(), root) for item in sets or () for one in item.split(",") if one.strip()]
    for one in faces:
        one.images.check()
    protocols = [templates.protocol(text) for text in protocol or ()] or list(templates.PROTOCOLS.values())
    if exp is None:
        checkpoints = [(path.name if path.suffix else str(name), file)]
        called = checkpoints[0][0].removesuffix(".safetensors").replace("/", "-")
    else:  # the verdict's arms are not trained here: sets have no verdict
        wanted = list(named(asked.arms.split(","), exp.arms)) if asked.arms else list(exp.arms)
        checkpoints = recognizers_of(exp, wanted, runtime)
        called = exp.name if set(wanted) == set(exp.arms) else f"{exp.name}-{'-'.join(wanted)}"
        if process():
            return  # of several processes the first evaluates
    on = BenchmarkSetup(faces, protocols, batch, store, runtime)
    results = [measured(name, file, colour, on) for name, file in checkpoints]
    keep(results, exp, runtime.out / "benchmarks" / called)


def refuse_unfit(name: str, is_file: bool, colour: str | None, has_sets: bool, of_a_run: bool) -> None:
    """ConfigError where a checkpoint is given what only a run takes, or the other way round, or there is no set."""
    from scoremix.config import ConfigError
    from scoremix.execution.torchrun import processes

    if not is_file and colour is not None:
        raise ConfigError(
            f"--colour {colour}: only for a published checkpoint; images of a run are read as RGB or grey"
        )
    if not has_sets:
        raise ConfigError(f"{name}: what shall it be evaluated on? give --sets, such as lfw or a list of pairs")
    if is_file and processes() > 1:
        raise ConfigError(f"{name}: a checkpoint is evaluated by one process, not with torchrun")
    if is_file and of_a_run:
        raise ConfigError(f"{name}: a checkpoint takes no --config, --data, --arms or --set (where sets are: --root)")
