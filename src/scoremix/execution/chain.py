"""The chain of a run: its steps done, missing or stale, and why."""

import contextlib
from typing import Any

from scoremix.config import Experiment
from scoremix.execution import runner
from scoremix.execution.artifacts import DISOWNED, Artifact
from scoremix.execution.progress import MARKS, cost
from scoremix.execution.records import RecordedStep, source_of, steps_of, to_continue
from scoremix.execution.store import Step, Store
from scoremix.report.numbers import duration, terminal


def damaged(store: Store, exp: Experiment) -> list[str]:
    """A line for every artifact of a run whose bytes are not those of its manifest; it is not done any more."""
    lines = []
    for plan in runner.plan_all(exp, source_of(exp, store.root.parent), store):
        artifact = store.artifact(plan)
        if artifact.done and (wrong := artifact.damaged()):
            lines.append(f"  {plan.label}, {artifact.folder}: {'; '.join(wrong)}")
            with contextlib.suppress(OSError):  # a store that can only be read
                artifact.disown()
    return lines


def chain_table(store: Store, exp: Experiment) -> str:
    """Every step of a run with its state (done, started, stale, missing), why, and its cost."""
    steps = steps_of(store.root.parent, exp.name)
    rows, total = [], 0.0
    first: dict[str, str] = {}  # key -> the label it was listed under
    plans = runner.plan_all(exp, source_of(exp, store.root.parent), store)
    for plan in plans:
        artifact = store.artifact(plan)
        state, why = state_of(plan, artifact, steps.get(plan.label))
        if first.setdefault(plan.key, plan.label) != plan.label:
            why = f"the same as {first[plan.key]}"
        elif state == "done":
            total += artifact.manifest["cost"]["seconds"]
            why = cost(artifact)
        rows.append([MARKS[state], state, plan.label, plan.key[:12], why])
    lines = [f"run {exp.name}: data {exp.source}", terminal(rows), f"total of what is done: {duration(total)}"]
    if not all(store.artifact(plan).done for plan in plans):
        lines.append(f"to continue: {to_continue(store.root.parent, exp.name)}")
    return "\n".join(lines)


def state_of(plan: Step, artifact: Artifact, before: RecordedStep | None) -> tuple[str, str]:
    """(state, why) of a step, given how the record says it was last done."""
    if artifact.done:
        return "done", ""
    if (artifact / DISOWNED).exists():
        return "missing", "its files are not those that were written; the next run makes it again"
    if (artifact.folder / "progress").exists():
        return "started", "a process stopped in the middle; the next run continues it"
    if before is None:
        return "missing", "never done"
    changes = ["its code changed"] if before.code != plan.code else []
    changes += _differences(before.config, plan.config)
    if before.inputs != plan.inputs:
        count = sum(before.inputs.get(name) != key for name, key in plan.inputs.items())
        changes.append("the images changed" if plan.stage == "ingest" else f"{max(1, count)} of its inputs changed")
    return ("stale", "; ".join(changes)) if changes else ("missing", "its folder is gone")


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(set(before) | set(now))
        return [line for n in names for line in _differences(before.get(n), now.get(n), f"{path}.{n}".strip("."))]
    return [] if before == now else [f"{path}: {before!r} became {now!r}"]
