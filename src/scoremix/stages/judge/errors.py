"""The pairs of unseen images that each arm gets wrong, with the images, and what the judged arm mended (paper 4.2)."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Evaluation
from scoremix.data.images import LabeledImages
from scoremix.evaluation.errors import JudgedPairs, first_of_each, genuine_pairs, judge_pairs
from scoremix.evaluation.metrics import supported_fars
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.errors import ArmErrors, ErrorsSummary, MendedErrors, WrongPair
from scoremix.outputs.evaluated import labels_of, of_arms, pairs_of
from scoremix.stages.judge.evaluate import evaluated as evaluated_rows

SHOWN = 6  # pairs of each kind


def find_errors(config: Evaluation, real: Artifact, evaluated: Mapping[str, Artifact], *, work: Work) -> None:
    """Writes errors.json and images.npy, the images it names by row, of the first seed of each arm.

    Of each arm: thresholds at the supported FARs, histograms of genuine and impostor similarities, the worst false
    accepts and rejects at the headline FAR. Of the judged arm against each control: how many pairs it mended and broke.
    """
    images = LabeledImages.load(real.folder).of_classes(config.classes)
    chosen = evaluated_rows(images.counts, config.images, config.seed)
    first = {arm: of_seeds[0] for arm, of_seeds in of_arms(evaluated).items()}
    labels = labels_of(evaluated)
    pairs, impostors = genuine_pairs(labels), pairs_of(labels)[1]
    fars = [level.far for level in supported_fars(impostors, config.fars) if level.supported]
    fars = fars or [max(config.headline, 1 / impostors)]
    at = fars.index(config.headline) if config.headline in fars else len(fars) - 1
    shown: dict[int, int] = {}  # row among the evaluated images -> row of images.npy

    def wrong_pair(rows: NDArray[np.int64], similarity: float) -> WrongPair:
        a, b = rows.tolist()
        places = shown.setdefault(a, len(shown)), shown.setdefault(b, len(shown))
        return WrongPair(places, (images.class_names[labels[a]], images.class_names[labels[b]]), float(similarity))

    arms, judged = {}, {}
    with work.bar(len(first), "arms") as advance:
        for name, artifact in first.items():
            judged[name] = judged_pairs = judge_pairs(np.load(artifact / "embeddings.npy"), labels, fars)
            accepted, refused = _wrong(judged_pairs, at)
            order = np.argsort(judged_pairs.genuine[refused], kind="stable")
            lowest = refused[order][first_of_each(pairs[refused[order]], labels, SHOWN)]
            highest = first_of_each(judged_pairs.impostor_pairs[accepted], labels, SHOWN)
            arms[name] = ArmErrors(
                judged_pairs.thresholds.tolist(),
                len(accepted),
                len(refused),
                judged_pairs.counts[0].tolist(),
                judged_pairs.counts[1].tolist(),
                [wrong_pair(judged_pairs.impostor_pairs[i], judged_pairs.impostor[i]) for i in highest],
                [wrong_pair(pairs[i], judged_pairs.genuine[i]) for i in lowest],
            )
            advance(len(arms))
    mended = {
        control: _mended(judged[config.treatment], judged[control], at, pairs, labels, wrong_pair)
        for control in config.controls
        if control in judged and config.treatment in judged
    }
    pixels = images.take(chosen[np.array(list(shown), np.int64)])[0]
    work.write_array("images.npy", pixels)
    ErrorsSummary(fars, fars[at], len(pairs), impostors, arms, mended).write(work)


def _wrong(judged: JudgedPairs, at: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the impostor pairs accepted and of the genuine pairs refused at one of the thresholds."""
    threshold = judged.thresholds[at]
    return np.flatnonzero(judged.impostor > threshold), np.flatnonzero(judged.genuine <= threshold)


def _mended(
    arm: JudgedPairs,
    control: JudgedPairs,
    at: int,
    pairs: NDArray[np.int64],
    labels: NDArray[np.int32],
    wrong_pair: Callable[[NDArray[np.int64], float], WrongPair],
) -> MendedErrors:
    """What the control gets wrong and the arm does not, and the reverse, by numbers; and the plainest of the first.

    The plainest are the genuine pairs, refused before, that are furthest above the arm's threshold now, and the impostor
    pairs, accepted before, that were furthest above the control's.
    """
    (accepts, rejects), (accepts_before, rejects_before) = _wrong(arm, at), _wrong(control, at)
    now, before = (
        {tuple(pair) for pair in judged.impostor_pairs[places].tolist()}
        for judged, places in ((arm, accepts), (control, accepts_before))
    )
    won = np.setdiff1d(rejects_before, rejects)
    won = won[np.argsort(-arm.genuine[won], kind="stable")]
    gone = np.array([i for i in accepts_before if tuple(control.impostor_pairs[i].tolist()) not in now], np.int64)
    genuine = won[first_of_each(pairs[won], labels, SHOWN)]
    impostor = gone[first_of_each(control.impostor_pairs[gone], labels, SHOWN)]
    return MendedErrors(
        rejects_mended=len(won),
        rejects_broken=len(np.setdiff1d(rejects, rejects_before)),
        accepts_mended=len(gone),
        accepts_broken=len(now - before),
        genuine=[wrong_pair(pairs[i], arm.genuine[i]) for i in genuine],
        impostor=[wrong_pair(control.impostor_pairs[i], control.impostor[i]) for i in impostor],
    )
