"""The whole method in one story (paper sections 3 and 4).

Symbols of the paper and our words:
  D_orig              the real images                      ingest
  f_dis               recognizer                           train_recognizer
  S_theta, c(y)       denoiser of the generator, condition train_generator
  D_repro             reproductions: mixes of one class    sample_mixtures, weights (1,)
  m-plet              the m classes of a mix               select_mplets
  S_mix, alpha, beta  mixture of denoisers, weights        sample_mixtures
  lambda              weight of the second class           weights (1 - lambda, lambda)
  n^r, n^s            numbers of real, synthetic images    combine
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from scoremix.config import (
    Arm,
    Experiment,
    Fold,
    Generator,
    LeakGate,
    MixDiagnostics,
    PixelMixing,
    Recognizer,
    Sampling,
    Screening,
    Selection,
    Slice,
    Weighting,
    changed,
)
from scoremix.config.choice import confirming, costliest, measured, without_generator
from scoremix.data.images import LabeledImages
from scoremix.evaluation.estimate import FEW
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.store import step_of
from scoremix.outputs.choice import Choosing
from scoremix.outputs.images import ImagesSummary
from scoremix.outputs.networks import GateResult
from scoremix.stages.geometry.alignment import measure_alignment
from scoremix.stages.geometry.distances import compare_distances
from scoremix.stages.geometry.order import measure_order
from scoremix.stages.geometry.paths import measure_paths
from scoremix.stages.geometry.snapshots import follow_generator
from scoremix.stages.geometry.spaces import collect_spaces
from scoremix.stages.geometry.transfer import compare_selections
from scoremix.stages.judge.choose import choose_arm
from scoremix.stages.judge.compare import compare
from scoremix.stages.judge.diagnose import diagnose_mixes
from scoremix.stages.judge.errors import find_errors
from scoremix.stages.judge.evaluate import evaluate
from scoremix.stages.judge.fold import set_aside
from scoremix.stages.mix.combine import combine
from scoremix.stages.mix.describe import describe_mplets
from scoremix.stages.mix.leaks import drop_leaks
from scoremix.stages.mix.pixels import mix_pixels
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.mix.screen import screen
from scoremix.stages.mix.search import search_weights
from scoremix.stages.mix.select import files_of, select_mplets
from scoremix.stages.mix.without import leave_out
from scoremix.stages.show.analyze import analyze
from scoremix.stages.show.illustrate import illustrate
from scoremix.stages.show.magnitudes import measure_magnitudes
from scoremix.stages.show.report import report
from scoremix.stages.train.adopt import adopt_generator, folder_of
from scoremix.stages.train.check import check_generator
from scoremix.stages.train.generator import train_generator
from scoremix.stages.train.guide import take_guide
from scoremix.stages.train.ingest import ingest
from scoremix.stages.train.recognizer import train_recognizer
from scoremix.stages.train.started import decided_by_file, file_of

ADOPTED = Generator(diffusers="folder", precision="float32")  # all else is settings of training
Input = External | Artifact | Mapping[str, Artifact] | Mapping[str, External | Artifact]


class Stage(Protocol):
    """Runs, finds or only plans one stage; returns its artifact."""

    def __call__(self, function: Callable[..., None], config: Slice, *inputs: Input, label: str = ...) -> Artifact: ...


def story(exp: Experiment, source: External, stage: Stage) -> Artifact:
    """A whole run: the arm that is judged is the experiment's, or one that is chosen on validation classes first."""
    begun = begin(exp, source, stage)
    if exp.choice is None:
        return judge(exp, begun)
    exp = possible(exp, begun)
    candidates, trials = try_arms(exp, begun, folds_of(exp, begun.base.real))
    choice = choose(exp, stage, trials)
    chosen = Choosing.load(choice).choice.chosen if choice.done else costliest(exp)  # plans reckon with the worst
    return judge(confirming(exp, chosen), begun, choice, candidates)


def scoremix(exp: Experiment, source: External, stage: Stage) -> Artifact:
    """The method from images to report; arms differ in nothing but their training sets and lengths."""
    return judge(exp, begin(exp, source, stage))


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
class Begun:
    """What every arm starts from: images, the baseline recognizer, the generator, its gate, the experiment's own mixes.

    The chain of the report as far as it goes: without a generator where no candidate of a choice needs one, without mixes
    where its candidates are left out because it is too weak.
    """

    base: Base
    chain: dict[str, Artifact]
    reproductions: dict[str, Artifact]  # of one name, or none
    shared: frozenset[str]  # keys of these steps

    @property
    def gate(self) -> Artifact | None:
        return self.chain.get("gate")


@dataclass(frozen=True)
class Arms:
    """The arms of an experiment as they were made: images added, gates of generators of their own, recognizers."""

    added: dict[str, Artifact]
    gates: dict[str, Artifact]
    recognizers: dict[str, Artifact]  # by arm and seed, "real/0"


@dataclass(frozen=True)
class Trial:
    """The candidates' recognizers, and the images of which the validation classes compare them."""

    stage: Stage
    real: Artifact
    recognizers: dict[str, Artifact]  # by arm and seed


def begin(exp: Experiment, source: External, stage: Stage) -> Begun:
    """Images, baseline, generator and its gate, the experiment's own mixes."""
    real = stage(ingest, exp.data, source)
    baseline = trained(stage, seeded(exp, exp.seeds[0]), real, real, "baseline")
    base, chain = Base(stage, real, baseline, None), {"real": real, "baseline": baseline}
    if exp.choice is not None and not any(arm.generated for arm in exp.arms.values()):
        return Begun(base, chain, {}, frozenset())
    base = replace(base, network=guided_generator(exp, stage, real, baseline))
    each_class, reproduced, gate = gated(exp, base)
    chain |= {"generator": base.generator, "gate": gate}
    if exp.choice is None or passed(gate):
        mplets = selected(exp.selection, base)
        described = stage(describe_mplets, exp.sampling, baseline, mplets)
        synthetic = stage(sample_mixtures, exp.sampling, base.generator, mplets)
        both = stage(combine, exp.mixing, real, without_leaks(exp.sampling, synthetic, base))
        chain |= {"mplets": mplets, "described": described, "synthetic": synthetic, "both": both}
    shared = frozenset(artifact.key for artifact in (*chain.values(), each_class, reproduced))
    return Begun(base, chain, {"reproductions": reproduced}, shared)


def possible(exp: Experiment, begun: Begun) -> Experiment:
    """The experiment without the candidates whose generator is too weak to be judged."""
    gates = {name: gate_of(exp, name, begun) for name, arm in exp.arms.items() if arm.generated and arm.measured}
    weak = [name for name, gate in gates.items() if gate is not None and not passed(gate)]
    return without_generator(exp, weak) if weak else exp


def gate_of(exp: Experiment, name: str, begun: Begun) -> Artifact | None:
    """The gate of the generator that an arm's images come from, its own or the experiment's."""
    own = base_of(exp, name, begun.base, begun.shared)
    if own.network == begun.base.network:
        return begun.gate
    return gated(exp, replace(own, baseline=begun.base.baseline))[-1]


def passed(gate: Artifact) -> bool:
    """Whether a generator is good enough; one that is not measured yet may be."""
    return not gate.done or GateResult.load(gate).passed


def train_arms(exp: Experiment, begun: Begun) -> Arms:
    """The images that arms add, and their recognizers, one for every seed."""
    return try_arms(exp, begun, 1)[0]


def try_arms(exp: Experiment, begun: Begun, folds: int) -> tuple[Arms, list[Trial]]:
    """The arms, and what they are compared by: recognizers for the validation classes or, where these are few, for each
    of some folds of training and validation classes.
    """
    base = begun.base
    bases = {name: base_of(exp, name, base, begun.shared) for name in exp.arms}
    own = [name for name, of in bases.items() if of.network != base.network]
    gates = {name: gate for name in own if (gate := gate_of(exp, name, begun)) is not None}
    added = {name: added_images(exp, arm, bases[name]) for name, arm in exp.arms.items() if arm.images != "real"}
    if folds == 1:
        recognizers = recognizers_of(exp, base.stage, bases, added, "recognizer")
        trials = [Trial(base.stage, base.real, recognizers)]
    else:
        parts = [Fold(number=k, of=folds, seed=exp.data.seed) for k in range(1, folds + 1)]
        trials = [in_fold(exp, base, bases, added, part) for part in parts]
        recognizers = {f"{name}/fold {k}": of for k, t in enumerate(trials, 1) for name, of in t.recognizers.items()}
    return Arms({name: of for name, of in added.items() if exp.arms[name].measured}, gates, recognizers), trials


def in_fold(exp: Experiment, base: Base, bases: Mapping[str, Base], added: Mapping[str, Artifact], fold: Fold) -> Trial:
    """The candidates trained on the training and validation classes that are not in a fold, to be compared on it.

    Images are mixed by the generator of the run, which has seen training classes of the fold; m-plets of these are left
    out, and no recognizer sees an image of the fold.
    """
    stage = ArmStage(base.stage, f"fold {fold.number}", frozenset())
    real = stage(set_aside, fold, base.real)
    kept = {n: stage(leave_out, fold, of, base.real, real, label=f"leave out of {n}") for n, of in added.items()}
    within = {n: replace(of, stage=ArmStage(stage, n, frozenset()), real=real) for n, of in bases.items()}
    return Trial(stage, real, recognizers_of(exp, stage, within, kept, "candidate"))


def folds_of(exp: Experiment, real: Artifact) -> int:
    """How many folds a choice is made on; 1 where the validation classes are enough, or not read yet."""
    if exp.choice is None or not real.done:
        return 1
    classes = ImagesSummary.load(real).classes
    small = classes["train"] + classes["validation"] < FEW * exp.choice.folds
    return 1 if small or classes["validation"] >= exp.choice.enough else exp.choice.folds


def recognizers_of(
    exp: Experiment, stage: Stage, bases: Mapping[str, Base], added: Mapping[str, Artifact], called: str
) -> dict[str, Artifact]:
    """Recognizers of every arm that is measured, one for every seed, by arm and seed."""
    sets = {name: training_set(exp, arm, added.get(name), bases[name]) for name, arm in exp.arms.items()}
    return {
        f"{name}/{seed}": trained(
            stage, seeded(exp, seed, arm), sets[name], sets[arm.steps_of or name], f"{called} {name}/{seed}"
        )
        for name, arm in measured(exp).items()
        for seed in exp.seeds
    }


def choose(exp: Experiment, stage: Stage, trials: Sequence[Trial]) -> Artifact:
    """One of the arms, by what their recognizers do on the validation classes of the trials; no test class is looked at."""
    assert exp.choice is not None
    on_validation = exp.evaluation.open_set.model_copy(update={"classes": "validation"})
    evaluated = [
        {
            name: trial.stage(
                evaluate,
                on_validation.model_copy(update={"seed": on_validation.seed + k}),  # folds draw their classes apart
                trial.real,
                recognizer,
                label=f"validate {name}",
            )
            for name, recognizer in trial.recognizers.items()
        }
        for k, trial in enumerate(trials)
    ]
    config = exp.choice.model_copy(update={"evaluation": exp.evaluation})
    return stage(choose_arm, config, *evaluated)


def judge(exp: Experiment, begun: Begun, choice: Artifact | None = None, candidates: Arms | None = None) -> Artifact:
    """The report on the arms of an experiment, one of which is judged against its controls on test classes.

    After a choice the arms are those that it left; the candidates are those it was among.
    """
    base, stage = begun.base, begun.base.stage
    arms, judged = train_arms(exp, begun), exp.arms[exp.evaluation.treatment]
    evaluated = {
        name: stage(evaluate, exp.evaluation.open_set, base.real, recognizer, label=f"evaluate {name}")
        for name, recognizer in arms.recognizers.items()
    }
    chain = dict(begun.chain)
    if exp.evaluation.treatment in arms.gates:
        chain["gate"] = arms.gates[exp.evaluation.treatment]
    judging = {"gate": chain["gate"]} if judged.generated else {}
    if choice is not None:
        chain["choice"] = judging["choice"] = choice
    chain["results"] = stage(compare, exp.evaluation, base.real, judging, arms.gates, evaluated)
    chain["errors"] = stage(find_errors, exp.evaluation, base.real, evaluated)
    examined = {**begun.reproductions, **arms.added}
    chain["diagnostics"] = stage(diagnose_mixes, MixDiagnostics(), base.real, base.baseline, examined)
    if "synthetic" in chain:
        mplets, synthetic = chain["mplets"], chain["synthetic"]
        if exp.generator.diffusers is None:  # mixed conditions are part of it
            chain["magnitudes"] = stage(measure_magnitudes, exp.sampling, base.generator, mplets, synthetic)
        chain["pictures"] = stage(illustrate, exp.sampling, base.real, base.generator, mplets, synthetic)
    searching = (n for n, arm in exp.arms.items() if arm.search and arm.images == "mixes")
    if name := next(searching, None):
        sampling = changed(exp.sampling, exp.arms[name].sampling)
        chain["search"] = searched_weights(exp, sampling, base_of(exp, name, begun.base, begun.shared))
    others = {**candidates.recognizers, **candidates.added} if candidates else {}
    return stage(report, exp, chain, arms.recognizers, arms.added, others)


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
    network, baseline = base.network, base.baseline
    if arm.generator and arm.images != "real":
        changes = exp.model_copy(update={"generator": changed(exp.generator, arm.generator)})
        network = guided_generator(changes, stage, base.real, base.baseline)
    if arm.selector and arm.images != "real":
        other = changed(exp.recognizer, arm.selector)
        baseline = trained(stage, other, base.real, base.real, "selecting recognizer")
    return Base(stage, base.real, baseline, network)


def gated(exp: Experiment, base: Base) -> tuple[Artifact, Artifact, Artifact]:
    """One m-plet per class, the generator's reproductions of them, and whether it is good enough to judge mixing."""
    each_class = base.stage(select_mplets, singles(exp), base.baseline, {}, label="select reproductions")
    reproduced = base.stage(
        sample_mixtures, reproduction(exp), base.generator, each_class, label="sample reproductions"
    )
    gate = base.stage(check_generator, exp.gate, base.real, base.baseline, each_class, reproduced)
    return each_class, reproduced, gate


def selected(config: Selection, base: Base) -> Artifact:
    """The m-plets of a selection, which waits for the generator only where it reads the condition matrix."""
    more: dict[str, External | Artifact] = {"generator": base.generator} if config.needs_conditions else {}
    files = files_of(config)
    config, more = config.model_copy(update=dict.fromkeys(files, "file")), {**more, **files}
    if config.groups == "data":
        more["real"] = base.real
    return base.stage(select_mplets, config, base.baseline, more)


def geometry(
    exp: Experiment,
    chain: Mapping[str, Artifact],
    recognizers: Mapping[str, Artifact],
    others: Mapping[str, Mapping[str, Artifact]],
    stage: Stage,
) -> Artifact:
    """The analytical half on a finished run: conditions against embeddings (section 4.3, Appendices D to G).

    `others`: chains of finished runs, such as one with an aligned generator, followed beside this one's.
    """
    real, generator, baseline, mplets = (chain[name] for name in ("real", "generator", "baseline", "mplets"))
    config = exp.analysis
    paths = config.paths.model_copy(update={"sampling": config.paths.sampling or exp.sampling})
    known = {"baseline": baseline}
    known |= {name: recognizer for name, recognizer in recognizers.items() if recognizer.key != baseline.key}
    for name in config.recognizers:
        known[name] = trained(stage, exp.other_recognizer(name), real, real, f"recognizer {name}")
    spaces = stage(collect_spaces, config.spaces, real, generator, known)
    measured = {
        "spaces": spaces,
        "alignment": stage(measure_alignment, config.measures, spaces, generator),
        "order": stage(measure_order, config.order, spaces, mplets),
        "transfer": stage(compare_selections, config.order, spaces, mplets),
        "distances": stage(compare_distances, config.order, spaces),
        "paths": stage(measure_paths, paths, real, generator, baseline, mplets),
    }
    followed = {
        name: stage(follow_generator, paths, run["real"], run["generator"], run["baseline"], label=f"snapshots {name}")
        for name, run in {exp.name: chain, **others}.items()
    }
    return stage(analyze, exp, measured, followed)


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


def added_images(exp: Experiment, arm: Arm, base: Base) -> Artifact:
    """The images an arm adds to the real ones: mixes, or a control's images of the same m-plets. `base` is its own."""
    stage, sampling = base.stage, changed(exp.sampling, arm.sampling)
    mplets = selected(changed(exp.selection, arm.selection), base)
    drawn = sampling.model_copy(update={"keep_by": "coherence"})  # what is kept does not change what is drawn
    match arm.images:
        case "real":
            raise ValueError("an arm of real images adds none")
        case "mixes":
            searched = [searched_weights(exp, sampling, base)] if arm.search else []
            added = stage(sample_mixtures, drawn, base.generator, mplets, *searched)
        case "relabelled":
            turns = drawn.model_copy(update={"mixture": "turns"})
            added = stage(sample_mixtures, turns, base.generator, mplets)
        case "averages" | "cutmixes":
            added = stage(mix_pixels, of_pixels(sampling, arm.images), base.real, mplets)
    if sampling.candidates > 1:
        sampled = arm.images == "mixes" or sampling.keep_by in ("hardest", "easiest")
        by = sampling.keep_by if sampled else "coherence"  # pixel mixes have no log-weights
        added = stage(screen, Screening(candidates=sampling.candidates, by=by), added, base.baseline)
    return without_leaks(sampling, added, base) if arm.generated else added


def without_leaks(sampling: Sampling, synthetic: Artifact, base: Base) -> Artifact:
    """Generated images, those aside that are too near to a training image, where that is asked for."""
    if sampling.leak_gate is None:
        return synthetic
    return base.stage(drop_leaks, LeakGate(rate=sampling.leak_gate), synthetic, base.baseline, base.real)


def training_set(exp: Experiment, arm: Arm, added: Artifact | None, base: Base) -> Artifact:
    """The images an arm trains on: the real ones, or those and its own."""
    if added is None:
        return base.real
    return base.stage(combine, changed(exp.mixing, arm.mixing), base.real, added)


def trained(stage: Stage, config: Recognizer, images: Artifact, length_of: Artifact, label: str) -> Artifact:
    """A recognizer trained on `images` for as many steps as `length_of` takes, from scratch or from a file."""
    if config.start is None:
        return stage(train_recognizer, config, images, length_of, label=label)
    return stage(train_recognizer, decided_by_file(config), images, length_of, file_of(config), label=label)


def seeded(exp: Experiment, seed: int, arm: Arm | None = None) -> Recognizer:
    """The settings of a recognizer with that seed, of an arm where one is given."""
    recognizer = changed(exp.recognizer, arm.recognizer if arm else {})
    return recognizer.model_copy(update={"seed": recognizer.seed + seed})


def of_pixels(sampling: Sampling, kind: Literal["averages", "cutmixes"]) -> PixelMixing:
    """The part of a sampling that mixing real images shares with it."""
    return PixelMixing(kind=kind, **sampling.model_dump(include=set(Weighting.model_fields)))


def searched_weights(exp: Experiment, sampling: Sampling, base: Base) -> Artifact:
    """AugGen's weights for that sampling, found once whatever weights and numbers it names."""
    plain = sampling.model_copy(
        update={"weights": None, "weights_end": None, "images_per_mplet": None, "share": 1.0, "candidates": 1}
    )
    search = exp.search.model_copy(update={"sampling": plain})
    return base.stage(search_weights, search, base.generator, base.baseline)


def singles(exp: Experiment) -> Selection:
    """Every class alone, at most `gate.classes` of them."""
    return Selection(strategy="each", count=exp.gate.classes, seed=exp.selection.seed)


def reproduction(exp: Experiment) -> Sampling:
    """The experiment's sampling for one class alone."""
    return exp.sampling.model_copy(
        update={"weights": None, "weights_end": None, "convex": True, "images_per_mplet": exp.gate.images_per_class}
    )
