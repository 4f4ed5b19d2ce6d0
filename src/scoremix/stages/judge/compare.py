"""Arms against controls on classes that no recognizer has seen, with intervals, and the verdict (paper 4.2)."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from scoremix.config import Evaluation
from scoremix.data.images import LabeledImages
from scoremix.evaluation import metrics
from scoremix.evaluation.estimate import FEW, Estimate, helps
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.choice import Choosing
from scoremix.outputs.comparison import ClosedGroup, ClosedSet, Comparison, Difference, Kind, Verdict
from scoremix.outputs.evaluated import ROC_POINTS, labels_of, of_arms, pairs_of, stacked
from scoremix.outputs.networks import GateResult
from scoremix.stages.judge import closed, groups

REAL: Kind = "real images were chosen"  # the verdict where a choice took a control


def compare(
    config: Evaluation,
    real: Artifact,
    judging: Mapping[str, Artifact],
    gates: Mapping[str, Artifact],
    evaluated: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Writes results.json (metrics of every arm, differences to the controls, verdict), roc.npz, and draws.npz:

    "arm/metric" (seeds, 1 + resamples), the plain value first; the same draw of classes stands in the same column of
    every arm, and of every comparison on these classes with this seed. `judging` has the gate of the generator that the
    judged arm's images come from, and the choice that made it the judged one, if any; `gates` those of arms with a
    generator of their own.
    """
    labels, by_arm = labels_of(evaluated), of_arms(evaluated)
    curves = {arm: np.stack([np.load(a / "roc.npy") for a in artifacts]) for arm, artifacts in by_arm.items()}
    arms = {arm: stacked(artifacts) for arm, artifacts in by_arm.items()}
    held_out = closed.measure(config, real, by_arm)
    if held_out is not None:
        for arm in held_out.accuracy:
            arms[arm] |= {key: held_out.values(arm, key) for key in closed.KS}
    genuine, impostors = pairs_of(labels)
    differences = [
        Difference(arm, control, key, Estimate.of(values - arms[control][key], config.level))
        for control in config.controls
        for arm, of_arm in arms.items()
        if arm != control
        for key, values in of_arm.items()
        if key in arms[control]
    ]
    levels = metrics.supported_fars(impostors, config.fars)
    headline = headline_of(config, levels)
    strong = "gate" not in judging or GateResult.load(judging["gate"]).passed
    taken = Choosing.load(judging["choice"]).choice if "choice" in judging else None
    real_chosen = taken is not None and taken.chosen == taken.safe
    stored = LabeledImages.load(real.folder)
    seen = seen_in(stored, config)
    judged_on = len(np.unique(labels)) if held_out is None or config.task == "open" else len(held_out.names)
    enough = judged_on >= FEW
    work.write_arrays("roc.npz", far=ROC_POINTS, **{f"arm/{arm}": curve for arm, curve in curves.items()})
    draws_of = {f"{arm}/{key}": v.astype(np.float32) for arm, values in arms.items() for key, v in values.items()}
    work.write_arrays("draws.npz", **draws_of)
    Comparison(
        classes=config.classes,
        metrics=list(dict.fromkeys(key for values in arms.values() for key in values)),
        headline=headline,
        unsupported={f"tar@{level.far:g}": level.reason for level in levels if not level.supported},
        supported_far=min((level.far for level in levels if level.supported), default=1.0),
        genuine_pairs=genuine,
        impostor_pairs=impostors,
        arms={a: {key: Estimate.of(v, config.level) for key, v in values.items()} for a, values in arms.items()},
        differences=differences,
        verdict=Verdict(
            REAL if real_chosen else verdict(differences, config, headline, strong, enough),
            config.treatment,
            config.controls,
        ),
        images=len(labels),
        images_of=len(stored.of_classes(config.classes)),
        gates={arm: GateResult.load(gate) for arm, gate in gates.items()},
        seen=seen,
        looks=test_uses(seen, "test", work),
        groups=groups.compare_groups(config, by_arm),
        closed=None if held_out is None else closed_set(config, held_out, test_uses(seen, "held_out", work), work),
    ).write(work)


def closed_set(config: Evaluation, measured: closed.ClassAccuracies, uses: int, work: Work) -> ClosedSet:
    """Classes, groups, worst and best classes for results.json; the tables closed_classes.csv and closed_groups.csv."""
    work.write("closed_classes.csv", closed.by_class(measured))
    by_group = [
        ClosedGroup(
            name,
            len(classes),
            int(measured.images[classes].sum()),
            {
                arm: Estimate.of(measured.values(arm, "accuracy", classes), config.level if len(classes) > 1 else None)
                for arm in measured.accuracy
            },
        )
        for name, classes in closed.by_group(measured).items()
    ]
    work.write("closed_groups.csv", closed.groups_csv(by_group))
    ends = closed.extremes(measured, config.treatment) if config.treatment in measured.accuracy else ()
    return ClosedSet(len(measured.names), int(measured.images.sum()), uses, by_group, *ends)


def headline_of(config: Evaluation, levels: Sequence[metrics.Level]) -> str:
    """The metric of the verdict: TAR at the FAR asked for, or AUC where the impostor pairs do not support that FAR."""
    if config.task == "closed":
        return "accuracy"
    supported = any(level.supported for level in levels if level.far == config.headline)
    return f"tar@{config.headline:g}" if supported else "auc"


def verdict(
    differences: Sequence[Difference], config: Evaluation, headline: str, gate_passed: bool, enough: bool = True
) -> Kind:
    """ "helps" needs an interval above zero against every control, one sign in all seeds, and `enough` classes for an interval."""
    if not gate_passed:
        return "generator too weak"
    judged = (d.estimate for d in differences if (d.arm, d.metric) == (config.treatment, headline))
    return "helps" if enough and helps(judged) else "does not help here"


def seen_in(stored: LabeledImages, config: Evaluation) -> dict[str, str]:
    """Which classes' images this comparison looks at, as hashes of their names: test classes, held-out images."""
    parts = ["test"] if config.classes == "test" else []
    parts += ["held_out"] if stored.held_out is not None else []
    names = {part: sorted(stored.of_classes(part).class_names) for part in parts}
    return {part: hashlib.sha256("\n".join(of).encode()).hexdigest() for part, of in names.items()}


def test_uses(seen: Mapping[str, str], part: str, work: Work) -> int:
    """How many comparisons in the store used that part of these classes, this one included; 0 if it does not.

    Classes are known by their names: the same ones packed anew, at another size say, are looked at again.
    """
    if part not in seen:
        return 0
    others = (Artifact("compare", "", folder) for folder in work.folder.parent.iterdir() if folder != work.folder)
    comparisons = [Comparison.load(artifact) for artifact in others if artifact.done]
    return 1 + len([results for results in comparisons if results.seen.get(part) == seen[part]])
