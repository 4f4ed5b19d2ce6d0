"""Are all groups of unseen classes served alike: error rates within each group, and how unequal they are."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Evaluation
from scoremix.evaluation import fairness
from scoremix.evaluation.estimate import Estimate
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.comparison import ComparedGroups, GroupRates
from scoremix.outputs.evaluated import GroupPairs

FEWEST = 5  # classes of a group whose rates have an interval: resampling fewer tells little
Rates = dict[str, "NDArray[np.float64]"]  # fmr, fnmr (seeds, 1 + resamples, groups); summaries (seeds, 1 + resamples)


def compare_groups(config: Evaluation, by_arm: Mapping[str, Sequence[Artifact]]) -> ComparedGroups | None:
    """The groups with their pairs, for every arm their rates and the inequality of these, and the judged arm's

    inequality minus each control's, all with intervals; None without groups.
    """
    measured = next(iter(by_arm.values()))[0]
    if measured.json(GroupPairs.FILE) is None:
        return None
    first = GroupPairs.load(measured)
    rates = {arm: _stacked(artifacts) for arm, artifacts in by_arm.items()}
    judged = rates[config.treatment]["garbe"]
    levels = [config.level if classes >= FEWEST else None for classes in first.classes]
    arms = {}
    for arm, of in rates.items():
        fmr, fnmr = ([Estimate.of(of[n][:, :, k], level) for k, level in enumerate(levels)] for n in ("fmr", "fnmr"))
        arms[arm] = GroupRates(fmr, fnmr, **{key: Estimate.of(of[key], config.level) for key in fairness.SUMMARIES})
    minus = {c: Estimate.of(judged - rates[c]["garbe"], config.level) for c in config.controls}
    return ComparedGroups(**vars(first), arms=arms, minus=minus)


def _stacked(artifacts: Sequence[Artifact]) -> Rates:
    files = [artifact.arrays("groups.npz") for artifact in artifacts]
    stacked = {kind: np.stack([file[kind] for file in files]) for kind in ("fmr", "fnmr")}
    return {
        **stacked,
        **{key: of_rates(stacked["fmr"], stacked["fnmr"]) for key, of_rates in fairness.SUMMARIES.items()},
    }
