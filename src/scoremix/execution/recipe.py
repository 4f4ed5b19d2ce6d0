"""Which recipe a finished run has shown to be the best for its images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scoremix.config import ConfigError
from scoremix.evaluation.metric_table import metric_of
from scoremix.execution.records import FinishedRun, finished
from scoremix.outputs.choice import Choosing
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.networks import CHECKPOINT
from scoremix.report import words
from scoremix.report.numbers import direction


class ChosenRecipe(NamedTuple):
    """An arm of the run, and a sentence on why this one."""

    arm: str
    why: str


def chosen_recipe(run: FinishedRun) -> ChosenRecipe:
    """The arm that was chosen on validation classes, unless it does worse on the classes kept back. Of a run without a
    choice the judged arm where it helps, else real images, trained for as long as did better on the classes kept back.

    ConfigError for a run without an arm of real images alone.
    """
    results = Comparison.load(run.chain["results"])
    verdict, metric = results.verdict, metric_of(results.headline)
    if "choice" in run.chain:
        choosing = Choosing.load(run.chain["choice"])
        judged = (d for d in results.differences if (d.arm, d.metric) == (choosing.choice.chosen, metric.key))
        worse = [d.control for d in judged if direction(d.estimate, metric) == "worse"]
        if not worse:
            return ChosenRecipe(choosing.choice.chosen, words.chosen(choosing))
        return ChosenRecipe(
            worse[0], f"the chosen `{choosing.choice.chosen}` does worse than it on the classes kept back."
        )
    if verdict.kind == "helps":
        return ChosenRecipe(
            verdict.arm, f"the run's verdict on it is: helps (better than {' and '.join(verdict.controls)})."
        )
    plain = (n for n, arm in run.exp.arms.items() if arm.images == "real" and not arm.recognizer)
    real = {name: results.arms[name][metric.key].value for name in plain}
    if not real:
        raise ConfigError(f"run {run.exp.name!r}: {verdict.kind}, and no arm of real images alone; name one with --arm")
    best = max(real, key=lambda name: real[name])
    longer = f", of the lengths tried ({', '.join(real)}) the better one" if len(real) > 1 else ""
    return ChosenRecipe(best, f"the run's verdict on `{verdict.arm}` is: {verdict.kind}; so real images alone{longer}.")


def with_arm(out: Path, name: str) -> str:
    """The name RUN of a finished run in `out` as RUN/ARM, with the arm of its recipe; any other name as it is."""
    place = Path(name)
    if place.is_file() or (place / CHECKPOINT).exists() or not (out / "runs" / f"{name}.json").is_file():
        return name
    return f"{name}/{chosen_recipe(finished(out, name)).arm}"
