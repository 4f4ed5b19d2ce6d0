"""`scoremix sample`: the mixes of a run; one image of a finished set again; images of classes that one names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import ExperimentOptions, LongRunOptions, app
from scoremix.commands.story import STEPS, execute


@app.command()
def sample(
    asked: ExperimentOptions,
    of_run: Annotated[
        str | None, typer.Option("--from", help="a finished run's generator or set, by default the latest run's")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="classes to mix now, by name: A,B; a name with a comma in quotes")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="one for each: .3,.7; by default alike")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="images of --classes, by default 8")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the noise of --classes, by default 0")] = None,
    replay: Annotated[
        int | None, typer.Option("--replay", min=0, help="make this image of a finished set again")
    ] = None,
    of_set: Annotated[
        str | None, typer.Option("--set-of", help="the set of --replay, by the name of its step, by default sample")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="folder for the pictures of --classes and --replay, by default samples")
    ] = None,
    *,
    running: LongRunOptions,
) -> None:
    """Sample the mixed images. Runs what it needs and stops there.

    With --classes: images of a finished run's generator. With --replay: one image of a finished set, byte for byte.
    """
    from scoremix.config import ConfigError

    if classes is not None and replay is not None:
        raise ConfigError("--classes and --replay: give one of them")
    if classes is None:
        refuse_alone({"--weights": weights, "--count": count, "--seed": seed}, "--classes")
    if replay is None:
        refuse_alone({"--set-of": of_set}, "--replay")
    if classes is None and replay is None:
        refuse_alone({"--from": of_run, "--to": to}, "--classes or --replay")
        execute(asked.experiment(), running, STEPS["sample"][0])
        return
    if asked.preset or asked.changes:
        raise ConfigError("--classes and --replay take a finished run (--from RUN), no preset and no settings")
    from scoremix.data.csv_text import names_of, numbers_of
    from scoremix.data.decode import png
    from scoremix.data.files import write_file

    out, where, to = running.out, running.runtime.device, to or Path("samples")
    if replay is not None:
        from scoremix.execution.trained import replayed

        of_set = of_set or "sample"
        image, same = replayed(of_run, of_set, replay, out=out, device=where)
        to.mkdir(parents=True, exist_ok=True)
        print(write_file(to / f"{of_set.replace(' ', '-').replace('/', '-')}-{replay:07d}.png", png(image)))
        print("the bytes of the set" if same else "not the bytes of the set: another device, version or code made it")
        raise typer.Exit(0 if same else 1)
    from scoremix.execution.records import recorded
    from scoremix.execution.trained import load_generator

    named = names_of(str(classes))
    if twice := [name for name in named if named.count(name) > 1]:
        raise ConfigError(f"--classes {classes}: names {twice[0]!r} twice, the classes of a mix differ")
    generator = load_generator(of_run or recorded(out, None).name, out=out, device=where)
    seed = seed or 0
    images = generator.sample(named, None if weights is None else numbers_of(weights, "--weights"), count or 8, seed)
    to.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        print(write_file(to / f"{'+'.join(named).replace('/', '-')}-seed{seed}-{i:03d}.png", png(image)))


def refuse_alone(options: Mapping[str, object], other: str) -> None:
    """ConfigError for an option that was given without the other one, with which it goes."""
    from scoremix.config import ConfigError

    for option, given in options.items():
        if given is not None:
            raise ConfigError(f"{option} {given}: goes with {other}")
