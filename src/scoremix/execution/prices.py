"""What ways of sampling cost on this machine, and how far their images are from the faithful mix's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.config import Experiment, Runtime, SamplingPlan, Selection
from scoremix.data.augment import to_uint8
from scoremix.data.images import LabeledImages
from scoremix.data.source import Advance
from scoremix.diffusion.adapters import Adapted
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.denoisers import preserving
from scoremix.diffusion.foreign import Latents
from scoremix.diffusion.unet import EDM2, frozen
from scoremix.execution import processes as engine
from scoremix.execution import runner
from scoremix.execution.artifacts import Artifact
from scoremix.execution.records import source_of, step_folder
from scoremix.execution.store import Store
from scoremix.execution.timing import Clock
from scoremix.execution.work import Work
from scoremix.outputs.networks import CHECKPOINT
from scoremix.recognition import checkpoints
from scoremix.report.numbers import terminal
from scoremix.stages.embedding import embedded_pixels
from scoremix.stages.mix.plan import evaluations, guide_for, sample
from scoremix.stages.mix.sample import Sampler
from scoremix.stages.mix.weights import weights_for
from scoremix.stages.train.generator import make

FAITHFUL, AUGGEN, CONFIGURED = "faithful", "AugGen", "as configured"
ECONOMY_INTERVAL = (0.3, 8.0)  # of sigma, for images of standard deviation 0.5: where the classes' estimates differ


@dataclass(frozen=True)
class TimedSubject:
    """What is timed: networks, m-plets and their noise; a recognizer where one is trained."""

    main: EDM2 | Adapted
    guide: EDM2 | Adapted
    pixels: Pixels | Latents
    labels: Tensor  # (n, m)
    weights: Tensor  # (n, m)
    seeds: list[int]
    recognizer: torch.nn.Module | None
    images_of_job: int


@dataclass(frozen=True)
class PlanPrice:
    """One plan: its price here, and where it is measured the distance of its images from the faithful plan's."""

    name: str
    solver: str
    steps: int
    evaluations: int
    seconds_per_image: float
    hours: float
    times_auggen: float  # seconds over AugGen's of the same round, with the same solver and steps: median
    pixel_distance: float | None = None  # root mean square in [-1, 1]
    nearer_than_auggen: float | None = None  # share of images nearer to the faithful ones than AugGen's
    similarity: float | None = None  # cosine of the baseline recognizer's embeddings


def varied(plan: SamplingPlan, **changes: Any) -> SamplingPlan:
    """The plan with other settings."""
    return plan.model_copy(update=changes)


def candidates(plan: SamplingPlan) -> dict[str, SamplingPlan]:
    """The plan made faithful, and cheaper ones, each once; what AugGen could use too (another solver) is there for both."""
    faithful = varied(plan.alone, mixture="scores", guide_interval=None, mixing_interval=None)
    faithful = faithful if plan.guide == "unconditional" else varied(faithful, guide="each")
    shared = faithful if plan.guide == "unconditional" else varied(faithful, guide="condition")
    auggen = varied(faithful, mixture="conditions", weights_end=None)
    economy = varied(shared, mixing_interval=ECONOMY_INTERVAL)
    all_plans = {FAITHFUL: faithful, "guide once": shared, "economy": economy, AUGGEN: auggen}
    for name in (FAITHFUL, "economy", AUGGEN):
        all_plans[f"{name}, dpm2m"] = varied(all_plans[name], solver="dpm2m", churn=0.0, eta=0.0)
    once: dict[str, SamplingPlan] = {}
    for name, one in all_plans.items():
        if one not in once.values():
            once[name] = one
    return once if plan in once.values() else {CONFIGURED: plan, **once}


def priced(
    exp: Experiment, subject: TimedSubject, runtime: Runtime, rounds: int, measure: bool, advance: Advance
) -> list[PlanPrice]:
    """Every candidate plan's price from `rounds` runs of the subject's images each, and with `measure` its distance."""
    plans = candidates(exp.sampling)
    n, m = subject.labels.shape

    def run(name: str, plan: SamplingPlan) -> Tensor:
        auggen = plan.mixture == "conditions" and name != CONFIGURED
        weights = preserving(subject.weights) if auggen else subject.weights
        return sample(subject.main, subject.guide, subject.labels, weights, subject.seeds, plan).images

    seconds, images = timed({name: partial(run, name, plan) for name, plan in plans.items()}, runtime, rounds, advance)
    rows = []
    for name, plan in plans.items():
        rival = next((k for k, p in plans.items() if AUGGEN in k and p.solver == plan.solver), AUGGEN)
        each = statistics.median(seconds[name]) / n
        times = statistics.median(own / its for own, its in zip(seconds[name], seconds[rival], strict=True))
        row = PlanPrice(
            name, plan.solver, plan.steps, evaluations(plan, m), each, each * subject.images_of_job / 3600, times
        )
        rows.append(replace(row, **distances(subject, images, name)) if measure else row)
    return rows


def timed(
    functions: Mapping[str, Callable[[], Tensor]], runtime: Runtime, rounds: int, advance: Advance
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of each in every round, called in turns after one call for warming up, and what they return."""
    device = engine.start(runtime.device)
    times: dict[str, list[float]] = {name: [] for name in functions}
    results, calls = {}, (rounds + 1) * len(functions)
    for k in range(rounds + 1):
        for i, (name, function) in enumerate(functions.items()):
            device.synchronize()
            start = time.monotonic()
            images = function()
            device.synchronize()
            if k:
                times[name].append(time.monotonic() - start)
            else:
                results[name] = images
            advance(k * len(functions) + i + 1, calls)
    return times, results


def distances(subject: TimedSubject, images: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """How far images are from the faithful plan's, which start from the same noise."""
    decoded = {key: subject.pixels.decode(images[key]).clamp(-1, 1) for key in (FAITHFUL, AUGGEN, name)}
    away, auggen_away = (
        (decoded[key] - decoded[FAITHFUL]).flatten(1).square().mean(1).sqrt() for key in (name, AUGGEN)
    )
    similarity = None
    if subject.recognizer is not None:
        a, b = (embedded_pixels(subject.recognizer, to_uint8(decoded[key]).cpu().numpy()) for key in (name, FAITHFUL))
        similarity = float((a * b).sum(1).mean())
    nearer = None if name == AUGGEN else float((away < auggen_away).double().mean())
    return {"pixel_distance": float(away.mean()), "nearer_than_auggen": nearer, "similarity": similarity}


def trained(exp: Experiment, runtime: Runtime, store: Store, n: int) -> TimedSubject:
    """The networks and m-plets of a run; ConfigError where it has no generator yet."""
    real = Artifact("ingest", "", step_folder(runtime.out, exp.name, "ingest"))
    sampler, classes = sampler_of(exp, runtime)
    try:
        recognizer, _ = checkpoints.load(step_folder(runtime.out, exp.name, "baseline") / CHECKPOINT)
    except ValueError:
        recognizer = None
    labels = torch.from_numpy(classes[np.arange(n) % len(classes)]).to(sampler.device)
    weights, job, seeds = _weights(exp, labels), _job(exp, runtime, store, real), sampler.seeds(np.arange(n))
    return TimedSubject(sampler.main, sampler.guide, sampler.pixels, labels, weights, seeds, recognizer, job)


def sampler_of(exp: Experiment, runtime: Runtime) -> tuple[Sampler, NDArray[np.int64]]:
    """The trained networks of a run, and its m-plets (random ones where none are selected yet)."""
    folder = step_folder(runtime.out, exp.name, "guide" if exp.guide else "generator")
    sampler = Sampler(exp.sampling, Artifact("generator", "", folder), Work(folder, runtime, "plan"))
    try:
        return sampler, np.load(step_folder(runtime.out, exp.name, "select") / "classes.npy")
    except ValueError:
        return sampler, _mplets(exp.selection, sampler.main.label_dim, 100)


def untrained(exp: Experiment, runtime: Runtime, store: Store, n: int) -> TimedSubject:
    """Networks that have learnt nothing: they cost as much."""
    real = runner.run(exp, source_of(exp, runtime.out), runner.Runner(store, runtime, "ingest"))
    train = LabeledImages.load(real.folder).of_classes("train")
    device = engine.start(runtime.device).device
    main, guide = (
        frozen(make(config, train, exp.sampling.precision).to(device))
        for config in (exp.generator, exp.guide or exp.generator)
    )
    labels = torch.from_numpy(_mplets(exp.selection, main.label_dim, n)).to(device)
    job = _job(exp, runtime, store, real)
    return TimedSubject(
        main, guide_for(exp.sampling, guide), Pixels(), labels, _weights(exp, labels), list(range(n)), None, job
    )


def _mplets(selection: Selection, classes: int, n: int) -> NDArray[np.int64]:
    """Some m-plets, where none are selected yet."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(classes)[: selection.mixed] for _ in range(n)])


def _weights(exp: Experiment, labels: Tensor) -> Tensor:
    return torch.tensor(weights_for(exp.sampling, labels.shape[1]), device=labels.device).expand(labels.shape)


def _job(exp: Experiment, runtime: Runtime, store: Store, real: Artifact) -> int:
    """Images the run's mixes are."""
    plans = runner.plan_all(exp, source_of(exp, runtime.out), store)
    key = next(plan.key for plan in plans if plan.label == "sample")
    stored = LabeledImages.load(real.folder)
    return Clock({plan.key: plan for plan in plans}, stored, runtime).images(key)


def table(rows: list[PlanPrice], n: int, job: int) -> str:
    """The plans as text."""
    columns = [("plan", "name", "s"), ("solver", "solver", "s"), ("steps", "steps", "d")]
    columns += [("evaluations", "evaluations", "d"), ("s/image", "seconds_per_image", ".4f"), ("hours", "hours", ".3g")]
    columns += [("x AugGen", "times_auggen", ".2f")]
    lines = [
        f"hours: of the job's {job:,} images; x AugGen: seconds over AugGen's, same solver, steps, guide, precision"
    ]
    if rows[0].pixel_distance is not None:
        columns += [("distance", "pixel_distance", ".4f"), ("nearer than AugGen", "nearer_than_auggen", ".0%")]
        columns += [("similarity", "similarity", ".4f")]
        lines.append(
            f"distance: root mean square of {n} images' pixels in [-1, 1] to the faithful plan's from the same noise; "
            "similarity: cosine of the baseline recognizer's embeddings"
        )
    cells = [[shown(getattr(row, field), form) for _, field, form in columns] for row in rows]
    return "\n".join([terminal([[head for head, *_ in columns], *cells], right=True), *lines])


def shown(value: float | str | None, form: str) -> str:
    """A number or text in a form, nothing where there is none."""
    return "" if value is None else format(value, form)
