"""`scoremix plan`: what ways of sampling cost on this machine, and how far their images are from the faithful mix's."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.config import Experiment, Runtime, Selection
from scoremix.config.arms import ECONOMY_INTERVAL
from scoremix.data.augment import to_uint8
from scoremix.data.images import LabeledImages
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.denoisers import preserving
from scoremix.diffusion.plans import Plan, sample
from scoremix.diffusion.unet import EDM2, frozen
from scoremix.execution import processes as engine
from scoremix.execution import records, runner
from scoremix.execution.artifacts import Artifact, Store, Work, write_file
from scoremix.execution.estimate import Clock
from scoremix.execution.runner import decided
from scoremix.recognition import checkpoints as recognition
from scoremix.stages.judge.embeddings import embedded_pixels
from scoremix.stages.mix.sample import Sampler, plan_of, weights_for
from scoremix.stages.train.generator import make

FAITHFUL, AUGGEN = "faithful", "AugGen"


@dataclass(frozen=True)
class Subject:
    """What is timed: networks, m-plets and their noise; a recognizer where one is trained."""

    main: EDM2
    guide: EDM2
    pixels: Pixels
    labels: Tensor  # (n, m)
    weights: Tensor  # (n, m)
    seeds: list[int]
    recognizer: torch.nn.Module | None
    images_of_job: int


@dataclass(frozen=True)
class Row:
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


def candidates(plan: Plan) -> dict[str, Plan]:
    """The plan made faithful, and cheaper ones, each once; what AugGen could use too (another solver) is there for both."""
    faithful = replace(plan, mixture="scores", guide_interval=None, mixing_interval=None)
    faithful = faithful if plan.guide == "unconditional" else replace(faithful, guide="each")
    shared = faithful if plan.guide == "unconditional" else replace(faithful, guide="condition")
    auggen = replace(faithful, mixture="conditions", weights_end=None)
    economy = replace(shared, mixing_interval=ECONOMY_INTERVAL)
    found = {FAITHFUL: faithful, "guide once": shared, "economy": economy, AUGGEN: auggen}
    fast = {f"{name}, dpm2m": replace(found[name], solver="dpm2m", churn=0.0) for name in (FAITHFUL, "economy", AUGGEN)}
    once: dict[str, Plan] = {}
    for name, one in {**found, **fast}.items():
        if one not in once.values():
            once[name] = one
    return once if plan in once.values() else {"as configured": plan, **once}


def show_plans(
    exp: Experiment, runtime: Runtime, store: Store, measure: bool, images: int | None, rounds: int, to: Path | None
) -> list[Row]:
    """Prints one line per candidate plan, from `rounds` runs of a chunk of images each; returns them.

    With `measure` the run's trained networks are used and images compared; without, untrained ones will do.
    ConfigError where a run to measure has no generator yet.
    """
    exp = decided(exp, runtime.device)
    config = exp.sampling
    n = images or config.chunk
    subject = trained(exp, runtime, store, n) if measure else untrained(exp, runtime, store, n)
    plans = candidates(plan_of(config))
    m = subject.labels.shape[1]

    def run(name: str, plan: Plan) -> Tensor:
        auggen = plan.mixture == "conditions" and name != "as configured"
        weights = preserving(subject.weights) if auggen else subject.weights
        return sample(subject.main, subject.guide, subject.labels, weights, subject.seeds, plan)

    seconds, made = timed({name: partial(run, name, plan) for name, plan in plans.items()}, runtime, rounds)
    rows = []
    for name, plan in plans.items():
        rival = next((k for k, p in plans.items() if AUGGEN in k and p.solver == plan.solver), AUGGEN)
        each = statistics.median(seconds[name]) / n
        times = statistics.median(own / its for own, its in zip(seconds[name], seconds[rival], strict=True))
        row = Row(name, plan.solver, plan.steps, plan.evaluations(m), each, each * subject.images_of_job / 3600, times)
        rows.append(replace(row, **distances(subject, made, name)) if measure else row)
    print(table(rows, n, subject.images_of_job))
    if to:
        where = {
            "device": str(engine.start(runtime.device).device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        of = {"run": exp.name, "images": n, "rounds": rounds, "precision": config.precision, **where}
        write_file(to, json.dumps({**of, "plans": [asdict(row) for row in rows]}, indent=1) + "\n")
    return rows


def timed(
    functions: dict[str, Callable[[], Tensor]], runtime: Runtime, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of each in every round, called in turns after one call for warming up, and what they return."""
    device = engine.start(runtime.device)
    made = {name: function() for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            device.synchronize()
            start = time.monotonic()
            function()
            device.synchronize()
            times[name].append(time.monotonic() - start)
    return times, made


def distances(subject: Subject, made: dict[str, Tensor], name: str) -> dict[str, Any]:
    """How far images are from the faithful plan's, which start from the same noise."""
    decoded = {key: subject.pixels.decode(made[key]).clamp(-1, 1) for key in (FAITHFUL, AUGGEN, name)}
    own, auggens = (_rms(decoded[key] - decoded[FAITHFUL]) for key in (name, AUGGEN))
    similarity = None
    if subject.recognizer is not None:
        a, b = (embedded_pixels(subject.recognizer, _uint8(decoded[key])) for key in (name, FAITHFUL))
        similarity = float((a * b).sum(1).mean())
    nearer = None if name == AUGGEN else float((own < auggens).double().mean())
    return {"pixel_distance": float(own.mean()), "nearer_than_auggen": nearer, "similarity": similarity}


def trained(exp: Experiment, runtime: Runtime, store: Store, n: int) -> Subject:
    """The networks and m-plets of a run."""
    real = Artifact("ingest", "", records.step_folder(runtime.out, exp.name, "ingest"))
    sampler, classes = sampler_of(exp, runtime)
    try:
        baseline = records.step_folder(runtime.out, exp.name, "baseline")
        recognizer, _ = recognition.load(baseline / "recognizer.safetensors")
    except ValueError:
        recognizer = None
    rows = np.arange(n)
    labels = torch.from_numpy(classes[rows % len(classes)]).to(sampler.device)
    return Subject(
        sampler.main,
        sampler.guide,
        sampler.pixels,
        labels,
        _weights(exp, labels),
        sampler.seeds(rows),
        recognizer,
        _job(exp, runtime, store, real),
    )


def sampler_of(exp: Experiment, runtime: Runtime) -> tuple[Sampler, NDArray[np.int64]]:
    """The trained networks of a run, and its m-plets (random ones where none are selected yet)."""
    folder = records.step_folder(runtime.out, exp.name, "guide" if exp.guide else "generator")
    sampler = Sampler(exp.sampling, Artifact("generator", "", folder), Work(folder, runtime, "plan"))
    try:
        return sampler, np.load(records.step_folder(runtime.out, exp.name, "select") / "classes.npy")
    except ValueError:
        return sampler, _mplets(exp.selection, sampler.main.label_dim, 100)


def untrained(exp: Experiment, runtime: Runtime, store: Store, n: int) -> Subject:
    """Networks that have learnt nothing: they cost as much."""
    real = runner.run(exp, records.source_of(exp), runner.Runner(store, runtime, "ingest"))
    train = LabeledImages.load(real.folder).of_classes("train")
    device = engine.start(runtime.device).device
    main, guide = (
        frozen(make(config, train, exp.sampling.precision).to(device))
        for config in (exp.generator, exp.guide or exp.generator)
    )
    labels = torch.from_numpy(_mplets(exp.selection, main.label_dim, n)).to(device)
    job = _job(exp, runtime, store, real)
    return Subject(main, guide, Pixels(), labels, _weights(exp, labels), list(range(n)), None, job)


def table(rows: list[Row], n: int, job: int) -> str:
    """The plans as text."""
    measured = rows[0].pixel_distance is not None
    head = f"{'plan':<20}{'solver':<8}{'steps':>6}{'evaluations':>13}{'s/image':>10}{'hours':>9}{'x AugGen':>10}"
    lines = [head + ("   distance  nearer than AugGen  similarity" if measured else "")]
    for row in rows:
        line = f"{row.name:<20}{row.solver:<8}{row.steps:>6}{row.evaluations:>13}{row.seconds_per_image:>10.4f}"
        line += f"{row.hours:>9.3g}{row.times_auggen:>10.2f}"
        if measured:
            nearer = "" if row.nearer_than_auggen is None else f"{row.nearer_than_auggen:.0%}"
            similarity = "" if row.similarity is None else f"{row.similarity:.4f}"
            line += f"{row.pixel_distance:>11.4f}{nearer:>20}{similarity:>12}"
        lines.append(line)
    lines.append(
        f"hours: of the job's {job:,} images; x AugGen: seconds over AugGen's, same solver, steps, guide, precision"
    )
    if measured:
        lines.append(
            f"distance: root mean square of {n} images' pixels in [-1, 1] to the faithful plan's from the same noise; "
            "similarity: cosine of the baseline recognizer's embeddings"
        )
    return "\n".join(lines)


def _mplets(selection: Selection, classes: int, n: int) -> NDArray[np.int64]:
    """Some m-plets, where none are selected yet."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(classes)[: selection.mixed] for _ in range(n)])


def _weights(exp: Experiment, labels: Tensor) -> Tensor:
    return torch.tensor(weights_for(exp.sampling, labels.shape[1]), device=labels.device).expand(labels.shape)


def _job(exp: Experiment, runtime: Runtime, store: Store, real: Artifact) -> int:
    """Images the run's mixes are."""
    plans = runner.plan_all(exp, records.source_of(exp), store)
    key = next(plan.key for plan in plans if plan.label == "sample")
    return Clock({plan.key: plan for plan in plans}, real, runtime).images(key)


def _rms(x: Tensor) -> Tensor:
    return x.flatten(1).square().mean(1).sqrt()


def _uint8(x: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = to_uint8(x).cpu().numpy()
    return pixels
