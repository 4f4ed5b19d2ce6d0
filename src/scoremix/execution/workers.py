"""Where steps run: in this process, in processes of this machine through concurrent.futures, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeVar

from scoremix.config import Runtime
from scoremix.execution import processes, stopping
from scoremix.execution.artifacts import StoreBusy
from scoremix.execution.store import Call, Step, Store
from scoremix.execution.work import Show, Work

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 30.0  # seconds that stopped workers have to write their checkpoints
T = TypeVar("T")
R = TypeVar("R")


class Task(NamedTuple):
    """A step, or one part of its chunks."""

    call: Call
    part: tuple[int, int] | None = None  # number k of n
    tries: int = 0


class Workers(Protocol):
    """Where tasks run, until the end of a `with`; who runs them in this process has nothing more to say."""

    size: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def submit(self, task: Task, root: Path, runtime: Runtime, show: Show) -> Future[None]:
        """Begins a task, of which at most `size` run at a time. `show` is for who works in this process."""

    def died(self, future: Future[None]) -> bool:
        """Whether the worker of a finished task died, in which case another one takes its place."""
        return False

    def progress(self) -> Iterator[tuple[str, float, float, str]]:
        """What running steps have told since the last call: label, done, total, unit."""
        return iter(())

    def stop(self) -> None:
        """Ends every worker; running steps write a checkpoint."""
        return


def at_work(runtime: Runtime, steps: Sequence[Step], scheduler: str | None = None) -> tuple[Workers, Runtime]:
    """Those that make some steps, of this machine or of the Dask cluster of a `scheduler`, and the settings with the
    threads that each of them computes on: from now on this process does, too.
    """
    if scheduler:
        return cluster(scheduler), runtime
    here = crew(runtime, steps)
    processes.use_threads(here.threads)
    return here if here.size > 1 else ThisProcess(), runtime.model_copy(update={"threads": here.threads})


def crew(runtime: Runtime, steps: Sequence[Step]) -> Processes:
    """How many workers and how many threads each: on a CPU one per core with one thread, on GPUs one per GPU.

    Large networks have all cores of a CPU. Bytes depend on the threads, never on the number of workers.
    """
    import torch

    large = any(map(_large, steps))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = torch.cuda.device_count() if runtime.device != "cpu" and torch.cuda.is_available() else 0
    threads = runtime.threads or (cores if large and not gpus else 1)
    size = (gpus or max(1, cores // threads)) if runtime.workers == "auto" else runtime.workers
    return Processes(size, threads, gpus)


def _large(step: Step) -> bool:
    """Whether a step trains a network that keeps several cores busy."""
    if step.stage == "recognizer":
        return bool(step.config["network"] != "small")
    return step.stage == "generator" and step.config["model_channels"] * max(step.config["channel_mult"]) > 256


def perform(task: Task, root: Path, runtime: Runtime, show: Show | None = None) -> None:
    """Makes a step's artifact, or a part of its chunks, in this process."""
    call, store = task.call, Store(root)
    while task.part is None:
        try:
            store.run(call.step, call.function, call.config, call.inputs, runtime, show=show)
            return
        except StoreBusy:  # of another run, which makes the same
            stopping.check()
            time.sleep(1)
    work = Work(store.make_folder(call.step), runtime, call.step.label, part=task.part, show=show)
    work.take_over()
    call.function(call.config, *call.inputs, work=work)


class ThisProcess(Workers):
    """This process alone, one task after the other."""

    size = 1

    def submit(self, task: Task, root: Path, runtime: Runtime, show: Show) -> Future[None]:
        future: Future[None] = Future()
        try:
            perform(task, root, runtime, show)
            future.set_result(None)
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Slot:
    """One process for one task at a time."""

    threads: int
    gpu: int | None
    pool: ProcessPoolExecutor | None = None
    reports: Connection | None = None
    pid: int = 0
    future: Future[None] | None = None

    def open(self) -> ProcessPoolExecutor:
        if self.pool is None:
            context = get_context("spawn")
            self.reports, tell = context.Pipe(duplex=False)
            self.pool = ProcessPoolExecutor(1, context, _begin, (self.threads, self.gpu, tell))
            self.pid = self.pool.submit(os.getpid).result()
            tell.close()  # the worker has its own end
        return self.pool

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        if self.reports is not None:
            self.reports.close()
        self.pool = self.reports = self.future = None


@dataclass
class Processes(Workers):
    """Workers on this machine, a process each, started when there is work for them."""

    size: int
    threads: int
    gpus: int = 0
    slots: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = [Slot(self.threads, i % self.gpus if self.gpus else None) for i in range(self.size)]

    def submit(self, task: Task, root: Path, runtime: Runtime, show: Show) -> Future[None]:
        slot = next(slot for slot in self.slots if slot.future is None)
        call = partial(_perform, task, root, runtime)
        try:
            slot.future = slot.open().submit(call)
        except BrokenProcessPool:  # it died while it had nothing to do
            slot.close()
            slot.future = slot.open().submit(call)
        return slot.future

    def died(self, future: Future[None]) -> bool:
        slot = next(slot for slot in self.slots if slot.future is future)
        slot.future = None
        if not isinstance(future.exception(), BrokenProcessPool):
            return False
        slot.close()
        return True

    def progress(self) -> Iterator[tuple[str, float, float, str]]:
        for slot in self.slots:
            with contextlib.suppress(EOFError, OSError):
                while slot.reports is not None and slot.reports.poll():
                    yield slot.reports.recv()

    def stop(self) -> None:
        busy = [slot for slot in self.slots if slot.future is not None and not slot.future.done()]
        for slot in busy:
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.pid, signal.SIGTERM)
        wait([slot.future for slot in busy if slot.future is not None], timeout=PATIENCE)
        for slot in busy:
            if slot.future is not None and not slot.future.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(slot.pid, signal.SIGKILL)
        for slot in self.slots:
            slot.close()


_tell: Connection | None = None  # a worker's way to say how far it is


def _begin(threads: int, gpu: int | None, tell: Connection) -> None:
    """What a worker does first: its share of the machine, and stopping with a checkpoint when it is told to."""
    global _tell
    _tell = tell
    if gpu is not None:
        os.environ[processes.VISIBLE] = processes.visible(gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which tells the workers
    stopping.listen(signal.SIGTERM)
    processes.use_threads(threads)


def _perform(task: Task, root: Path, runtime: Runtime) -> None:
    last = 0.0

    def show(label: str, done: float, total: float, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if _tell is not None and (now - last > 0.2 or done >= total):
            last = now
            with contextlib.suppress(OSError):
                _tell.send((label, done, total, unit))

    try:
        perform(task, root, runtime, show)
    except KeyboardInterrupt:
        raise Stopped(task.call.step.label) from None


class Stopped(RuntimeError):
    """A step was told to stop, and has written its checkpoint."""


def mapped(
    crew: Processes, begin: Callable[..., Callable[[T], R]], arguments: tuple[object, ...], items: Iterable[T]
) -> Iterator[R]:
    """begin(*arguments)(item) of every item in order; each worker begins once, and has at most two items waiting."""
    ahead: deque[Future[R]] = deque()
    try:
        for number, item in enumerate(items):
            ahead.append(crew.slots[number % crew.size].open().submit(_applied, begin, arguments, item))
            if len(ahead) > 2 * crew.size:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        crew.stop()


@cache
def _begun(begin: Callable[..., Callable[[T], R]], arguments: tuple[object, ...]) -> Callable[[T], R]:
    return begin(*arguments)


def _applied(begin: Callable[..., Callable[[T], R]], arguments: tuple[object, ...], item: T) -> R:
    result: R = _begun(begin, arguments)(item)
    return result


@dataclass
class Cluster(Workers):
    """Workers of a Dask cluster on a shared folder, reached by a client that is opened when there is work for them."""

    connect: Callable[[], Client]
    size: int
    client: Client | None = None
    executor: Executor | None = None
    busy: set[Future[None]] = field(default_factory=set)

    def submit(self, task: Task, root: Path, runtime: Runtime, show: Show) -> Future[None]:
        quiet = runtime.model_copy(update={"quiet": True})
        if self.client is None:
            self.client = self.connect()
        self.executor = self.executor or self.client.get_executor()
        future = self.executor.submit(_remote, task, root.resolve(), quiet)
        self.busy.add(future)
        return future

    def died(self, future: Future[None]) -> bool:
        self.busy.discard(future)
        return type(future.exception()).__name__ == "KilledWorker"

    def stop(self) -> None:
        for future in self.busy:
            future.cancel()
        self.busy.clear()
        if self.client is not None:
            self.client.close()
        self.client = self.executor = None


def cluster(scheduler: str) -> Cluster:
    """Workers of the Dask scheduler at an address, or in a scheduler file; ValueError without the extra `dask`."""
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--scheduler: needs Dask, pip install 'scoremix[dask]'") from None

    def connect() -> Client:
        return Client(scheduler_file=scheduler) if Path(scheduler).is_file() else Client(scheduler)

    client = connect()
    size = sum(client.nthreads().values())
    if not size:
        raise ValueError(f"--scheduler {scheduler}: the cluster has no worker")
    return Cluster(connect, size, client)


def _remote(task: Task, root: Path, runtime: Runtime) -> None:
    """A task on a worker of the cluster, with the threads that were asked for."""
    if runtime.threads:
        processes.use_threads(runtime.threads)
    perform(task, root, runtime)
