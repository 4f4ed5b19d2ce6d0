"""`scoremix analyze`: the geometry of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import ConfigFile, RuntimeOptions, Settings, app

if TYPE_CHECKING:
    from scoremix.config import Runtime


@app.command()
def analyze(
    name: Annotated[str | None, typer.Argument(help="name of a finished run; by default the latest one")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="another finished run, its generator followed as well; repeatable"),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    *,
    here: RuntimeOptions,
) -> None:
    """The geometry of a finished run: conditions against embeddings, as a page, CSV and JSON."""
    analyzed(name, here.runtime, config or (), settings or (), against or ())


def analyzed(
    name: str | None,
    runtime: Runtime,
    files: Sequence[Path] = (),
    settings: Sequence[str] = (),
    against: Sequence[str] = (),
) -> Path:
    """The geometry of a finished run with changed settings of the analysis; returns the folder of its page.

    `against`: other finished runs, whose generators are followed beside this one's.
    """
    from scoremix import pipeline
    from scoremix.config import ConfigError
    from scoremix.config.loading import load_below
    from scoremix.execution import progress, records, runner
    from scoremix.execution.refusals import refuse_unanalyzable
    from scoremix.execution.runner import decided
    from scoremix.execution.store import Store

    exp, chain, recognizers, *_ = records.finished(runtime.out, name)
    wanted = decided(load_below("analysis", exp, files, settings), runtime.device)
    if exp.name in against:
        raise ConfigError(f"--against {exp.name!r}: that is the run itself")
    if wanted.analysis.paths.map == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "analysis.paths.map 'umap': needs umap-learn, pip install 'scoremix[umap]' (allowed without it: pca)"
        )
    if "mplets" not in chain:
        raise ConfigError(f"analyze: run {exp.name!r} mixed nothing with a generator; its report says why")
    if exp.generator.diffusers is not None:
        raise ConfigError(
            f"analyze: the generator of run {exp.name!r} is a model of diffusers, its conditions are inside it"
        )
    refuse_unanalyzable(wanted.analysis, chain["real"], chain["mplets"])
    others = {other: records.finished(runtime.out, other).chain for other in against}
    stage = runner.Runner(Store(runtime.out / "store"), runtime, after=progress.noting())
    last = pipeline.geometry(wanted, chain, recognizers, others, stage)
    shown = progress.show_files(last, runtime.out / exp.name)
    print((last / "summary.txt").read_text())
    print(f"page: {shown / 'analysis.html'}")
    return shown
