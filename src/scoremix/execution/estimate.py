"""How long what is left will take, from a few seconds of the real loops on this machine."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.config import Generator, PixelMixing, Recognizer, Sampling, Search, Selection
from scoremix.data import images as imagesets
from scoremix.diffusion.unet import frozen
from scoremix.execution import processes as engine
from scoremix.execution.torchrun import processes
from scoremix.stages.mix.plan import evaluations, sample
from scoremix.stages.mix.select import default_count
from scoremix.stages.mix.weights import images_of_each, kept_of_each
from scoremix.stages.train import generator as generator_stage
from scoremix.stages.train import recognizer as recognizer_stage

if TYPE_CHECKING:
    from scoremix.config import Runtime
    from scoremix.execution.artifacts import Artifact, Step

WARM, TIMED = 3, 8  # steps
LONGEST = 4.0  # seconds of one measurement: a busy machine gives a rougher estimate, not a long wait
PAIR = 4e-7  # seconds that a pair of evaluated images costs, all draws of classes together
OTHERS = 1.0  # seconds of a stage that neither trains nor samples, and of any stage's start and end


def estimate(
    real: Artifact,
    plans: Iterable[Step],
    todo: Iterable[Step],
    runtime: Runtime,
    known: Mapping[str, int] = {},
    rates: dict[str, float] | None = None,
) -> dict[str, float]:
    """Seconds by key of the steps `todo`, some of all `plans`; several processes share the work without loss.

    `known`: images in finished artifacts that are not planned, by key; `rates`: those measured before on the same images,
    which are added to.
    """
    clock = Clock({plan.key: plan for plan in plans}, real, runtime, known, {} if rates is None else rates)
    shared = {"recognizer", "generator", "sample"}
    return {p.key: OTHERS + clock.seconds(p) / (processes() if p.stage in shared else 1) for p in todo}


@dataclass
class Clock:
    """Sizes follow from the plans alone; rates are measured once each, when a step first needs one."""

    plans: dict[str, Step]
    real: Artifact
    runtime: Runtime
    known: Mapping[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stored = imagesets.LabeledImages.load(self.real.folder)
        self.train = self.stored.of_classes("train")

    @functools.cached_property
    def engine(self) -> engine.Engine:
        return engine.start(self.runtime.device)

    def seconds(self, plan: Step) -> float:
        match plan.stage:
            case "recognizer":
                config = Recognizer.model_validate({**plan.config, "seed": 0})
                rate = self._rate(plan, config.model_dump_json(), lambda: self._recognizer(config))
                return rate * config.epochs * self.images(plan.inputs["1"])
            case "generator":
                generator = Generator.model_validate(plan.config)
                seconds = generator.images_seen * self._rate(
                    plan, _network(generator), lambda: self._generator(generator)
                )
                if generator.align:  # through the recognizer and back: about a step of its own training
                    config = Recognizer.model_validate({**self.plans[plan.inputs["1"]].config, "seed": 0})
                    rate = self._rate(plan, config.model_dump_json(), lambda: self._recognizer(config))
                    seconds += (1 - generator.align.start) * generator.images_seen * rate
                return seconds
            case "sample":
                sampling = Sampling.model_validate(plan.config)
                m = Selection.model_validate(self.plans[plan.inputs["1"]].config).mixed
                return self._sampled(plan, sampling, m, self.images(plan.key))
            case "search":
                search = Search.model_validate(plan.config)
                cells = search.points * (search.points + 1) // 2
                sampling = search.sampling or Sampling()
                chunks = math.ceil(search.pairs * search.images_per_pair / sampling.chunk)
                return self._sampled(plan, sampling, 2, cells * chunks * sampling.chunk)
            case "evaluate":
                images = min(plan.config["images"], len(self.stored.of_classes(plan.config["classes"])))
                return PAIR * float(images) ** 2 / 2
            case _:
                return 0.0

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
            case "combine":
                added = self.images(plan.inputs["1"])
                return added + (self.images(plan.inputs["0"]) if plan.config["real"] else 0)
            case _:
                return len(self.train)

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

    def _rate(self, plan: Step, key: str, measure: Callable[[], float]) -> float:
        key = f"{plan.stage} {key}"
        if key not in self.rates:
            self.rates[key] = measure()
        return self.rates[key]

    def _sampled(self, plan: Step, sampling: Sampling, m: int, images: int) -> float:
        """Seconds of sampling that many images of m-plets."""
        m = 1 if sampling.mixture == "turns" else m
        of, guide = self.networks(plan.inputs["0"])
        key = json.dumps([_network(of), _network(guide), sampling.chunk, sampling.precision, sampling.mixture, m])
        rate = self._rate(plan, key, lambda: self._sampling(of, guide, sampling, m))
        return math.ceil(images / sampling.chunk) * evaluations(sampling, m) * rate

    def _recognizer(self, config: Recognizer) -> float:
        """Seconds per image, of one process's part of a batch."""
        config = config.model_copy(update={"batch": config.batch // processes()})
        steps = recognizer_stage.steps(config, self.train, self.engine, (WARM + TIMED) * config.batch)
        return self._timed(steps) / config.batch

    def _generator(self, config: Generator) -> float:
        """Seconds per image, of one process's part of a batch."""
        config = config.model_copy(update={"batch": config.batch // processes()})
        steps = generator_stage.steps(config, self.train, self.engine, (WARM + TIMED) * config.batch)
        return self._timed(steps) / config.batch

    def _sampling(self, of: Generator, guide: Generator, sampling: Sampling, m: int) -> float:
        """Seconds per network evaluation of a chunk, by an untrained network."""
        main, weaker = (
            frozen(generator_stage.make(config, self.train, sampling.precision).to(self.engine.device))
            for config in (of, guide)
        )
        labels = torch.arange(m, device=self.engine.device).expand(sampling.chunk, m)
        plan = sampling.model_copy(update={"steps": 4})

        def chunk() -> float:
            start = time.monotonic()
            sample(main, weaker, labels, (1 / m,) * m, range(sampling.chunk), plan)
            self.engine.synchronize()
            return (time.monotonic() - start) / evaluations(plan, m)

        start, times = time.monotonic(), [chunk()]
        while len(times) < 3 and time.monotonic() - start < LONGEST:
            times.append(chunk())
        return min(times)

    def _timed(self, steps: Iterable[object]) -> float:
        """Median seconds of a step, the first few aside."""
        ends: list[float] = []
        for _ in steps:
            self.engine.synchronize()
            ends.append(time.monotonic())
            if len(ends) > 2 and ends[-1] - ends[0] > LONGEST:
                break
        return float(np.median(np.diff(ends[min(WARM, len(ends) - 2) :])))


def _network(config: Generator) -> str:
    """What of a generator decides the time of a step."""
    return config.model_copy(update={"images_seen": 1, "snapshots": 0, "seed": 0}).model_dump_json()
