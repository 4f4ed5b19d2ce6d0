"""How long what is left will take, from a few seconds of the real loops on this machine."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from scoremix.config import Generator, PixelMixing, Recognizer, Runtime, Sampling, Search, Selection
from scoremix.data import images as imagesets
from scoremix.diffusion.unet import frozen
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.store import Step, Store
from scoremix.execution.torchrun import processes
from scoremix.stages.mix.plan import evaluations, guide_for, sample
from scoremix.stages.mix.select import default_count
from scoremix.stages.mix.weights import images_of_each, kept_of_each
from scoremix.stages.show import illustrate, magnitudes
from scoremix.stages.train import generator as generator_stage
from scoremix.stages.train import recognizer as recognizer_stage

WARM, TIMED, SHORT = 3, 8, 3  # steps
LONGEST = 4.0  # seconds of one measurement: a busy machine gives a rougher estimate, not a long wait
FEW = 2  # images of a first, short measurement; batch statistics need two
ENOUGH = 20_000  # images of a measurement
GROWTH = 8  # times as many in the next one, at most
FORWARD = 1 / 3  # of a training step is the pass through the network
PAIR = 4e-7  # seconds that a pair of evaluated images costs, all draws of classes together
OTHERS = 1.0  # seconds of a stage that neither trains nor samples, and of any stage's start and end


def estimate(
    real: Artifact,
    plans: Iterable[Step],
    todo: Sequence[Step],
    runtime: Runtime,
    store: Store | None = None,
    known: Mapping[str, int] = {},
    rates: dict[str, float] | None = None,
) -> dict[str, float]:
    """Seconds by key of the steps `todo`, some of all `plans`; several processes share the work without loss.

    `known`: images in finished artifacts that are not planned, by key; `rates`: those measured before on the same images,
    which are added to.
    """
    stored = imagesets.LabeledImages.load(real.folder)
    done = {step.key: store.artifact(step).share_done for step in todo} if store else {}
    by_key, measured = {plan.key: plan for plan in plans}, {} if rates is None else rates
    return seconds_of(Clock(by_key, stored, runtime, known, done, measured), todo)


def seconds_of(clock: Clock, todo: Iterable[Step]) -> dict[str, float]:
    """Seconds by key of some steps, what they have done already left out."""
    shared = {"recognizer", "generator", "sample"}
    return {p.key: OTHERS + clock.left(p) / (processes() if p.stage in shared else 1) for p in todo}


@dataclass
class Clock:
    """Sizes follow from the plans alone; rates are measured once each, when a step first needs one."""

    plans: dict[str, Step]
    stored: imagesets.LabeledImages
    runtime: Runtime
    known: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, float] = field(default_factory=dict)  # shares of steps, by key
    rates: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, MeasuredSteps] = field(default_factory=dict)  # how each rate was measured

    def __post_init__(self) -> None:
        self.train = self.stored.of_classes("train")
        each = max(
            1, ENOUGH // len(self.train.counts)
        )  # a rate does not ask for all images, reading them would take long
        self.few = replace(self.train, counts=np.minimum(self.train.counts, each))

    @functools.cached_property
    def engine(self) -> engine.Engine:
        return engine.start(self.runtime.device)

    def left(self, plan: Step) -> float:
        """Seconds of a step but for what of it is done already."""
        return self.seconds(plan) * (1 - self.done.get(plan.key, 0.0))

    def seconds(self, plan: Step) -> float:
        match plan.stage:
            case "recognizer":
                config = Recognizer.model_validate(plan.config)
                return self.rate_of(config) * config.epochs * self.images(plan.inputs["1"])
            case "generator":
                generator = Generator.model_validate(plan.config)
                seconds = generator.length * self.rate_of(generator)
                if generator.align:  # through the recognizer and back: about a step of its own training
                    teacher = Recognizer.model_validate(self.plans[plan.inputs["1"]].config)
                    seconds += (1 - generator.align.start) * generator.length * self.rate_of(teacher)
                return seconds
            case "sample" | "search":
                return self._sampled(plan.inputs["0"], *self._job(plan))
            case "magnitudes":
                sampling, chosen = Sampling.model_validate(plan.config), self.mixed(plan.inputs["1"])
                images = min(sampling.chunk, self.images(plan.inputs["2"]))
                return self._evaluated(plan.inputs["0"], sampling, 1, magnitudes.evaluations(chosen) * images)
            case "illustrate":
                sampling, chosen = Sampling.model_validate(plan.config), self.mixed(plan.inputs["2"])
                rows = min(illustrate.ROWS, self.mplets(plan.inputs["2"]))
                cells = len(illustrate.TICKS) ** 2 if chosen == 2 else 0
                alone = self._sampled(plan.inputs["1"], sampling, 1, rows * chosen)
                return alone + self._sampled(plan.inputs["1"], sampling, chosen, cells)
            case "evaluate":
                images = min(int(plan.config["images"]), self.evaluated(plan))
                recognizer = Recognizer.model_validate(self.plans[plan.inputs["1"]].config)
                return PAIR * float(images) ** 2 / 2 + FORWARD * images * self.rate_of(recognizer)
            case _:
                return 0.0

    def rate_of(self, config: Recognizer | Generator) -> float:
        """Seconds of training per image."""
        config = config.model_copy(update={"seed": 0})
        measure = partial(self._recognizer if isinstance(config, Recognizer) else self._generator, config)  # type: ignore[arg-type]
        return self._rate(
            type(config).__name__, config.model_dump_json(exclude={"epochs", "images_seen", "snapshots"}), measure
        )

    def evaluations(self, plan: Step) -> int:
        """Network evaluations of a step."""
        if plan.stage not in ("sample", "search"):
            return 0
        sampling, m, images = self._job(plan)
        return images * evaluations(sampling, 1 if sampling.mixture == "turns" else m)

    def _job(self, plan: Step) -> tuple[Sampling, int, int]:
        """How a step samples, of how many classes each, and how many images."""
        if plan.stage == "sample":
            return Sampling.model_validate(plan.config), self.mixed(plan.inputs["1"]), self.images(plan.key)
        search = Search.model_validate(plan.config)
        sampling, cells = search.sampling or Sampling(), search.points * (search.points + 1) // 2
        chunks = math.ceil(search.pairs * search.images_per_pair / sampling.chunk)
        return sampling, 2, cells * chunks * sampling.chunk

    def images(self, key: str) -> int:
        """Training images in an artifact of images that may not exist yet."""
        if key in self.known:
            return self.known[key]
        plan = self.plans[key]
        match plan.stage:
            case "sample" | "pixels":
                config = (Sampling if plan.stage == "sample" else PixelMixing).model_validate(plan.config)
                each = images_of_each(config, int(np.median(self.train.counts)))
                return self.mplets(plan.inputs["1"]) * each
            case "screen":
                mplets = self.mplets(self.plans[plan.inputs["0"]].inputs["1"])
                drawn = self.images(plan.inputs["0"]) // mplets
                return mplets * kept_of_each(drawn, float(plan.config["candidates"]))
            case "leaks":
                return self.images(plan.inputs["0"])
            case "fold":  # all but one of the folds train
                return self.in_folds - self.in_folds // int(plan.config["of"])
            case "without":
                return int(self.images(plan.inputs["0"]) * (1 - 1 / int(plan.config["of"])) ** 2)
            case "combine":
                added = self.images(plan.inputs["1"])
                return added + (self.images(plan.inputs["0"]) if plan.config["real"] else 0)
            case _:
                return len(self.train)

    @property
    def in_folds(self) -> int:
        """Images of the classes that folds are made of."""
        return len(self.train) + len(self.stored.of_classes("validation"))

    def evaluated(self, plan: Step) -> int:
        """Images of the classes that a recognizer is measured on."""
        fold = self.plans.get(plan.inputs["0"])
        if fold is not None and fold.stage == "fold":
            return self.in_folds // int(fold.config["of"])
        return len(self.stored.of_classes(plan.config["classes"]))

    def networks(self, key: str) -> tuple[Generator, Generator]:
        """The generator and its guide, which is mostly the same network."""
        plan = self.plans[key]
        if plan.stage == "guide":
            return self.networks(plan.inputs["0"])[0], Generator.model_validate(plan.config)
        config = Generator.model_validate(plan.config)
        return config, config

    def mplets(self, key: str) -> int:
        """m-plets in a selection that may not exist yet."""
        selection, classes = Selection.model_validate(self.plans[key].config), len(self.train.class_names)
        count = selection.count or default_count(classes, selection.mixed)
        return min(count, classes) if selection.strategy == "each" else count

    def _rate(self, of: str, key: str, measure: Callable[[], float]) -> float:
        key = f"{of} {key}"
        if key not in self.rates:
            self.rates[key] = measure()
        return self.rates[key]

    def mixed(self, key: str) -> int:
        """Classes of an m-plet of a selection that may not exist yet."""
        return Selection.model_validate(self.plans[key].config).mixed

    def _sampled(self, generator: str, sampling: Sampling, m: int, images: int) -> float:
        """Seconds of sampling that many images of m-plets."""
        m = 1 if sampling.mixture == "turns" else m
        chunks = math.ceil(images / sampling.chunk)
        return self._evaluated(generator, sampling, m, chunks * sampling.chunk * evaluations(sampling, m))

    def _evaluated(self, generator: str, sampling: Sampling, m: int, count: int) -> float:
        """Seconds of that many network evaluations of images, in chunks."""
        if self.plans[generator].stage == "adopt":
            return 0.0  # a model of diffusers: not measured, and said so
        of, guide = self.networks(generator)
        key = json.dumps([_network(of), _network(guide), sampling.chunk, sampling.precision, sampling.mixture, m])
        return math.ceil(count / sampling.chunk) * self._rate(
            "sample", key, lambda: self._sampling(of, guide, sampling, m)
        )

    def _recognizer(self, config: Recognizer) -> float:
        """Seconds per image, of one process's part of a batch."""

        def steps(batch: int, microbatch: int | None) -> Iterable[object]:
            sized = config.model_copy(update={"batch": batch, "microbatch": microbatch})
            return recognizer_stage.steps(sized, self.few, self.engine, (WARM + TIMED) * batch)

        part = config.batch // processes()
        fits = None if config.microbatch == "auto" else config.microbatch
        return self._step(f"recognizer {config.network}", part, fits, steps) / part

    def _generator(self, config: Generator) -> float:
        """Seconds per image, of one process's part of a batch."""

        def steps(batch: int, microbatch: int | None) -> Iterable[object]:
            sized = config.model_copy(update={"batch": batch})
            total = (WARM + TIMED) * batch
            return generator_stage.steps(sized, self.few, self.engine, total, microbatch=microbatch)

        part = config.batch // processes()
        fits = generator_stage.fitting(config, self.train, self.engine)
        return self._step("generator", part, fits, steps) / part

    def _step(
        self, name: str, batch: int, fits: int | None, steps: Callable[[int, int | None], Iterable[object]]
    ) -> float:
        """Seconds of a training step of `batch` images, of which `fits` have their gradients made at a time.

        A step that takes longer than a measurement may is that of fewer images, and of twice as many in two parts.
        """
        size = min(1 if name == "generator" else FEW, batch)
        whole = min(batch, fits or batch)
        one = self._timed(steps(size, None), SHORT)
        while size < whole and one < LONGEST / 2:
            size = min(size * grown(one), whole)
            one = self._timed(steps(size, None), WARM + TIMED if size == whole else SHORT)
        self.sizes[name] = MeasuredSteps(size, batch, fits or batch)
        if size == batch:
            return one
        return one + max(self._timed(steps(2 * size, size)) - one, 0.0) * (batch / size - 1)

    def _sampling(self, of: Generator, guide: Generator, sampling: Sampling, m: int) -> float:
        """Seconds per network evaluation of a chunk, by an untrained network."""
        main, weaker = (
            frozen(generator_stage.make(config, self.few, sampling.precision).to(self.engine.device))
            for config in (of, guide)
        )

        def evaluation(rows: int, steps: int) -> float:
            labels = torch.arange(m, device=self.engine.device).expand(rows, m)
            plan = sampling.model_copy(update={"steps": steps, "chunk": rows})
            start = time.monotonic()
            sample(main, guide_for(plan, weaker), labels, (1 / m,) * m, range(rows), plan)
            self.engine.synchronize()
            return (time.monotonic() - start) / evaluations(plan, m)

        rows, start = 1, time.monotonic()
        one = evaluation(rows, 2)
        calls = evaluations(sampling.model_copy(update={"steps": 4}), m)
        while rows < sampling.chunk and one * calls < LONGEST / 2:
            rows = min(rows * grown(one * calls), sampling.chunk)
            one = evaluation(rows, 4)
        self.sizes["sampling"] = MeasuredSteps(rows, sampling.chunk, sampling.chunk)
        times = [one]
        while len(times) < 3 and time.monotonic() - start < LONGEST:
            times.append(evaluation(rows, 4))
        return min(times) * sampling.chunk / rows

    def _timed(self, steps: Iterable[object], count: int = WARM + TIMED) -> float:
        """Median seconds of a step, of at most `count`, the first few aside; of few steps the shortest."""
        ends: list[float] = []
        for _ in steps:
            self.engine.synchronize()
            ends.append(time.monotonic())
            if len(ends) == count or (len(ends) > 1 and ends[-1] - ends[0] > LONGEST):
                break
        steps_taken = np.diff(ends)
        return float(np.median(steps_taken[WARM:]) if len(steps_taken) > 2 * WARM else steps_taken.min())


def _network(config: Generator) -> str:
    """What of a generator decides the time of a step."""
    return config.model_copy(update={"images_seen": 1, "snapshots": 0, "seed": 0}).model_dump_json()


def grown(seconds: float) -> int:
    """How many times as many images a measurement may have, after one that took so long."""
    return max(2, min(GROWTH, int(LONGEST / max(seconds, 1e-6))))


class MeasuredSteps(NamedTuple):
    """Images that a rate was measured with, those of the true step, and those whose gradients are made at a time."""

    images: int
    of: int
    microbatch: int

    def in_words(self) -> str:
        if self.images == self.of:
            return f"whole steps of {self.of:,} images"
        return f"steps of {self.images:,} of {self.of:,} images, {self.microbatch:,} of which the memory holds"
