"""How the story is told: planned, run, or run up to one step, by one process or by several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scoremix.config import Experiment, Runtime, Slice
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact, Plan, Source, Store, Work, plan_of
from scoremix.execution.precision import decided
from scoremix.pipeline import Input, scoremix
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.train.generator import train_generator
from scoremix.stages.train.recognizer import train_recognizer

TOGETHER = (train_recognizer, train_generator, sample_mixtures)  # stages that share their work among processes


@dataclass
class Planner:
    """A stage that runs nothing: it collects the plan of every step in order, once under each of its labels."""

    store: Store
    plans: dict[tuple[str, str], Plan] = field(default_factory=dict)  # by key and label

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = "") -> Artifact:
        plan = plan_of(function, config, inputs, label)
        self.plans.setdefault((plan.key, plan.label), plan)
        return self.store.artifact(plan)


class Finished(Exception):
    """Raised inside the story once the last wanted step is done."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.stage)
        self.artifact = artifact


@dataclass
class Runner:
    """A stage that makes what is not yet there; with `until` only what that step needs, and then the story stops."""

    store: Store
    runtime: Runtime
    until: str | None = None
    after: Callable[[Plan, Artifact, bool], None] = lambda plan, artifact, made: None
    wanted: frozenset[str] | None = None  # keys of the steps to run, all by default
    team: engine.Engine | None = None  # several processes that tell the same story together

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = "") -> Artifact:
        plan = plan_of(function, config, inputs, label)
        if self.wanted is not None and plan.key not in self.wanted:
            return self.store.artifact(plan)
        if self.team and self.team.rank:
            artifact = self._helped(self.team, plan, function, config, inputs)
        else:
            made = not self.store.artifact(plan).done
            artifact = self._made(plan, function, config, inputs)
            self.after(plan, artifact, made)
        if plan.label == self.until:
            raise Finished(artifact)
        return artifact

    def _made(self, plan: Plan, function: Callable[..., None], config: Slice, inputs: tuple[Input, ...]) -> Artifact:
        """What is not there is made, in `TOGETHER` with the help of the other processes, who wait otherwise."""
        team = self.team
        if team is None:
            return self.store.run(plan, function, config, inputs, self.runtime)

        def begin(made: bool) -> int:
            joined = made and function in TOGETHER
            team.total(joined)
            return team.ranks if joined else 1

        artifact = self.store.run(plan, function, config, inputs, self.runtime, begin)
        team.wait()  # the others go on once the artifact is finished
        return artifact

    def _helped(
        self, team: engine.Engine, plan: Plan, function: Callable[..., None], config: Slice, inputs: tuple[Input, ...]
    ) -> Artifact:
        """The same from another process than the first: it looks at no file before the first one has told it to join."""
        artifact = self.store.artifact(plan)
        if team.total(0)[0]:
            quiet = self.runtime.model_copy(update={"quiet": True})
            function(config, *inputs, work=Work(artifact.folder, quiet, plan.label, team.rank))
        team.wait()
        return artifact


def plan_all(exp: Experiment, source: Source, store: Store) -> list[Plan]:
    """Every step of an experiment in order, without running any; ValueError while a precision is "auto".

    A step that stands for two, as the baseline is also `recognizer real/0`, is there under both labels.
    """
    planner = Planner(store)
    scoremix(exp, source, planner)
    return list(planner.plans.values())


def needed(plans: list[Plan], until: str | None) -> list[Plan]:
    """The steps that the step of that label needs, and itself, each once and in order; all of them without a label."""
    by_key: dict[str, Plan] = {}
    for plan in plans:
        by_key.setdefault(plan.key, plan)
    waiting = [plan for plan in plans if until in (None, plan.label)]
    found: set[str] = set()
    while waiting:
        plan = waiting.pop()
        if plan.key not in found:
            found.add(plan.key)
            waiting += [by_key[key] for key in plan.inputs.values() if key in by_key]
    return [plan for plan in by_key.values() if plan.key in found]


def run(exp: Experiment, source: Source, runner: Runner) -> Artifact:
    """Runs the story (to `runner.until`) and returns the last artifact."""
    exp = decided(exp, runner.runtime.device)
    if runner.until is not None:
        plans = needed(plan_all(exp, source, runner.store), runner.until)
        runner.wanted = frozenset(plan.key for plan in plans)
    try:
        return scoremix(exp, source, runner)
    except Finished as finished:
        return finished.artifact
