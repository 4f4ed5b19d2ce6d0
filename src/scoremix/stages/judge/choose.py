"""The choice of a recipe: candidates against the better of the controls, on validation classes alone."""

from collections.abc import Mapping

import numpy as np

from scoremix.config import Choice
from scoremix.evaluation import metrics
from scoremix.evaluation.estimate import choose
from scoremix.evaluation.metric_table import metric_of
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.choice import Choosing
from scoremix.outputs.evaluated import labels_of, of_arms, pairs_of, stacked
from scoremix.stages.judge.compare import headline_of


def choose_arm(config: Choice, *evaluated: Mapping[str, Artifact], work: Work) -> None:
    """Writes choice.json: what the rule takes of the candidates (`evaluation.estimate.ChosenCandidate`), by which metric, and on how
    many classes. `evaluated`: the candidates' recognizers, "arm/seed", as measured on the validation classes, or on those of
    every fold: then a value is the mean over folds by their classes, and so is each draw.
    """
    judged = config.evaluation
    assert judged is not None
    labels = [labels_of(fold) for fold in evaluated]
    impostors = min(pairs_of(of)[1] for of in labels)
    criterion = headline_of(judged, metrics.supported_fars(impostors, judged.fars))
    classes = [int(of.max()) + 1 for of in labels]
    folds = [{arm: stacked(of)[criterion] for arm, of in of_arms(fold).items()} for fold in evaluated]
    values = {arm: np.average([fold[arm] for fold in folds], axis=0, weights=classes) for arm in folds[0]}
    taken = choose(values, judged.controls, sum(classes), config.level)
    Choosing(taken, metric_of(criterion), config.level, sum(classes), sum(map(len, labels)), len(folds)).write(work)
