"""The choice of a recipe: candidates against the better of the controls, on validation classes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scoremix.evaluation import choice, metrics
from scoremix.stages.judge.compare import headline_of, of_arms, pairs_of, stacked

if TYPE_CHECKING:
    from scoremix.config import Choice
    from scoremix.execution.artifacts import Artifact, Work


def choose_arm(config: Choice, evaluated: Mapping[str, Artifact], *, work: Work) -> None:
    """Writes choice.json: what the rule takes of the candidates (`evaluation.choice.Choice`), by which metric, and on how
    many validation classes. `evaluated`: the candidates' recognizers, "arm/seed", as measured on these.
    """
    judged = config.evaluation
    assert judged is not None
    labels, by_arm = np.load(next(iter(evaluated.values())) / "labels.npy"), of_arms(evaluated)
    criterion = headline_of(judged, metrics.supported_fars(pairs_of(labels)[1], judged.fars))
    values = {arm: stacked(artifacts)[criterion] for arm, artifacts in by_arm.items()}
    classes = int(labels.max()) + 1
    taken = choice.choose(values, judged.controls, classes, config.level)
    about = {"metric": criterion, "level": config.level, "classes": classes, "images": len(labels)}
    work.write_json("choice.json", {**taken.as_json(), **about})
