"""The similarity from which a pair counts as one class, at false accept rates on classes that were never trained on."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scoremix.config.delivery import Operating
from scoremix.evaluation import bootstrap, metrics
from scoremix.evaluation.estimate import Estimate
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.evaluated import labels_of, pairs_of
from scoremix.outputs.thresholds import ThresholdPoint, Thresholds


def thresholds(config: Operating, evaluated: Mapping[str, Artifact], *, work: Work) -> None:
    """Writes thresholds.json of the recognizers whose embeddings of the same images were evaluated, one per seed.

    A threshold is the largest similarity that keeps the FAR; a pair above it is accepted.
    """
    labels = labels_of(evaluated)
    units = [np.load(artifact / "embeddings.npy") for artifact in evaluated.values()]
    if config.ensemble:
        units = [metrics.unit_rows(np.mean(units, axis=0)).astype(np.float32)]
    classes, (genuine, impostors) = int(labels.max()) + 1, pairs_of(labels)
    levels = metrics.supported_fars(impostors, config.fars)
    fars = [level.far for level in levels if level.supported]
    draws = bootstrap.plain_and_drawn(classes, config.bootstrap, config.seed)
    measured = np.stack([_measured(unit, labels, fars, draws) for unit in units])  # [seed, draw, far, which]
    points = [
        ThresholdPoint(far, *(Estimate.of(measured[:, :, i, which], config.level) for which in (0, 1)))
        for i, far in enumerate(fars)
    ]
    unsupported = {f"{level.far:g}": level.reason for level in levels if not level.supported}
    counts = classes, len(labels), genuine, impostors
    Thresholds(config.headline, config.level, *counts, points, unsupported).write(work)


def _measured(
    unit: NDArray[np.float32], labels: NDArray[np.int32], fars: list[float], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Threshold and TAR (1 + resamples, fars, 2) of one recognizer in every draw of the classes."""
    pairs = metrics.pair_similarities(unit, labels)
    weight = bootstrap.impostor_weight(pairs.sizes, draws)
    above = bootstrap.weighted_thresholds(pairs, fars, draws, weight)
    return np.stack([above, bootstrap.weighted_tar_at_far(pairs, fars, draws)], axis=-1)
