"""A run that fits a given time: what is left out of it, from the dearest to the last that anyone wants to lose."""

import re
from collections.abc import Iterator

from pydantic import ValidationError

from scoremix.config import ConfigError, Experiment, Runtime
from scoremix.config.choice import narrowed, needs_generator, without_generator
from scoremix.execution import processes, runner, schedule, workers
from scoremix.execution.artifacts import External
from scoremix.execution.records import recorded, source_of
from scoremix.execution.store import Store
from scoremix.execution.timing import estimate
from scoremix.execution.torchrun import say
from scoremix.making import of_length
from scoremix.outputs.images import ImagesSummary
from scoremix.pipeline import folds_of
from scoremix.report.numbers import duration

RESERVE = 0.8  # of the time is planned with: estimates are from a few seconds of measuring
UNITS = {"s": 1, "m": 60, "h": 3600}
FEWEST = 20_000  # images that a shortened generator sees: after 10,000 one knew not even 24 classes


def seconds_of(text: str) -> float:
    """The seconds of `90s`, `30m` or `1.5h`; ConfigError for anything else."""
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())) or float(match[1]) == 0:
        raise ConfigError(f"--time {text!r}: give a number with s, m or h, such as 30m")
    return float(match[1]) * UNITS[match[2]]


def ladder(exp: Experiment, folds: bool = False) -> Iterator[tuple[str, Experiment]]:
    """The experiment with more and more left out: (in words what this step leaves out, what is then left).

    `folds`: whether it makes its choice on folds.
    """
    yield "", exp
    if len(exp.seeds) > 2:
        exp = exp.model_copy(update={"seeds": exp.seeds[:2]})
        yield "all recognizer seeds but two", exp
    if any(arm.generated for arm in exp.arms.values()) and exp.generator.diffusers is None:
        if halved := _half_as_long(exp):
            yield "half the generator's training", (exp := halved)
        if exp.choice is not None and {"scoremix", "coherent_75"} <= set(exp.arms):
            exp = narrowed(exp, [name for name in exp.arms if name != "scoremix"])
            yield "the candidate scoremix", exp
        narrow = exp.generator.model_copy(update={"model_channels": max(8, exp.generator.model_channels // 2)})
        exp = exp.model_copy(update={"generator": narrow})
        yield "half the generator's width", exp
        if halved := _half_as_long(exp):
            yield "half of its training again", (exp := halved)
    if exp.recognizer.network == "small" and exp.data.size >= 32 and (smaller := _half_the_side(exp)):
        yield f"image size: {smaller.data.size} px", (exp := smaller)
    if exp.choice is not None and (generated := [name for name, arm in exp.arms.items() if arm.generated]):
        exp = without_generator(exp, generated)
        yield "the candidates of the generator" if needs_generator(exp) else "the generator and its candidates", exp
    if exp.choice is not None and folds:
        exp = exp.model_copy(update={"choice": exp.choice.model_copy(update={"folds": 1})})
        yield "the folds: the few validation classes choose alone", exp
    if len(exp.seeds) > 1:
        exp = exp.model_copy(update={"seeds": exp.seeds[:1]})
        yield "all recognizer seeds but one", exp


def _half_as_long(exp: Experiment) -> Experiment | None:
    """With half the generator's training; None where so little teaches no generator its classes."""
    if (half := exp.generator.length // 2) < FEWEST:
        return None
    return exp.model_copy(update={"generator": exp.generator.model_copy(update={"images_seen": half})})


def _half_the_side(exp: Experiment) -> Experiment | None:
    """On images of half the side; None where a network takes those of this side alone, or cannot halve that one."""
    recognizers = [of.recognizer for of in (exp, *map(exp.changed_by, exp.arms.values()))]
    if exp.generator.diffusers is not None or any(of.start is not None for of in recognizers):
        return None
    smaller = exp.data.model_copy(update={"size": exp.data.size // 2})
    try:
        return Experiment.model_validate(exp.model_copy(update={"data": smaller}).model_dump())
    except ValidationError:
        return None


def fitted(
    exp: Experiment, runtime: Runtime, store: Store, text: str, rates: dict[str, dict[str, float]] | None = None
) -> Experiment:
    """The experiment with as little left out as the time `text` asks for; says what.

    A run of that name that was planned so before goes on as it was planned. ConfigError where the least takes longer.
    `rates` is given what was measured, by the key of the images: who says later how long the run takes says the same.
    """
    wanted, source, first = seconds_of(text), source_of(exp), runner.Runner(store, runtime, "ingest")
    real = runner.run(exp, source, first)
    exp = exp.model_copy(update={"generator": of_length(exp.generator, real)})
    rungs = list(ladder(exp, folds_of(exp, ImagesSummary.load(real).classes) > 1))
    if (runtime.out / "runs" / f"{exp.name}.json").exists():
        before = recorded(runtime.out, exp.name)
        for _, left in rungs:
            if runner.decided(left, runtime.device) == before:
                return before
    rates = {} if rates is None else rates
    seconds, left_out = 0.0, list[str]()
    for words, left in rungs:
        left_out += [words] if words else []
        seconds = expected(runner.decided(left, runtime.device), source, runtime, store, rates)
        if seconds <= RESERVE * wanted:
            said = (
                f"left out, for the rest to fit: {'; '.join(left_out)}"
                if left_out
                else "all of it fits, nothing is left out"
            )
            say(f"--time {text}: {said}")
            return left
    raise ConfigError(
        f"--time {text}: the least takes about {duration(seconds)} here; give more time, or fewer images, such as "
        f"--set data.classes=100 --set data.images_per_class=20"
    )


def expected(
    exp: Experiment, source: External, runtime: Runtime, store: Store, rates: dict[str, dict[str, float]]
) -> float:
    """Seconds until a run ends; reads its images. `rates`: what was measured before, by the key of the images."""
    real = runner.run(exp, source, runner.Runner(store, runtime, "ingest"))
    planner = runner.planned(exp, source, store)
    todo = [step for step in runner.needed(planner.listed, None) if not store.artifact(step).done]
    crew = workers.crew(runtime, todo)
    processes.use_threads(crew.threads)
    seconds = estimate(real, planner.listed, todo, runtime, rates=rates.setdefault(real.key, {}))
    return schedule.makespan([planner.calls[step.key] for step in todo], seconds, crew.size)
