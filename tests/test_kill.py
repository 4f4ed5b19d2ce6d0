"""SIGKILL at random moments of every stage: what is made in the end is what an undisturbed run makes, to the byte.

One process imports everything once, computes nothing, and forks for every attempt; each attempt runs on one thread.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

RESUMES = ("generator", "recognizer", "sample")  # from what they kept; the others start again

SERVER = """
import os, sys, traceback
from pathlib import Path
import lightning_fabric, matplotlib.pyplot
from scoremix.execution import runner
from scoremix.execution import records
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.config import Experiment, Runtime, load

told = set()
def tell(said, work):
    line = f"{said} {work.folder.parent.name}\\n"
    if line not in told:
        told.add(line)
        os.write(1, line.encode())

def telling(name, said):
    before = getattr(Work, name)
    def after(work, *args, **kwargs):
        before(work, *args, **kwargs)
        tell(said, work)
    setattr(Work, name, after)

telling("__init__", "begun")
telling("_keep_spent", "kept")
exp = load(Experiment(), (), sys.argv[1:])
source = records.source_of(exp)
kinds = dict.fromkeys(plan.stage for plan in runner.plan_all(exp, source, Store(Path("nowhere"))))
os.write(1, ("kinds " + " ".join(kinds) + "\\n").encode())
for line in sys.stdin:
    out = Path(line.strip())
    child = os.fork()
    if not child:
        try:
            os.write(1, f"pid {os.getpid()}\\n".encode())
            runtime = Runtime(out=out, device="cpu", quiet=True, checkpoint_seconds=0.0)
            runner.run(exp, source, runner.Runner(Store(out / "store"), runtime))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # its number stays taken: nothing else can be killed
    os.write(1, f"exit {ended.si_status}\\n".encode())
    sys.stdin.readline()
    os.waitpid(child, 0)
"""


class Runs:
    """Attempts at the same experiment in any folder, perhaps killed."""

    def __init__(self, settings: list[str], folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self.kinds = self._told()[1:]

    def _told(self) -> list[str]:
        assert self.server.stdout is not None
        words = self.server.stdout.readline().split()
        assert words, "the process that forks is gone"
        return words

    def attempt(self, out: Path, wait_for: str | None = None, delay: float | None = None) -> bool:
        """Runs to the end or is killed `delay` seconds after what it was to tell (or after the start); False if killed."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{out}\n")
        self.server.stdin.flush()
        pid = int(self._told()[1])
        while delay is not None:
            told = [] if wait_for is None else self._told()
            if wait_for is None or told == wait_for.split():
                time.sleep(delay)
                os.kill(pid, signal.SIGKILL)
                break
            if told[0] == "exit":
                return self._ended(told)
        while (told := self._told())[0] != "exit":
            pass
        return self._ended(told)

    def _ended(self, told: list[str]) -> bool:
        assert self.server.stdin is not None
        self.server.stdin.write("reap\n")
        self.server.stdin.flush()
        assert told[1] in ("0", "9"), "an attempt failed by itself"
        return told[1] == "0"

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)


@pytest.fixture(scope="module")
def attempts(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    small = ["seeds=[0]", "generator.images_seen=320", "recognizer.epochs=3", "data.held_out=0.2"]
    made = Runs([*tiny_settings, *small], tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(attempts: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert attempts.attempt(out)
    return out


def manifests(out: Path) -> dict[str, dict]:
    """Manifest of every artifact, by its folder's name in the store."""
    found = (out / "store").rglob("manifest.json")
    return {str(f.parent.relative_to(out / "store")): json.loads(f.read_text()) for f in found}


def made(out: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of every output; of the report, which tells of time and cost, the names only."""
    return {
        folder: {n: "" if m["stage"] == "report" else o["sha256"] for n, o in m["outputs"].items()}
        for folder, m in manifests(out).items()
    }


def strays(out: Path) -> list[str]:
    """Files of a store that no manifest lists."""
    listed = {f"{folder}/{name}" for folder, outputs in made(out).items() for name in outputs}
    every = (str(f.relative_to(out / "store")) for f in (out / "store").rglob("*") if f.is_file())
    return [f for f in every if f not in listed and Path(f).name not in ("manifest.json", ".lock", "store.json")]


def kill_in_every_kind(attempts: Runs, undisturbed: Path, out: Path, each: int, seed: int) -> dict[str, int]:
    """Makes every kind of stage anew in a copy of the finished store, killed `each` times in the middle of it."""
    rng = np.random.default_rng(seed)
    shutil.copytree(undisturbed, out, dirs_exist_ok=True)
    cost: dict[str, float] = {}
    for manifest in manifests(undisturbed).values():
        cost[manifest["stage"]] = cost.get(manifest["stage"], 0) + manifest["cost"]["seconds"]
    landed = dict.fromkeys(attempts.kinds, 0)
    for kind in attempts.kinds:
        longest = cost[kind]
        for _ in range(25 * each):
            if landed[kind] == each:
                break
            if all(f"{kind}/{f.name}" in manifests(out) for f in (out / "store" / kind).glob("*")):
                shutil.rmtree(out / "store" / kind, ignore_errors=True)
            moment = f"{'kept' if kind in RESUMES else 'begun'} {kind}"
            if attempts.attempt(out, moment, float(rng.uniform(0, longest))):
                longest /= 2  # it was over before the kill
            else:
                landed[kind] += in_the_middle(out, kind)
        assert attempts.attempt(out)
    return landed


def in_the_middle(out: Path, kind: str) -> bool:
    """Whether some artifact of the kind is begun and not done, and holds something to resume from where it can."""
    begun = [f for f in (out / "store" / kind).glob("*") if not (f / "manifest.json").exists()]
    return any(kind not in RESUMES or (f / "progress" / "spent.json").exists() for f in begun)


def kill_anywhere(attempts: Runs, out: Path, kills: int, longest: float, seed: int) -> int:
    """Starts from nothing and kills at random times after the start; returns how many attempts were killed."""
    rng = np.random.default_rng(seed)
    killed = 0
    while killed < kills:
        if not attempts.attempt(out, None, float(rng.uniform(0, longest))):
            killed += 1
        elif killed >= 2:
            break
        else:  # the machine has become faster than when the run was timed
            killed, longest = 0, longest / 2
            shutil.rmtree(out)
    assert attempts.attempt(out)
    return killed


def check(attempts: Runs, undisturbed: Path, folder: Path, each: int, kills: int, seed: int) -> None:
    landed = kill_in_every_kind(attempts, undisturbed, folder / "kinds", each, seed)
    assert landed == dict.fromkeys(attempts.kinds, each)
    total = sum(m["cost"]["seconds"] for m in manifests(undisturbed).values())
    killed = kill_anywhere(attempts, folder / "anywhere", kills, total / 2, seed)
    assert killed >= 2 and killed + sum(landed.values()) >= 10
    for out in (folder / "kinds", folder / "anywhere"):
        assert made(out) == made(undisturbed)
        assert strays(out) == []


def test_an_undisturbed_run_leaves_nothing_behind(undisturbed: Path) -> None:
    assert strays(undisturbed) == []


def test_kills_in_every_kind_of_stage_end_in_the_same_bytes(attempts: Runs, undisturbed: Path, tmp_path: Path) -> None:
    check(attempts, undisturbed, tmp_path, each=1, kills=4, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_kills_end_in_the_same_bytes(attempts: Runs, undisturbed: Path, tmp_path: Path) -> None:
    check(attempts, undisturbed, tmp_path, each=3, kills=10, seed=1)
