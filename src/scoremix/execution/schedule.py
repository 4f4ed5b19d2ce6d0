"""Ready steps side by side: what begins when, which steps are shared among workers, how long all of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from scoremix.config import Runtime
from scoremix.execution import stopping
from scoremix.execution.artifacts import Artifact
from scoremix.execution.store import Call, Step, Store
from scoremix.execution.work import bars
from scoremix.execution.workers import Task, Workers

TRIES = 2  # of a step whose worker dies
SHARED = ("sample", "embed")  # stages whose chunks are shared among workers
After = Callable[[Step, Artifact, bool], None]


def run_all(
    calls: Sequence[Call],
    store: Store,
    runtime: Runtime,
    workers: Workers,
    after: After,
    say: Callable[[str], None],
    deadline: float = float("inf"),
) -> bool:
    """Makes every call's artifact, each as soon as its inputs are there; returns whether the time sufficed.

    Where several are ready, the one that most others wait for begins first. `after` is told of every step, made or found. A step whose
    worker dies is tried once more, the others go on; RuntimeError when it dies again. Nothing new begins after
    `deadline` (of time.monotonic). An error of a step is raised; who has begun the workers stops them, with checkpoints.
    """
    waiting = {call.step.key: call for call in calls}
    mine, finished, awaited = frozenset(waiting), set[str](), waited_for(calls)
    parts: dict[str, int] = {}  # open parts of steps that are shared
    queue: list[Task] = []
    running: dict[Future[None], Task] = {}

    def finish(call: Call, made: bool) -> None:
        finished.add(call.step.key)
        after(call.step, store.artifact(call.step), made)

    def release() -> None:
        """Queues what has become ready; what is there already is finished at once. Inputs come before what needs them."""
        for key, call in list(waiting.items()):
            if all(k in finished for k in call.step.inputs.values() if k in mine):
                del waiting[key]
                if store.artifact(call.step).done:
                    finish(call, False)
                    continue
                shares = workers.size if call.step.stage in SHARED and workers.size > 1 else 0
                parts[key] = shares
                queue.extend(Task(call, (k, shares)) for k in range(shares))
                if not shares:
                    queue.append(Task(call))
        queue.sort(key=lambda task: -awaited[task.call.step.key])

    def ended(task: Task) -> None:
        key = task.call.step.key
        if task.part is None:
            finish(task.call, True)
            release()
        else:
            parts[key] -= 1
            if parts[key] == 0:
                queue.insert(0, Task(task.call))

    with bars(runtime) as show:
        release()
        while running or (queue and time.monotonic() < deadline):
            while queue and len(running) < workers.size and time.monotonic() < deadline:
                task = queue.pop(0)
                running[workers.submit(task, store.root, runtime, show)] = task
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for state in workers.progress():
                show(*state)
            stopping.check()
            for future in done:
                task = running.pop(future)
                if workers.died(future):
                    label = task.call.step.label
                    if task.tries + 1 == TRIES:
                        raise RuntimeError(f"{label}: its worker died {TRIES} times; finished steps are safe")
                    say(f"{label}: its worker died; the step is tried once more")
                    queue.insert(0, task._replace(tries=task.tries + 1))
                    continue
                future.result()
                ended(task)
    return not (waiting or queue)


def waited_for(calls: Sequence[Call]) -> dict[str, int]:
    """How many of the calls wait for each, directly or through others; every input comes before what needs it."""
    waiting: dict[str, set[str]] = {call.step.key: set() for call in calls}
    for call in reversed(calls):
        for key in waiting.keys() & set(call.step.inputs.values()):
            waiting[key] |= {call.step.key} | waiting[call.step.key]
    return {key: len(others) for key, others in waiting.items()}


def makespan(calls: Sequence[Call], seconds: dict[str, float], size: int) -> float:
    """Seconds until `size` workers have done those of the calls that `seconds` names, in the order of `run_all`."""
    awaited = waited_for(calls)
    waiting = sorted((call for call in calls if call.step.key in seconds), key=lambda call: -awaited[call.step.key])
    end = {key: float("inf") for key in seconds}
    free = [0.0] * size
    while waiting:
        ready = [max((end.get(key, 0.0) for key in call.step.inputs.values()), default=0.0) for call in waiting]
        start = max(min(ready), min(free))
        call = waiting.pop(next(i for i, time in enumerate(ready) if time <= start))
        workers = range(size) if call.step.stage in SHARED else [free.index(min(free))]
        start = max(start, *(free[i] for i in workers))
        end[call.step.key] = start + seconds[call.step.key] / len(workers)
        for i in workers:
            free[i] = end[call.step.key]
    return max(free)
