"""How long what is left will take, from a few seconds of the real loops on this machine."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix import engine
from scoremix.config import Generator, Recognizer, Sampling, Selection
from scoremix.data import images as imagesets
from scoremix.diffusion.plans import sample
from scoremix.diffusion.unet import frozen
from scoremix.stages import generator as generator_stage
from scoremix.stages import recognizer as recognizer_stage
from scoremix.stages.sample import plan_of

if TYPE_CHECKING:
    from scoremix.artifacts import Artifact, Plan
    from scoremix.config import Runtime

WARM, TIMED = 3, 8  # steps
OTHERS = 1.0  # seconds of a stage that neither trains nor samples, and of any stage's start and end


def estimate(real: Artifact, plans: Iterable[Plan], todo: Iterable[Plan], runtime: Runtime) -> dict[str, float]:
    """Seconds by key of the steps `todo`, some of all `plans`."""
    clock = Clock({plan.key: plan for plan in plans}, real, runtime)
    return {plan.key: OTHERS + clock.seconds(plan) for plan in todo}


@dataclass
class Clock:
    """Sizes follow from the plans alone; rates are measured once each, when a step first needs one."""

    plans: dict[str, Plan]
    real: Artifact
    runtime: Runtime
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.train = imagesets.LabeledImages.load(self.real.folder).of_classes("train")

    @functools.cached_property
    def engine(self) -> engine.Engine:
        return engine.start(self.runtime.device)

    def seconds(self, plan: Plan) -> float:
        match plan.stage:
            case "recognizer":
                config = Recognizer.model_validate({**plan.config, "seed": 0})
                rate = self._rate(plan, config.model_dump_json(), lambda: self._recognizer(config))
                return rate * config.epochs * self.images(plan.inputs["1"])
            case "generator":
                generator = Generator.model_validate(plan.config)
                seconds = generator.images_seen * self._rate(plan, "", lambda: self._generator(generator))
                if generator.align:  # through the recognizer and back: about a step of its own training
                    config = Recognizer.model_validate({**self.plans[plan.inputs["1"]].config, "seed": 0})
                    rate = self._rate(plan, config.model_dump_json(), lambda: self._recognizer(config))
                    seconds += (1 - generator.align.start) * generator.images_seen * rate
                return seconds
            case "sample":
                sampling = Sampling.model_validate(plan.config)
                of = Generator.model_validate(self.plans[plan.inputs["0"]].config)
                m = Selection.model_validate(self.plans[plan.inputs["1"]].config).mixed
                key = json.dumps([plan.inputs["0"], sampling.chunk, sampling.precision, sampling.mixture, m])
                chunks = math.ceil(self.images(plan.key) / sampling.chunk)
                calls = plan_of(sampling).evaluations(m)
                return chunks * calls * self._rate(plan, key, lambda: self._sampling(of, sampling, m))
            case _:
                return 0.0

    def images(self, key: str) -> int:
        """Training images in an artifact of images that may not exist yet."""
        plan = self.plans[key]
        match plan.stage:
            case "sample":
                selection = self.plans[plan.inputs["1"]]
                classes = len(self.train.class_names)
                count = selection.config["count"] or classes
                if selection.config["strategy"] == "each":
                    count = min(count, classes)
                return count * int(plan.config["images_per_mplet"] or np.median(self.train.counts))
            case "combine":
                return sum(self.images(k) for k in plan.inputs.values())
            case _:
                return len(self.train)

    def _rate(self, plan: Plan, key: str, measure: Callable[[], float]) -> float:
        key = f"{plan.stage} {key}"
        if key not in self.rates:
            self.rates[key] = measure()
        return self.rates[key]

    def _recognizer(self, config: Recognizer) -> float:
        """Seconds per image."""
        steps = recognizer_stage.steps(config, self.train, self.engine, (WARM + TIMED) * config.batch)
        return self._timed(steps) / config.batch

    def _generator(self, config: Generator) -> float:
        """Seconds per image."""
        steps = generator_stage.steps(config, self.train, self.engine, (WARM + TIMED) * config.batch)
        return self._timed(steps) / config.batch

    def _sampling(self, config: Generator, sampling: Sampling, m: int) -> float:
        """Seconds per network evaluation of a chunk, by an untrained network."""
        net = frozen(generator_stage.make(config, self.train, sampling.precision).to(self.engine.device))
        labels = torch.arange(m, device=self.engine.device).expand(sampling.chunk, m)
        plan = plan_of(sampling.model_copy(update={"steps": 2}))

        def chunk() -> float:
            start = time.monotonic()
            sample(net, net, labels, sampling.weights_for(m), range(sampling.chunk), plan)
            self.engine.synchronize()
            return (time.monotonic() - start) / plan.evaluations(m)

        return min(chunk() for _ in range(3))

    def _timed(self, steps: Iterable[object]) -> float:
        """Median seconds of a step, the first few aside."""
        ends = []
        for _ in steps:
            self.engine.synchronize()
            ends.append(time.monotonic())
        return float(np.median(np.diff(ends[WARM:])))
