"""Artifacts: finished folders with a manifest; done once, never recomputed, never half written."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Runtime, Slice
from scoremix.config.base import undecided
from scoremix.data.files import file_hash, read_sealed, write_file, write_sealed
from scoremix.execution import stopping
from scoremix.execution.code import code_hash

if TYPE_CHECKING:
    from rich.progress import TaskID

FORMAT = 1
DISOWNED = "manifest.damaged"  # of an artifact whose bytes are no longer those that were written
SPENT = "spent.json"

Show = Callable[[str, float, float, str], None]  # label, done, total, unit


class StoreError(RuntimeError):
    """The store cannot be used: another version, another writer, or damaged."""


class StoreBusy(StoreError):
    """Another process is working on that artifact."""


@dataclass(frozen=True)
class External:
    """Data from outside: a place, and the hash of its content as its key."""

    place: str
    key: str
    split_list: str | None = None
    groups: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A finished folder `store/<stage>/<key12>/`; `artifact / name` is the path of one of its files."""

    stage: str
    key: str
    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def done(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; StoreError where it is damaged."""
        manifest: dict[str, Any] = _read_json(self.folder / "manifest.json")
        return manifest

    def json(self, name: str) -> Any:
        return _read_json(self.folder / name)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """All arrays of an .npz file; StoreError where it is damaged."""
        try:
            with np.load(self.folder / name) as file:
                return dict(file)
        except Exception as error:  # damaged archives raise almost anything
            raise StoreError(f"{self.folder / name}: damaged or unreadable ({error})") from None

    @property
    def share_done(self) -> float:
        """How much of it is there, 0 to 1, as its process last said."""
        if self.done:
            return 1.0
        told = read_sealed(self.folder / "progress" / SPENT)
        parts = (self.folder / "progress").glob(f"part-*-{SPENT}")
        shares = [json.loads(text).get("done", 0.0) for text in (told, *map(read_sealed, parts)) if text]
        return float(min(shares, default=0.0))

    def damaged(self) -> list[str]:
        """Outputs whose bytes are not those that the manifest lists, each with what is wrong; read once by a process."""
        try:
            listed = self.manifest["outputs"].items()
            return [f"{name} {wrong}" for name, told in listed if (wrong := _wrong(self.folder / name, told))]
        except (StoreError, AttributeError, KeyError, TypeError):
            return ["manifest.json is damaged"]

    def disown(self) -> None:
        """From now on a damaged artifact is not done: what needs it makes it again."""
        os.replace(self.folder / "manifest.json", self.folder / DISOWNED)


@dataclass
class Work:
    """What a stage is given beside its inputs: its folder, its progress, and counters for the manifest."""

    folder: Path
    runtime: Runtime
    label: str
    rank: int = 0  # of the processes that work on the stage; the first writes
    part: tuple[int, int] | None = None  # this process makes chunks k, k + n, ... alone
    show: Show | None = None  # tells the process that shows all that runs
    counts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    before: dict[str, float] = field(default_factory=dict)
    processes: int = 1  # most that have shared the stage since it began, killed ones included
    kept_at: float = field(default_factory=time.monotonic)  # when progress was last due to be kept
    spacing: float = 0.0  # seconds between times that progress is kept, at least
    done: float = 0.0  # share of the stage, as its bar has it

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def progress(self) -> Path:
        """Folder of what an unfinished stage resumes from; removed when the stage is done."""
        path = self.folder / "progress"
        path.mkdir(exist_ok=True)
        return path

    def count(self, name: str, amount: float) -> None:
        """Adds to a counter of the manifest (evaluations, images ...)."""
        self.counts[name] = self.counts.get(name, 0) + amount

    def settle(self, name: str, amount: float) -> None:
        """Sets a counter to what it is over all processes that have worked on the stage, killed ones included."""
        self.before.pop(name, None)
        self.counts[name] = amount

    def write(self, name: str, content: bytes | str) -> Path:
        """Writes a file whole or not at all, from the first process alone."""
        path = self.folder / name
        return path if self.rank else write_file(path, content)

    def write_json(self, name: str, value: Any) -> Path:
        return self.write(name, json.dumps(value, indent=1, allow_nan=True) + "\n")

    def write_array(self, name: str, value: NDArray[Any]) -> Path:
        """Writes an .npy file."""
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return self.write(name, buffer.getvalue())

    def write_arrays(self, name: str, /, **values: NDArray[Any]) -> Path:
        """Writes an .npz file as `np.savez` does, whose own arguments (`file`) are no names of arrays."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for array, value in values.items():
                with archive.open(f"{array}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        return self.write(name, buffer.getvalue())

    def due(self) -> bool:
        """Whether progress is to be kept now: once in `checkpoint_seconds`, and when this process was asked to stop.

        Less often where keeping it takes long (`spacing`), unless it is to be kept always (0 seconds).
        """
        now, wanted = time.monotonic(), self.runtime.checkpoint_seconds
        if now - self.kept_at < (max(wanted, self.spacing) if wanted else 0) and not stopping.asked():
            return False
        self.kept_at = now
        return True

    def keep(self, name: str, content: bytes | str) -> None:
        """Writes a file an unfinished stage resumes from, and what the first process has spent until now."""
        write_sealed(self.progress / name, content)
        if self.rank == 0:
            self._keep_spent()

    def _keep_spent(self) -> None:
        spent = {**self.spent(), "processes": self.processes, "done": self.done}
        write_sealed(self.progress / self._spent_file, json.dumps(spent))

    @property
    def _spent_file(self) -> str:
        return SPENT if self.part is None else f"part-{self.part[0]}-{SPENT}"

    def take_over(self) -> None:
        """From now on this process counts what those before it have spent: all of them, or on its part those of that part."""
        files = [self._spent_file]
        if self.part is None:
            files += sorted(path.name for path in self.progress.glob(f"part-*-{SPENT}"))
        for file in files:
            spent = json.loads(self.kept(file) or "{}")
            spent.pop("done", None)
            self.processes = max(self.processes, int(spent.pop("processes", 1)))
            peak = max(spent.get("peak_mib", 0), self.before.get("peak_mib", 0))
            self.before = {n: spent.get(n, 0) + self.before.get(n, 0) for n in {**spent, **self.before}}
            self.before["peak_mib"] = peak
        if files[1:]:  # counted once, whatever happens to this process
            self._keep_spent()
            for file in files[1:]:
                (self.progress / file).unlink()

    def keep_two(self, name: str, content: bytes | str) -> None:
        """The same; the file of that name before stays as well, for when this one is found damaged."""
        if (path := self.progress / name).exists():
            os.replace(path, path.with_name(f"{name}.before"))
        self.keep(name, content)

    def kept(self, name: str) -> bytes | None:
        """What was kept under that name, of two the newer that is sound; None where none is. A damaged one is named."""
        for path in (self.progress / name, self.progress / f"{name}.before"):
            if path.exists():
                if (content := read_sealed(path)) is not None:
                    return content
                print(f"{path}: damaged; resuming from what was kept before it", file=sys.stderr, flush=True)
        return None

    def surely_kept(self, name: str) -> bytes:
        """The same of what this stage has kept itself; StoreError where it has been damaged since."""
        if (content := self.kept(name)) is None:
            raise StoreError(f"{self.progress / name}: damaged or gone; the next run makes it again")
        return content

    def spent(self) -> dict[str, float]:
        """Seconds, counters and peak memory of this process and of those that were killed before it."""
        now = {"seconds": time.monotonic() - self.started, **self.counts}
        total = {n: round(now.get(n, 0) + self.before.get(n, 0), 3) for n in {**self.before, **now} if n != "peak_mib"}
        return {**total, "peak_mib": max(round(peak_mib(), 1), self.before.get("peak_mib", 0))}

    @contextlib.contextmanager
    def bar(self, total: float, unit: str, start: float = 0) -> Iterator[Callable[..., None]]:
        """A progress bar with the time left; yields `advance(done, total=None, unit=unit)`, told what is done so far.

        It raises KeyboardInterrupt once this process was asked to stop.
        """
        with contextlib.nullcontext(self.show) if self.show else bars(self.runtime) as show:
            show(self.label, start, total, unit)

            known = total

            def advance(done: float, total: float | None = None, unit: str = unit) -> None:
                nonlocal known
                known = known if total is None else total
                self.done = done / max(known, 1)
                show(self.label, done, known, unit)
                stopping.check()

            yield advance


@contextlib.contextmanager
def bars(runtime: Runtime) -> Iterator[Show]:
    """One display of all that runs; yields show(label, done, total, unit). A bar goes when it is full."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=runtime.quiet or not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def show(label: str, done: float, total: float, unit: str) -> None:
            if label not in tasks:
                tasks[label] = progress.add_task(label, total=total, completed=int(done), unit=unit)
            progress.update(tasks[label], completed=done, total=total, unit=unit)
            if done >= total:
                progress.remove_task(tasks.pop(label))

        yield show


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
            content = _read_json(mark)
            found = content.get("format") if isinstance(content, dict) else content
            if found != FORMAT:
                raise StoreError(
                    f"{root}: written by store format {found}, this scoremix reads format {FORMAT}; use another --out"
                )
        elif root.exists() and _foreign(root, mark) and not mark.exists():  # another process may just have made it
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
            _reset_peak()
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


def refuse_damaged(inputs: Iterable[Any]) -> None:
    """StoreError where an input's bytes are not those of its manifest; the next run makes that artifact again."""
    for value in inputs:
        for artifact in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(artifact, Artifact) and artifact.done and (wrong := artifact.damaged()):
                artifact.disown()
                raise StoreError(f"{artifact.folder}: {'; '.join(wrong)}; the next run makes it again")


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


_hashes: dict[tuple[Path, int, int], str] = {}  # (file, time of its last change in ns, bytes) -> SHA-256


def _wrong(path: Path, told: Mapping[str, Any]) -> str:
    """What is wrong with an output, in words; empty where nothing is."""
    try:
        found = path.stat()
        if found.st_size != told["bytes"]:
            return f"has {found.st_size:,} bytes, not {told['bytes']:,}"
        key = (path, found.st_mtime_ns, found.st_size)
        _hashes[key] = _hashes.get(key) or file_hash(path)
        return "" if _hashes[key] == told["sha256"] else "has other bytes than were written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _foreign(root: Path, mark: Path) -> bool:
    """Whether a folder holds more than what a process left that was killed while it wrote the mark."""
    return any(not file.match(f"{mark.name}.*partial") for file in root.iterdir())


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Holds a lock file, once whoever holds it has let go; it stays as an empty file."""
    with open(file, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with open(folder / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged or unreadable ({error})") from None


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    names = ("scoremix", "torch", "numpy", "scipy", "numba", "pillow", "matplotlib", "lightning-fabric")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}", **found}


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


def _reset_peak() -> None:
    """Starts a new high-water mark of resident memory, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak resident memory of this process in MiB since `_reset_peak` (since its start elsewhere)."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
