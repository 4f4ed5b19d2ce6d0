"""`scoremix analyze`: the geometry of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from scoremix import pipeline
from scoremix.config import ConfigError, Experiment, Runtime
from scoremix.execution import runner
from scoremix.execution.artifacts import Store
from scoremix.execution.progress import noting, show_files
from scoremix.execution.records import finished
from scoremix.execution.runner import decided


def analyze(
    name: str | None,
    runtime: Runtime,
    store: Store,
    change: Callable[[Experiment], Experiment],
    against: Sequence[str] = (),
) -> Path:
    """The geometry of a finished run with changed settings of the analysis; returns the folder of its page.

    `against`: other finished runs, whose generators are followed beside this one's.
    """
    exp, chain, recognizers, _ = finished(runtime.out, store, name)
    wanted = decided(change(exp), runtime.device)
    if wanted.model_copy(update={"analysis": exp.analysis}) != exp:
        raise ConfigError("analyze: only settings below `analysis` can change here; others need another run")
    if exp.name in against:
        raise ConfigError(f"--against {exp.name!r}: that is the run itself")
    if wanted.analysis.paths.map == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "analysis.paths.map 'umap': needs umap-learn, pip install 'scoremix[umap]' (allowed without it: pca)"
        )
    others = {other: finished(runtime.out, store, other).chain for other in against}

    last = pipeline.geometry(wanted, chain, recognizers, others, runner.Runner(store, runtime, after=noting()))
    shown = show_files(last, runtime.out / exp.name)
    print((last / "summary.txt").read_text())
    print(f"page: {shown / 'analysis.html'}")
    return shown
