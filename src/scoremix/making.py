"""How each thing of a story is made, in calls of stages: a generator with its guide, an arm's images, a recognizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from scoremix.config import (
    Arm,
    Experiment,
    Generator,
    LeakGate,
    PixelKind,
    PixelMixing,
    RealClasses,
    Recognizer,
    Sampling,
    Screening,
    Selection,
    Slice,
    Weighting,
    changed,
)
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.store import step_of
from scoremix.stages.mix.combine import combine
from scoremix.stages.mix.leaks import drop_leaks
from scoremix.stages.mix.pixels import mix_pixels
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.mix.screen import screen
from scoremix.stages.mix.search import search_weights
from scoremix.stages.mix.select import files_of, select_mplets
from scoremix.stages.train import started
from scoremix.stages.train.adopt import adopt_generator, folder_of
from scoremix.stages.train.check import check_generator
from scoremix.stages.train.generator import train_generator
from scoremix.stages.train.guide import take_guide
from scoremix.stages.train.keep_real import keep_real
from scoremix.stages.train.recognizer import train_recognizer
from scoremix.stages.train.started import decided_by_file, file_of

ADOPTED = Generator(diffusers="folder", precision="float32")  # all else is settings of training
Input = External | Artifact | Mapping[str, Artifact] | Mapping[str, External | Artifact]


class Stage(Protocol):
    """Runs, finds or only plans one stage; returns its artifact."""

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = ...) -> Artifact: ...


@dataclass(frozen=True)
class Base:
    """What mixes are made with, and the stage that makes them: the experiment's, or an arm's (`base_of`)."""

    stage: Stage
    real: Artifact
    baseline: Artifact
    network: Artifact | None  # None where no candidate needs a generator

    @property
    def generator(self) -> Artifact:
        assert self.network is not None
        return self.network


@dataclass(frozen=True)
class ArmStage:
    """A stage whose steps are labelled as the arm's, "sample for auggen", but for those the experiment has itself."""

    stage: Stage
    arm: str
    shared: frozenset[str]  # keys of the experiment's steps

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = "") -> Artifact:
        step = step_of(function, config, inputs, label)
        label = step.label if step.key in self.shared else f"{step.label} for {self.arm}"
        return self.stage(function, config, *inputs, label=label)


def base_of(exp: Experiment, name: str, base: Base, shared: frozenset[str]) -> Base:
    """What an arm starts from, with a generator or a selecting recognizer of its own where it says so."""
    stage, arm = ArmStage(base.stage, name, shared), exp.arms[name]
    baseline = base.baseline
    if arm.selector and arm.images != "real":
        other = changed(exp.recognizer, arm.selector)
        baseline = trained(stage, other, base.real, base.real, "selecting recognizer")
    if arm.selected_by is not None:
        baseline = stage(keep_real, RealClasses(), improved(exp, arm.selected_by, base, shared, stage), base.real)
    return Base(stage, base.real, baseline, network_of(exp, name, base, stage))


def network_of(exp: Experiment, name: str, base: Base, stage: Stage) -> Artifact | None:
    """The generator that an arm's images come from: the experiment's, or one of its own where it says so."""
    arm = exp.arms[name]
    if not arm.generator or arm.images == "real":
        return base.network
    return guided_generator(exp.changed_by(arm), stage, base.real, base.baseline)


def improved(exp: Experiment, name: str, base: Base, shared: frozenset[str], stage: Stage) -> Artifact:
    """The recognizer that an arm trained with the first seed, which chooses m-plets again (re-selection) for another."""
    arm, starting = exp.arms[name], base_of(exp, name, base, shared)
    added = None if arm.images == "real" else added_images(exp, arm, starting)
    images = training_set(exp, arm, added, starting)
    return trained(stage, seeded(exp, exp.seeds[0], arm), images, images, "selecting recognizer")


def guided_generator(exp: Experiment, stage: Stage, real: Artifact, baseline: Artifact) -> Artifact:
    """The generator with its own earlier snapshot as guide, or with another network; or one that exists, without."""
    if exp.generator.diffusers is not None:
        return stage(adopt_generator, ADOPTED, real, folder_of(exp.generator), label="generator")
    teacher = [baseline] if exp.generator.needs_recognizer else []
    generator = stage(train_generator, of_length(exp.generator, real), real, *teacher)
    if exp.guide is None:
        return generator
    teacher = [baseline] if exp.guide.needs_recognizer else []
    guide = stage(train_generator, of_length(exp.guide, real), real, *teacher, label="guide network")
    return stage(take_guide, exp.guide, generator, guide)


def of_length(config: Generator, real: Artifact) -> Generator:
    """With a number of images to see: where that is `auto` it follows the training classes, once they are read."""
    if config.images_seen != "auto":
        return config
    return config.for_classes(len(LabeledImages.load(real.folder).splits["train"]) if real.done else 0)


def gated(exp: Experiment, base: Base) -> tuple[Artifact, Artifact, Artifact]:
    """One m-plet per class, the generator's reproductions of them, and whether it is good enough to judge mixing."""
    each_class = base.stage(select_mplets, singles(exp), base.baseline, {}, label="select reproductions")
    reproduced = base.stage(
        sample_mixtures, reproduction(exp), base.generator, each_class, label="sample reproductions"
    )
    gate = base.stage(check_generator, exp.gate, base.real, base.baseline, each_class, reproduced)
    return each_class, reproduced, gate


def singles(exp: Experiment) -> Selection:
    """Every class alone, at most `gate.classes` of them."""
    return Selection(strategy="each", count=exp.gate.classes, seed=exp.selection.seed)


def reproduction(exp: Experiment) -> Sampling:
    """The experiment's sampling for one class alone, all of whose images are kept."""
    alone = {"weights": None, "weights_end": None, "convex": True, "candidates": 1.0}
    return exp.sampling.drawn.model_copy(update={**alone, "images_per_mplet": exp.gate.images_per_class})


def selected(config: Selection, base: Base) -> Artifact:
    """The m-plets of a selection, which waits for the generator only where it reads the condition matrix."""
    more: dict[str, External | Artifact] = {"generator": base.generator} if config.needs_conditions else {}
    files = files_of(config)
    config, more = config.model_copy(update=dict.fromkeys(files, "file")), {**more, **files}
    if config.groups == "data":
        more["real"] = base.real
    return base.stage(select_mplets, config, base.baseline, more)


def added_images(exp: Experiment, arm: Arm, base: Base) -> Artifact:
    """The images an arm adds to the real ones: mixes, or a control's images of the same m-plets. `base` is its own."""
    stage, of_arm = base.stage, exp.changed_by(arm)
    mplets, sampling = selected(of_arm.selection, base), of_arm.sampling
    match arm.images:
        case "real":
            raise ValueError("an arm of real images adds none")
        case "mixes":
            searched = [searched_weights(exp, sampling, base)] if arm.search else []
            added = stage(sample_mixtures, sampling.drawn, base.generator, mplets, *searched)
        case "relabelled":
            alone = {"mixture": "turns", "resample": None}  # each image has a class of its own
            turns = sampling.drawn.model_copy(update=alone)
            added = stage(sample_mixtures, turns, base.generator, mplets)
        case "averages" | "cutmixes" | "repeated":
            added = stage(mix_pixels, of_pixels(sampling, arm.images), base.real, mplets)
    if sampling.candidates > 1:
        sampled = arm.images == "mixes" or sampling.keep_by in ("hardest", "easiest")
        by = sampling.keep_by if sampled else "coherence"  # pixel mixes have no log-weights
        added = stage(screen, Screening(candidates=sampling.candidates, by=by), added, base.baseline)
    return without_leaks(sampling, added, base) if arm.generated else added


def of_pixels(sampling: Sampling, kind: PixelKind) -> PixelMixing:
    """The part of a sampling that mixing real images shares with it."""
    return PixelMixing(kind=kind, **sampling.model_dump(include=set(Weighting.model_fields)))


def searched_weights(exp: Experiment, sampling: Sampling, base: Base) -> Artifact:
    """AugGen's weights for that sampling, found once whatever weights and numbers it names."""
    plain = sampling.model_copy(
        update={"weights": None, "weights_end": None, "images_per_mplet": None, "share": 1.0, "candidates": 1}
    )
    search = exp.search.model_copy(update={"sampling": plain})
    return base.stage(search_weights, search, base.generator, base.baseline)


def without_leaks(sampling: Sampling, synthetic: Artifact, base: Base) -> Artifact:
    """Generated images, those aside that are too near to a training image, where that is asked for."""
    if sampling.leak_gate is None:
        return synthetic
    return base.stage(drop_leaks, LeakGate(rate=sampling.leak_gate), synthetic, base.baseline, base.real)


def training_set(exp: Experiment, arm: Arm, added: Artifact | None, base: Base) -> Artifact:
    """The images an arm trains on: the real ones, or those and its own."""
    if added is None:
        return base.real
    return base.stage(combine, exp.changed_by(arm).mixing, base.real, added)


def trained(stage: Stage, config: Recognizer, images: Artifact, length_of: Artifact, label: str) -> Artifact:
    """A recognizer trained on `images` for as many steps as `length_of` takes, from scratch or from a file."""
    if config.start is None:
        return stage(train_recognizer, config, images, length_of, label=label)
    return stage(train_recognizer, decided_by_file(config), images, length_of, file_of(config), label=label)


def refuse_other_images(exp: Experiment, real: Artifact) -> None:
    """ValueError where a recognizer that training starts from takes other images than these: of another side or, where the
    settings or what was read tell the channels, of other ones.
    """
    of_arms = [(exp.changed_by(arm).recognizer, changed(exp.recognizer, arm.selector)) for arm in exp.arms.values()]
    of_analysis = map(exp.other_recognizer, exp.analysis.recognizers)
    begun = [of for of in (exp.recognizer, *chain(*of_arms), *of_analysis) if of.start is not None]
    if not begun:
        return
    read = LabeledImages.load(real.folder).channels if real.done else None
    for config in begun:
        started.refuse_other_images(file_of(config), decided_by_file(config), exp.data.size, read or exp.data.channels)


def seeded(exp: Experiment, seed: int, arm: Arm | None = None) -> Recognizer:
    """The settings of a recognizer with that seed, of an arm where one is given."""
    recognizer = (exp.changed_by(arm) if arm else exp).recognizer
    return recognizer.model_copy(update={"seed": recognizer.seed + seed})
