"""A run rehearsed: a sample of the data, every network at its true size, a few steps of each, and what all of it will take.

What would stop the run hours later is found here in minutes. Rows that repeat each other (images of a batch, steps of a
solver) are cut where they would take long, and multiplied; shapes of networks, images and class sets are the true ones.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scoremix.config import Experiment, Generator, Recognizer, Runtime, Selection
from scoremix.data import faces as facesets
from scoremix.data.decode import with_channels
from scoremix.data.facesets import FaceSet
from scoremix.data.images import LabeledImages
from scoremix.data.lists import read_mplets
from scoremix.diffusion import training
from scoremix.diffusion.unet import EDM2
from scoremix.execution import memory, runner
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import External
from scoremix.execution.small import run_in_small, sampled
from scoremix.execution.store import Step, Store
from scoremix.execution.timing import OTHERS, Clock
from scoremix.execution.torchrun import say
from scoremix.execution.work import Work, peak_mib
from scoremix.recognition.training import embed
from scoremix.report.numbers import duration
from scoremix.stages.mix.select import default_count, search
from scoremix.stages.train import generator as generators
from scoremix.stages.train import recognizer as recognizers
from scoremix.stages.train import resume

EMBEDDED = 16
GIB = 2**30


@dataclass
class Rehearsal:
    """What was measured and what would have failed, told to a person as it comes."""

    exp: Experiment
    runtime: Runtime
    folder: Path  # for what is written and read back
    say: Callable[[str], None] = print
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of the true run, by stage
    evaluations: int = 0  # of the generator's network
    disk: float = 0.0  # bytes that the true run writes
    device_bytes: float = 0.0  # most that a training step keeps on its device
    sure: dict[str, str] = field(default_factory=dict)  # by stage, what its time rests on

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One part of the rehearsal: said with its time; what fails in it is kept, and the others go on."""
        start = time.monotonic()
        try:
            yield
        except (ValueError, RuntimeError, OSError, MemoryError, ArithmeticError) as error:
            line = " ".join(str(error).split()) or type(error).__name__
            self.failures.append(f"{name}: {line}")
        result = f"failed: {self.failures[-1].partition(': ')[2]}" if self.failed(name) else "fine"
        self.say(f"  {name:<30} {duration(time.monotonic() - start):>8}  {result}")

    def failed(self, name: str) -> bool:
        """Whether that part did."""
        return any(line.startswith(f"{name}: ") for line in self.failures)


def rehearse(
    exp: Experiment, runtime: Runtime, folder: Path, sets: Sequence[str] = (), root: Path = Path()
) -> Rehearsal:
    """Rehearses the run of `exp` and the evaluation on public `sets`; needs an empty folder on the disk of the run."""
    done = Rehearsal(exp, runtime, folder, (lambda line: None) if runtime.quiet else say)
    if (native := as_computed(exp, runtime.device)) is not exp:
        exp = native
        done.say("  this device emulates bfloat16: measured in float32")
    read: list[LabeledImages] = []
    with done.part("data"):
        read.append(sampled(exp))
    if not read:
        return done
    images = read[0]
    train = images.of_classes("train")
    parts = ", ".join(f"{name} {len(of):,} classes" for name, of in images.splits.items())
    done.say(f"    {parts}; {len(train):,} training images of {images.size} px, {images.channels} channels")
    planner = runner.planned(
        as_read(exp, images),
        External(exp.source, "rehearsal", exp.split_list, exp.groups),
        Store(folder / "plans"),
        {name: len(of) for name, of in images.splits.items()},
    )
    steps = runner.needed(planner.listed, None)
    clock = Clock({step.key: step for step in steps}, images, runtime)
    for selection in _distinct(Selection, steps, "select"):
        with done.part(f"mining {selection.strategy}, m = {selection.mixed}"):
            _mined(selection, train)
    for recognizer in _distinct(Recognizer, steps, "recognizer"):
        with done.part(f"recognizer {recognizer.network}"):
            _recognizer(recognizer, train, clock, done)
    for generator in _distinct(Generator, steps, "generator"):
        with done.part("generator"):
            _generator(generator, train, clock, done)
        with done.part("checkpoint, written and read"):
            _checkpoint(generator, train, clock, done)
    _timed(steps, clock, done)
    for item in sets:
        with done.part(f"set {item}"):
            _face_set(facesets.open_set(item, root), exp.recognizer, train, clock, done)
    with done.part("the story in small, to its page"):
        run_in_small(exp, images, folder, runtime)
    with done.part("disk"):
        _disk(steps, clock, done)
    return done


def as_read(exp: Experiment, images: LabeledImages) -> Experiment:
    """The experiment with what its images decide: their channels, and for how long a generator is trained."""
    classes = len(images.splits["train"])
    update: dict[str, Any] = {
        "data": exp.data.model_copy(update={"channels": images.channels}),
        "generator": exp.generator.for_classes(classes),
        "guide": exp.guide and exp.guide.for_classes(classes),
    }
    return exp.model_copy(update=update)


def as_computed(exp: Experiment, device: str) -> Experiment:
    """The experiment in float32 where the device emulates bfloat16, which would take too long to say anything."""
    tree = exp.model_dump(mode="json")
    if engine.native(device) == "bfloat16" or '"bfloat16"' not in json.dumps(tree):
        return exp
    return Experiment.model_validate_json(json.dumps(tree).replace('"bfloat16"', '"float32"'))


def _distinct(kind: type[Any], steps: Sequence[Step], stage: str) -> list[Any]:
    """The different settings of a stage's steps, whatever their seeds."""
    configs = [kind.model_validate({**step.config, "seed": 0}) for step in steps if step.stage == stage]
    return list({of.model_dump_json(exclude={"epochs"}): of for of in configs}.values())


def _mined(selection: Selection, train: LabeledImages) -> None:
    """The selection itself, of as many random centers as there are classes."""
    names, count = list(train.class_names), selection.count or default_count(len(train.class_names), selection.mixed)
    if selection.file is not None:
        read_mplets(Path(selection.file), names, selection.m)
    if selection.strategy in ("each", "list"):
        return
    rng = np.random.default_rng(0)
    spaces = {name: rng.standard_normal((len(names), 128)).astype(np.float32) for name in ("embedding", "condition")}
    search(selection, spaces, count, None, lambda what, share: None)


def _recognizer(config: Recognizer, train: LabeledImages, clock: Clock, done: Rehearsal) -> None:
    """Steps at the true batch, or as much of it as time and memory hold."""
    device = clock.engine.device
    description = recognizers.describe(config, train.size, train.channels)
    each = recognizers.kept_per_image(config, description)
    size = config.microbatch if isinstance(config.microbatch, int) else config.batch
    done.device_bytes = max(done.device_bytes, float(each * size))
    there = memory.total_bytes(device)
    clock.rate_of(config)
    if each * size > memory.SHARE * there:
        fits = 2 ** int(np.log2(max(memory.SHARE * there / each, 2)))
        raise RuntimeError(
            f"a step of {size} images keeps about {each * size / GIB:,.0f} GiB, {there / GIB:,.0f} GiB are there; "
            f"set recognizer.microbatch=auto or {min(fits, size)}"
        )


def _generator(config: Generator, train: LabeledImages, clock: Clock, done: Rehearsal) -> None:
    """The same of the generator, whose microbatch follows from the memory."""
    size = generators.fitting(config, train, clock.engine)
    done.device_bytes = max(done.device_bytes, float(size * generators.kept_per_image(config, train)))
    clock.rate_of(config)


def _checkpoint(config: Generator, train: LabeledImages, clock: Clock, done: Rehearsal) -> None:
    """The generator's whole state with its moments and averages, written and read back."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in EDM2(**generators.network(config, train)).parameters())
    whole = 4.0 * parameters * (3 + len(config.ema))
    done.disk += 2 * whole
    if 2.5 * whole > memory.free_bytes(torch.device("cpu")):
        done.say(f"    of {whole / GIB:.1f} GiB, which this machine's free memory does not hold twice: left out")
        return
    state = training.start(generators.make(config, train).to(clock.engine.device), config.ema)
    for parameter in state.net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    state.optimizer.zero_grad()
    work, start = Work(done.folder, done.runtime, "checkpoint"), time.monotonic()
    resume.TrainingCheckpoint(work, state).save()
    took = time.monotonic() - start
    wanted = {name: float(value.double().sum()) for name, value in state.net.state_dict().items()}
    del state
    other = training.start(generators.make(config.model_copy(update={"seed": 1}), train), config.ema)
    resume.TrainingCheckpoint(work, other)
    shutil.rmtree(work.progress)
    if wanted != {name: float(value.double().sum()) for name, value in other.net.state_dict().items()}:
        raise RuntimeError("what was read back is not what was written")
    often = max(took / resume.SHARE, done.runtime.checkpoint_seconds)
    done.say(f"    {whole / GIB:.2f} GiB, written in {duration(took)}, once in {duration(often)}")


def _timed(steps: Sequence[Step], clock: Clock, done: Rehearsal) -> None:
    """Seconds and network evaluations of every step, from the rates; failures of some leave the others."""
    for step in steps:
        if done.failed("generator") and step.stage in ("generator", "sample", "search", "magnitudes", "illustrate"):
            continue
        try:
            spent = OTHERS + clock.seconds(step)
            done.evaluations += clock.evaluations(step)
        except (ValueError, RuntimeError) as error:
            if (line := f"{step.label}: {error}") not in done.failures:
                done.failures.append(line)
            continue
        done.seconds[step.stage] = done.seconds.get(step.stage, 0.0) + spent
    for name, measured in clock.sizes.items():
        done.sure[{"sampling": "sample"}.get(name, name.partition(" ")[0])] = measured.in_words()


def _face_set(faces: FaceSet, config: Recognizer, train: LabeledImages, clock: Clock, done: Rehearsal) -> None:
    """Opens a public set, reads some of its images, and counts what embedding all of them takes."""
    faces.images.check()
    read = next(faces.images.blocks(0, min(EMBEDDED, len(faces.images)), train.size, 1))
    net = recognizers.start(
        config, recognizers.describe(config, train.size, train.channels), 2, clock.engine.device
    ).net
    x = torch.from_numpy(np.ascontiguousarray(with_channels(np.asarray(read), train.channels).transpose(0, 3, 1, 2)))
    embed(net, x, batch=2)
    start = time.monotonic()
    embed(net, x, batch=len(x))
    clock.engine.synchronize()
    done.seconds[f"set {faces.name}"] = (time.monotonic() - start) / len(x) * 2 * len(faces.images)
    done.sure[f"set {faces.name}"] = f"{len(x)} of {len(faces.images):,} images; both sides of each, for one recognizer"


def _disk(steps: Sequence[Step], clock: Clock, done: Rehearsal) -> None:
    """What the run's images and networks take; RuntimeError where they do not fit."""
    pixels = float(np.prod(clock.stored.shape[1:]))
    done.disk += len(clock.stored) * pixels
    for step in steps:
        if step.stage in ("sample", "pixels", "screen", "combine"):
            done.disk += clock.images(step.key) * pixels * (2 if step.stage == "sample" else 1)
        if step.stage == "generator":
            config = Generator.model_validate(step.config)
            with torch.device("meta"):
                net = EDM2(**generators.network(config, clock.train))
            done.disk += 4 * sum(p.numel() for p in net.parameters()) * len(config.ema) * (config.snapshots + 1)
        if step.stage == "recognizer":
            of = Recognizer.model_validate(step.config)
            wanted = recognizers.describe(of, clock.stored.size, clock.stored.channels)
            done.disk += 4 * recognizers.parameters_of(
                wanted, 2 * len(clock.train.class_names)
            )  # the head, and its centers
    free = shutil.disk_usage(done.folder).free
    if done.disk > free:
        raise RuntimeError(f"the run writes about {done.disk / GIB:,.0f} GiB, {free / GIB:,.0f} GiB are free")


def table(done: Rehearsal, price: float | None) -> list[str]:
    """What the true run needs, line by line."""
    total = sum(done.seconds.values())
    lines = [f"the run of {done.exp.name} here, on one device:"]
    for stage, seconds in sorted(done.seconds.items(), key=lambda item: -item[1]):
        euros = "" if price is None else f"{seconds / 3600 * price:>15,.2f} euros"
        basis = f"  from {done.sure[stage]}" if stage in done.sure else ""
        lines.append(f"  {stage:<16}{duration(seconds):>13}{euros}{basis}")
    euros = "" if price is None else f"{total / 3600 * price:>15,.2f} euros"
    lines.append(f"  {'together':<16}{duration(total):>13}{euros}")
    lines.append(
        f"  {done.evaluations:,} network evaluations; {done.disk / GIB:,.1f} GiB on disk; a training step keeps "
        f"{done.device_bytes / GIB:,.1f} GiB beside its network; this rehearsal took {peak_mib() / 1024:,.1f} GiB of memory"
    )
    return lines
