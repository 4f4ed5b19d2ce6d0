"""The store: every step makes its artifact once, under the key of its code, settings and inputs, never half written."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scoremix.config import Runtime, Slice
from scoremix.config.base import undecided
from scoremix.data.files import file_hash, locked, write_file
from scoremix.execution.artifacts import DISOWNED, Artifact, StoreBusy, StoreError, read_json, refuse_damaged
from scoremix.execution.code import code_hash
from scoremix.execution.work import Show, Work, reset_peak

FORMAT = 1


@dataclass(frozen=True)
class Step:
    """One call of a stage before it runs: enough for its key and for saying why it is stale."""

    stage: str
    label: str
    config: dict[str, Any]
    inputs: dict[str, str]
    code: str

    @property
    def key(self) -> str:
        content = json.dumps([FORMAT, self.stage, self.code, self.config, self.inputs], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class Call(NamedTuple):
    """A step with what makes it."""

    step: Step
    function: Callable[..., None]
    config: Slice
    inputs: tuple[Any, ...]


def step_of(function: Callable[..., None], config: Slice, inputs: tuple[Any, ...], label: str) -> Step:
    """The step of a stage on its inputs: its settings that count, and the keys of what it reads."""
    keys: dict[str, str] = {}
    for position, value in enumerate(inputs):
        if isinstance(value, Mapping):
            keys |= {f"{position}:{name}": artifact.key for name, artifact in value.items()}
        else:
            keys[str(position)] = value.key
    stage, settings = function.__module__.rpartition(".")[2], config.hashed()
    for name, is_open in (("precision", undecided(settings)), ("microbatch", settings.get("microbatch") == "auto")):
        if is_open:
            raise ValueError(
                f"{stage}: {name} 'auto' is for the experiment; execution.runner.decided(exp, device) first"
            )
    return Step(stage, label or stage, settings, keys, code_hash(function))


class Store:
    """The folder of all artifacts of one user or team."""

    def __init__(self, root: Path) -> None:
        """Opens a store, which its first artifact makes; StoreError if another version wrote it."""
        self.root, self.mark = root, (mark := root / "store.json")
        if mark.exists():
            content = read_json(mark)
            written = content.get("format") if isinstance(content, dict) else content
            if written != FORMAT:
                raise StoreError(
                    f"{root}: written by store format {written}, this scoremix reads format {FORMAT}; use another --out"
                )
        elif (
            root.exists()  # and holds more than what a process left that was killed while it wrote the mark
            and any(not file.match(f"{mark.name}.*partial") for file in root.iterdir())
            and not mark.exists()  # another process may just have made it
        ):
            raise StoreError(f"{root}: not empty and not a scoremix store; use another --out")

    def artifact(self, step: Step) -> Artifact:
        return Artifact(step.stage, step.key, self.root / step.stage / step.key[:12])

    def make_folder(self, step: Step) -> Path:
        """The folder of a step, made where it is not there, and the store with it."""
        if not self.mark.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            write_file(self.mark, json.dumps({"format": FORMAT}) + "\n")
        folder = self.artifact(step).folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def refuse_busy(self, steps: Iterable[Step]) -> None:
        """StoreBusy where another process is working on one of the steps now."""
        for folder in (self.artifact(step).folder for step in steps):
            if folder.is_dir():
                with _lock(folder):
                    pass

    def run(
        self,
        step: Step,
        function: Callable[..., None],
        config: Slice,
        inputs: tuple[Any, ...],
        runtime: Runtime,
        begin: Callable[[bool], int] = lambda made: 1,
        show: Show | None = None,
    ) -> Artifact:
        """The finished artifact of a step: found, or made now, continuing what an earlier process left.

        `begin` is called once: with True when the folder is this process's and in order, for others to join, who are
        counted in what it returns; with False where there is nothing to do.
        """
        artifact = self.artifact(step)
        progress = artifact / "progress"
        if artifact.done:
            if progress.exists():  # a process was killed right after it had written the manifest
                shutil.rmtree(progress, ignore_errors=True)
            begin(False)
            return artifact
        refuse_damaged(inputs)
        self.make_folder(step)
        with _lock(artifact.folder):
            if artifact.done:
                begin(False)
                return artifact
            for leftover in [*artifact.folder.rglob("*.partial"), *artifact.folder.rglob("*.part")]:
                leftover.unlink()
            _clear_disowned(artifact)
            work = Work(artifact.folder, runtime, step.label, show=show)
            work.take_over()
            reset_peak()
            work.processes = max(begin(True), work.processes)
            function(config, *inputs, work=work)
            manifest = {
                "stage": step.stage,
                "key": step.key,
                "label": step.label,
                "config": step.config,
                "inputs": step.inputs,
                "code": step.code,
                "seed": step.config.get("seed"),
                "cost": work.spent(),
                "notes": work.notes,
                "processes": work.processes,
                "threads": runtime.threads,
                "versions": versions(),
                "commit": _commit(),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "outputs": _outputs(artifact.folder),
            }
            write_file(artifact.folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
            shutil.rmtree(progress, ignore_errors=True)
        return artifact


def _clear_disowned(artifact: Artifact) -> None:
    """Removes what a damaged artifact held, before it is made again."""
    if (artifact / DISOWNED).exists():
        for path in artifact.folder.iterdir():
            if path.name in (".lock", "progress"):  # workers may have made parts of it again already
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock"))
        except OSError:
            raise StoreBusy(f"{folder}: another process is working on it") from None
        yield


def _outputs(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "progress" not in p.relative_to(folder).parts)
    return {
        str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": file_hash(p)}
        for p in files
        if p.name not in (".lock", "manifest.json")
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    names = ("scoremix", "torch", "numpy", "scipy", "numba", "pillow", "matplotlib", "lightning-fabric")
    installed = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}", **installed}


@functools.cache
def _commit() -> str | None:
    """Git commit of the code, with '+' for uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent
    try:
        tracked = ["git", "ls-files", "--error-unmatch", Path(__file__).name]  # not in somebody else's checkout
        subprocess.run(tracked, cwd=here, capture_output=True, check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--", str(here)], cwd=here, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")
