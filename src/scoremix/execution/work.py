"""Work: what a stage is given beside its inputs, its folder, its progress, and counters for the manifest."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Runtime
from scoremix.data.files import read_sealed, write_file, write_sealed
from scoremix.execution import stopping
from scoremix.execution.artifacts import SPENT, StoreError

if TYPE_CHECKING:
    from rich.progress import TaskID

Show = Callable[[str, float, float, str], None]  # label, done, total, unit


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


def reset_peak() -> None:
    """Starts a new high-water mark of resident memory, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak resident memory of this process in MiB since `reset_peak` (since its start elsewhere)."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
