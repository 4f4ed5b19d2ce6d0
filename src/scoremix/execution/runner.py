"""How the story is told: planned, run, or run up to one step, by one process or by several."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scoremix.config import Changes, Experiment, Recognizer, Runtime, Slice, changed, choice
from scoremix.config.base import undecided
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.schedule import After
from scoremix.execution.store import Call, Step, Store, step_of
from scoremix.execution.work import Work
from scoremix.making import Input
from scoremix.pipeline import story
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.train.generator import train_generator
from scoremix.stages.train.recognizer import fitting, train_recognizer

BRANCHES = ("ingest", "check", "choose")  # stages whose results decide which steps follow, where an arm is chosen
MANY = 10_000  # classes of a head whose number the settings do not say
TOGETHER = (train_recognizer, train_generator, sample_mixtures)  # stages that share their work among processes


@dataclass
class Planner:
    """A stage that runs nothing: it collects every step in order, once under each of its labels."""

    store: Store
    steps: dict[tuple[str, str], Step] = field(default_factory=dict)  # by key and label
    calls: dict[str, Call] = field(default_factory=dict)  # by key

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = "") -> Artifact:
        step = step_of(function, config, inputs, label)
        self.steps.setdefault((step.key, step.label), step)
        self.calls.setdefault(step.key, Call(step, function, config, inputs))
        return self.store.artifact(step)

    @property
    def listed(self) -> list[Step]:
        """Every step in order, under each of its labels."""
        return list(self.steps.values())


@dataclass
class Runner:
    """A stage that makes what is not yet there; `run` makes what its step `until` needs, by default the whole story."""

    store: Store
    runtime: Runtime
    until: str | None = None
    after: After = lambda step, artifact, made: None
    team: engine.Engine | None = None  # several processes that tell the same story together

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = "") -> Artifact:
        return self.made(Call(step_of(function, config, inputs, label), function, config, inputs), self.after)

    def made(self, call: Call, after: After) -> Artifact:
        """The artifact of a call; `after` is told of it, by the first of several processes alone."""
        if self.team and self.team.rank:
            return self._helped(self.team, call)
        made = not self.store.artifact(call.step).done
        artifact = self._made(call)
        after(call.step, artifact, made)
        return artifact

    def _made(self, call: Call) -> Artifact:
        """What is not there is made, in `TOGETHER` with the help of the other processes, who wait otherwise."""
        team = self.team
        if team is None:
            return self.store.run(*call, self.runtime)

        def begin(made: bool) -> int:
            joined = made and call.function in TOGETHER
            team.total(joined)
            return team.ranks if joined else 1

        artifact = self.store.run(*call, self.runtime, begin)
        team.wait()  # the others go on once the artifact is finished
        return artifact

    def _helped(self, team: engine.Engine, call: Call) -> Artifact:
        """The same from another process than the first: it looks at no file before the first one has told it to join."""
        artifact = self.store.artifact(call.step)
        if team.total(0)[0]:
            quiet = self.runtime.model_copy(update={"quiet": True})
            call.function(call.config, *call.inputs, work=Work(artifact.folder, quiet, call.step.label, team.rank))
        team.wait()
        return artifact


def planned(exp: Experiment, source: External, store: Store, classes: Mapping[str, int] | None = None) -> Planner:
    """The whole story as a planner has collected it; ValueError while a precision is "auto".

    `classes`: of every part, where they are known before the images are read.
    """
    planner = Planner(store)
    story(exp, source, planner, classes)
    return planner


def plan_all(exp: Experiment, source: External, store: Store) -> list[Step]:
    """Every step of an experiment in order, without running any; ValueError while a precision is "auto".

    Of a choice that is not made yet: as if every generator were good enough and the costliest candidate chosen.

    A step that stands for two, as the baseline is also `recognizer real/0`, is there under both labels.
    """
    return planned(exp, source, store).listed


def needed(steps: Sequence[Step], *labels: str | None) -> list[Step]:
    """The steps that those of some labels need, and themselves, each once and in order; all of them for None."""
    by_key: dict[str, Step] = {}
    for step in steps:
        by_key.setdefault(step.key, step)
    waiting = [step for step in steps if None in labels or step.label in labels]
    keys: set[str] = set()
    while waiting:
        step = waiting.pop()
        if step.key not in keys:
            keys.add(step.key)
            waiting += [by_key[key] for key in step.inputs.values() if key in by_key]
    return [step for step in by_key.values() if step.key in keys]


def decided(exp: Experiment, device: str) -> Experiment:
    """The experiment with the device's native precision and what its memory holds wherever recognizers and precisions say
    "auto", arms and analysis included.

    So keys, records and stages know only what was used.
    """
    tree = exp.model_dump(mode="json")
    if undecided(tree):
        exp = Experiment.model_validate_json(json.dumps(_replaced(tree, engine.native(device))))
    return _microbatches(exp, device)


def _microbatches(exp: Experiment, device: str) -> Experiment:
    """The experiment with numbers of images wherever a recognizer's microbatch is "auto"."""

    def fits(of: Recognizer) -> int | None:
        channels = 3 if exp.data.channels == "auto" else exp.data.channels
        return _fitting(of.model_copy(update={"seed": 0}), exp.data.size, channels, exp.data.classes or MANY, device)

    def of_changes(changes: Changes) -> Changes:
        of = changed(exp.recognizer, changes)
        return {**changes, "microbatch": fits(of)} if of.microbatch == "auto" and changes else changes

    arms = {
        name: arm.model_copy(update={"recognizer": of_changes(arm.recognizer), "selector": of_changes(arm.selector)})
        for name, arm in exp.arms.items()
    }
    others = {name: of_changes(changes) for name, changes in exp.analysis.recognizers.items()}
    if exp.recognizer.microbatch != "auto" and (arms, others) == (exp.arms, exp.analysis.recognizers):
        return exp
    recognizer = exp.recognizer
    if recognizer.microbatch == "auto":
        recognizer = recognizer.model_copy(update={"microbatch": fits(recognizer)})
    analysis = exp.analysis.model_copy(update={"recognizers": others})
    return exp.model_copy(update={"recognizer": recognizer, "arms": arms, "analysis": analysis})


@functools.cache
def _fitting(config: Recognizer, size: int, channels: int, classes: int, device: str) -> int | None:
    fits = fitting(config, size, channels, classes, engine.start(device).device)
    while fits is not None and config.batch % fits == 1:  # no image is left by itself
        fits += 1
    return None if fits == config.batch else fits


def _replaced(tree: Any, precision: str) -> Any:
    if isinstance(tree, list):
        return [_replaced(value, precision) for value in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name: precision if (name, value) == ("precision", "auto") else _replaced(value, precision)
        for name, value in tree.items()
    }


def open_branch(exp: Experiment, steps: list[Step], store: Store) -> Step | None:
    """The first of some steps that is not done and decides which steps follow: how many classes there are, a gate, or the choice."""
    stages = BRANCHES if exp.choice else ("ingest",)
    return next((step for step in steps if step.stage in stages and not store.artifact(step).done), None)


def in_parts(
    exp: Experiment,
    source: External,
    store: Store,
    labels: Sequence[str | None],
    make: Callable[[Planner, list[Step]], object],
) -> list[Artifact]:
    """The artifacts of some steps (None: of the last), after `make` has made what they need: steps of a plan, which is made
    anew after each result that decides which steps follow.
    """
    while True:
        planner = planned(exp, source, store)
        wanted = needed(planner.listed, *labels)
        if branch := open_branch(exp, wanted, store):
            keys = {step.key for step in needed(planner.listed, branch.label)}
            if exp.choice:  # candidates that need no generator follow whatever the gate says
                generated = [name for name, arm in exp.arms.items() if arm.generated]
                plain = planned(choice.without_generator(exp, generated), source, store)
                keys |= {step.key for step in needed(plain.listed, "choose")}
            wanted = [step for step in wanted if step.key in keys]
        make(planner, wanted)
        if branch is None:
            return [store.artifact(next(s for s in planner.listed if s.label == (of or "report"))) for of in labels]


def run(exp: Experiment, source: External, runner: Runner) -> Artifact:
    """Runs the story (to `runner.until`) and returns the last artifact."""

    def make(planner: Planner, steps: list[Step]) -> None:
        after = labelled(runner.after, planner.listed)
        for step in steps:
            runner.made(planner.calls[step.key], after)

    (last,) = in_parts(decided(exp, runner.runtime.device), source, runner.store, [runner.until], make)
    return last


def labelled(after: After, plans: Sequence[Step]) -> After:
    """`after` for every label of a step: the baseline is also `recognizer real/0`."""
    by_key: dict[str, list[Step]] = {}
    for plan in plans:
        by_key.setdefault(plan.key, []).append(plan)

    def of_each(step: Step, artifact: Artifact, made: bool) -> None:
        for plan in by_key[step.key]:
            after(plan, artifact, made and plan.label == step.label)

    return of_each
