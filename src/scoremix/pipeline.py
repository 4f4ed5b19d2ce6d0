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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scoremix.config import Experiment, Fold, MixDiagnostics
from scoremix.config.choice import confirming, costliest, measured, needs_generator, without_generator
from scoremix.evaluation.estimate import FEW
from scoremix.execution.artifacts import Artifact, External
from scoremix.making import (
    ArmStage,
    Base,
    Stage,
    added_images,
    base_of,
    gated,
    guided_generator,
    network_of,
    refuse_other_images,
    searched_weights,
    seeded,
    selected,
    trained,
    training_set,
    without_leaks,
)
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
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.mix.without import leave_out
from scoremix.stages.show.analyze import analyze
from scoremix.stages.show.illustrate import illustrate
from scoremix.stages.show.magnitudes import measure_magnitudes
from scoremix.stages.show.report import report
from scoremix.stages.train.ingest import ingest


def story(exp: Experiment, source: External, stage: Stage, classes: Mapping[str, int] | None = None) -> Artifact:
    """A whole run: the arm that is judged is the experiment's, or one that is chosen on validation classes first.

    `classes`: of every part, for plans made before the images are read.
    """
    begun = begin(exp, source, stage)
    if exp.choice is None:
        return judge(exp, begun)
    exp, real = possible(exp, begun), begun.base.real
    counted = ImagesSummary.load(real).classes if real.done else classes
    candidates, trials = try_arms(exp, begun, folds_of(exp, counted))
    choice = choose(exp, stage, trials)
    chosen = Choosing.load(choice).choice.chosen if choice.done else costliest(exp)  # plans reckon with the worst
    return judge(confirming(exp, chosen), begun, choice, candidates)


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
class TrainedArms:
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
    refuse_other_images(exp, real)
    baseline = trained(stage, seeded(exp, exp.seeds[0]), real, real, "baseline")
    base, chain = Base(stage, real, baseline, None), {"real": real, "baseline": baseline}
    if exp.choice is not None and not needs_generator(exp):
        return Begun(base, chain, {}, frozenset())
    base = replace(base, network=guided_generator(exp, stage, real, baseline))
    each_class, reproduced, gate = gated(exp, base)
    chain |= {"generator": base.generator, "gate": gate}
    if exp.choice is None or passed(gate):
        mplets = selected(exp.selection, base)
        described = stage(describe_mplets, exp.sampling, baseline, mplets)
        synthetic = stage(sample_mixtures, exp.sampling.drawn, base.generator, mplets)
        both = stage(combine, exp.mixing, real, without_leaks(exp.sampling, synthetic, base))
        chain |= {"mplets": mplets, "described": described, "synthetic": synthetic, "both": both}
    shared = frozenset(artifact.key for artifact in (*chain.values(), each_class, reproduced))
    return Begun(base, chain, {"reproductions": reproduced}, shared)


def possible(exp: Experiment, begun: Begun) -> Experiment:
    """The experiment without the candidates whose generator is too weak to be judged."""
    used = {*measured(exp), *(arm.selected_by for arm in exp.arms.values())}
    gates = {name: gate_of(exp, name, begun) for name, arm in exp.arms.items() if arm.generated and name in used}
    weak = [name for name, gate in gates.items() if gate is not None and not passed(gate)]
    return without_generator(exp, weak) if weak else exp


def gate_of(exp: Experiment, name: str, begun: Begun) -> Artifact | None:
    """The gate of the generator that an arm's images come from, its own or the experiment's."""
    stage = ArmStage(begun.base.stage, name, begun.shared)
    network = network_of(exp, name, begun.base, stage)
    if network == begun.base.network:
        return begun.gate
    return gated(exp.changed_by(exp.arms[name]), replace(begun.base, stage=stage, network=network))[-1]


def passed(gate: Artifact) -> bool:
    """Whether a generator is good enough; one that is not measured yet may be."""
    return not gate.done or GateResult.load(gate).passed


def try_arms(exp: Experiment, begun: Begun, folds: int) -> tuple[TrainedArms, list[Trial]]:
    """The arms, and what they are compared by: recognizers for the validation classes or, where these are few, for each
    of some folds of training and validation classes.
    """
    base = begun.base
    bases = {name: base_of(exp, name, base, begun.shared) for name in exp.arms}
    with_generator = [name for name, of in bases.items() if of.network != base.network]
    gates = {name: gate for name in with_generator if (gate := gate_of(exp, name, begun)) is not None}
    added = {name: added_images(exp, arm, bases[name]) for name, arm in exp.arms.items() if arm.images != "real"}
    if folds == 1:
        recognizers = recognizers_of(exp, base.stage, bases, added, "recognizer")
        trials = [Trial(base.stage, base.real, recognizers)]
    else:
        parts = [Fold(number=k, of=folds, seed=exp.data.seed) for k in range(1, folds + 1)]
        trials = [in_fold(exp, base, bases, added, part) for part in parts]
        recognizers = {f"{name}/fold {k}": of for k, t in enumerate(trials, 1) for name, of in t.recognizers.items()}
    return TrainedArms({name: of for name, of in added.items() if exp.arms[name].measured}, gates, recognizers), trials


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


def folds_of(exp: Experiment, classes: Mapping[str, int] | None) -> int:
    """How many folds a choice is made on; 1 where the validation classes are enough, or not read yet."""
    if exp.choice is None or classes is None:
        return 1
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


def judge(
    exp: Experiment, begun: Begun, choice: Artifact | None = None, candidates: TrainedArms | None = None
) -> Artifact:
    """The report on the arms of an experiment, one of which is judged against its controls on test classes.

    After a choice the arms are those that it left; the candidates are those it was among.
    """
    base, stage = begun.base, begun.base.stage
    (arms, _), judged = try_arms(exp, begun, 1), exp.arms[exp.evaluation.treatment]
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
        sampling = exp.changed_by(exp.arms[name]).sampling
        chain["search"] = searched_weights(exp, sampling, base_of(exp, name, begun.base, begun.shared))
    others = {**candidates.recognizers, **candidates.added} if candidates else {}
    return stage(report, exp, chain, arms.recognizers, arms.added, others)


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
    refuse_other_images(exp, real)
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
