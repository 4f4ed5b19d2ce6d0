"""Metrics against closed forms, brute force, scikit-learn and the published protocols' outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from scoremix.evaluation import metrics
from support import plain_metrics

Golden = Callable[[str], Path]


def scores(seed: int, n: int = 400, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.2
    similarity = rng.standard_normal(n) + 1.2 * same
    return np.round(similarity, 1) if ties else similarity, same


def brute_tar(similarity: np.ndarray, same: np.ndarray, far: float) -> float:
    """Best TAR over every threshold, accepting what is at least the threshold."""
    best = 0.0
    for threshold in similarity:
        accepted = similarity >= threshold
        if accepted[~same].mean() <= far:
            best = max(best, accepted[same].mean())
    return best


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc_and_eer_agree_with_scikit_learn(ties: bool) -> None:
    similarity, same = scores(0, ties=ties)
    for drop in (False, True):
        ours = metrics.roc(similarity, same, drop_intermediate=drop)
        far, tar, thresholds = oracle.roc_curve(same, similarity, drop_intermediate=drop)
        np.testing.assert_array_equal(ours.far, far)
        np.testing.assert_array_equal(ours.tar, tar)
        np.testing.assert_array_equal(ours.thresholds, thresholds)
    assert plain_metrics.auc(similarity, same) == pytest.approx(oracle.roc_auc_score(same, similarity), abs=1e-12)
    x = np.linspace(0, 1, 200_001)
    gap = x - (1 - np.interp(x, *oracle.roc_curve(same, similarity)[:2]))
    assert plain_metrics.eer(similarity, same) == pytest.approx(x[np.abs(gap).argmin()], abs=2e-5)


@pytest.mark.parametrize("ties", [False, True])
def test_tar_at_most_is_the_best_of_all_thresholds(ties: bool) -> None:
    fars = [0.0, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0]
    for seed in range(5):
        similarity, same = scores(seed, ties=ties)
        expected = [brute_tar(similarity, same, far) for far in fars]
        np.testing.assert_array_equal(metrics.tar_at_far(similarity, same, fars), expected)
        np.testing.assert_array_equal(
            metrics.tar_at_far(torch.from_numpy(similarity), torch.from_numpy(same), fars), expected
        )


def test_tar_meets_a_level_that_is_a_ratio_of_counts_exactly() -> None:
    same = np.arange(110) < 10
    similarity = np.concatenate([np.full(10, 0.5), np.linspace(0, 1, 100)])
    accepted_impostors = int((similarity[~same] > 0.5).sum())
    assert metrics.tar_at_far(similarity, same, accepted_impostors / 100) == 1
    assert metrics.tar_at_far(similarity, same, (accepted_impostors - 1) / 100) == 0
    for impostors in (3, 7, 10, 49, 1000):
        k = np.arange(impostors + 1)
        np.testing.assert_array_equal(metrics.allowed_impostors(impostors, k / impostors), k)


def test_tar_keeps_the_shape_of_far_and_is_symmetric_in_order() -> None:
    similarity, same = scores(1)
    grid = np.array([[0.1, 0.01], [0.5, 0.2]])
    order = np.random.default_rng(0).permutation(len(same))
    for rule in ("at_most", "nearest"):
        a = metrics.tar_at_far(similarity, same, grid, rule)
        assert a.shape == (2, 2)
        np.testing.assert_array_equal(a, metrics.tar_at_far(similarity[order], same[order], grid, rule))
        assert float(metrics.tar_at_far(similarity, same, 0.1, rule)) == a[0, 0]


def test_ijb_scores_match_the_published_code(golden: Golden) -> None:
    data = np.load(golden("ijbc_templates.npz"), allow_pickle=False)
    first, second = (np.searchsorted(data["unique_templates"], data[side]) for side in ("p1", "p2"))
    features, same = data["template_norm_feats"], data["label"].astype(bool)
    similarity = np.sum(features[first] * features[second], -1)  # the published scores, bit for bit
    np.testing.assert_array_equal(metrics.tar_at_far(similarity, same, data["fpr_targets"], "nearest"), data["tar"])
    np.testing.assert_array_equal(metrics.tar_at_far(similarity, same, data["fpr_targets"]), data["tar_strict"])


@pytest.mark.parametrize(
    ("similarity", "same", "far", "message"),
    [
        ([0.1, np.nan], [True, False], 0.1, "similarity: 1 values are not finite"),
        ([0.1, 0.2], [True, True], 0.1, "same: needs genuine and impostor pairs"),
        ([0.1, 0.2], [True], 0.1, "same: 1 flags for 2 similarities"),
        ([0.1, 0.2], [True, False], 1.5, "far: 1.5 is not within 0 to 1"),
    ],
)
def test_wrong_input_is_named(similarity: list[float], same: list[bool], far: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.tar_at_far(np.array(similarity), np.array(same), far)


def test_supported_levels() -> None:
    levels = metrics.supported_fars(100_000, (1e-1, 1e-4, 1e-5))
    assert [level.supported for level in levels] == [True, True, False]
    assert levels[1].impostors == 10
    assert "1 of 100,000 impostor pairs decide FAR 1e-05; at least 10 are needed (1,000,000 pairs)" in levels[2].reason


@pytest.mark.parametrize("name", ["verification_600", "verification_1000_hard"])
def test_pair_accuracy_matches_the_published_code(golden: Golden, name: str) -> None:
    data = np.load(golden(f"{name}.npz"), allow_pickle=False)
    mean, std, accuracy, thresholds = metrics.kfold_accuracy(
        data["embeddings"][0::2], data["embeddings"][1::2], data["issame"]
    )
    np.testing.assert_allclose(accuracy, data["accuracy"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(thresholds, data["best_thresholds"], rtol=0, atol=1e-12)
    assert (mean, std) == pytest.approx((float(data["acc_mean"]), float(data["acc_std"])), abs=1e-12)


def test_pair_accuracy_of_separable_pairs_is_one_and_folds_follow_scikit_learn() -> None:
    from sklearn.model_selection import KFold

    a = torch.eye(4).repeat(8, 1)[:23]
    same = torch.arange(23) % 3 == 0
    b = torch.where(same[:, None], a, a.roll(1, 1))
    result = metrics.kfold_accuracy(a, b, same, folds=5)
    assert result.mean == 1
    assert result.std == 0
    folds = [(int(t[0]), int(t[-1]) + 1) for _, t in KFold(5).split(np.zeros(23))]
    assert metrics.fold_bounds(23, 5) == folds


def test_all_pairs_whatever_the_block_and_the_tail() -> None:
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((60, 5)).astype(np.float32), rng.integers(0, 7, 60) * 10
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(60, 1)
    full, same = (unit @ unit.T)[i, j], labels[i] == labels[j]
    pairs = metrics.pair_similarities(torch.from_numpy(x), torch.from_numpy(labels), block=16)
    np.testing.assert_allclose(np.sort(pairs.genuine), np.sort(full[same]), atol=1e-6)
    np.testing.assert_allclose(pairs.impostor, -np.sort(-full[~same]), atol=1e-6)
    assert pairs.impostors == (~same).sum()
    np.testing.assert_array_equal(pairs.classes, np.unique(labels))
    # a class's share of the genuine pairs, a pair of classes' share of the impostor pairs
    np.testing.assert_array_equal(np.bincount(pairs.genuine_class, minlength=7), pairs.sizes * (pairs.sizes - 1) // 2)
    joint = np.zeros((7, 7), int)
    np.add.at(joint, tuple(pairs.impostor_classes.T), 1)
    np.testing.assert_array_equal((joint + joint.T)[0, 1:], pairs.sizes[0] * pairs.sizes[1:])
    short = metrics.pair_similarities(x, labels, tail=50, block=7)
    np.testing.assert_allclose(short.impostor, pairs.impostor[:50], atol=1e-6)
    np.testing.assert_array_equal(short.impostor_classes.sum(1), pairs.impostor_classes[:50].sum(1))
    assert short.impostors == pairs.impostors
    with pytest.raises(ValueError, match="only 50 of"):
        short.flat()


def test_tiny_face_ranks_match_the_published_code(golden: Golden) -> None:
    data = np.load(golden("tinyface_rank.npz"), allow_pickle=False)
    ranks = json.loads(str(data["meta"]))["ranks"]
    found = plain_metrics.closed_set_rank(
        data["gallery"], data["gallery_labels"], data["probe"], data["probe_labels"], ranks, block=64
    )
    np.testing.assert_array_equal(found.astype(np.float32), data["rank_acc"])


def test_ranks_by_brute_force_with_mates_and_distractors() -> None:
    rng = np.random.default_rng(5)
    gallery, owners = rng.standard_normal((40, 6)), np.repeat(np.arange(-5, 15), 2)
    probes, wanted = rng.standard_normal((50, 6)), rng.integers(0, 20, 50)
    ranks = (1, 3, 10)
    hits = []
    for x, label in zip(probes, wanted, strict=True):
        if label in owners:
            order = owners[np.argsort(-gallery @ x)]
            hits.append([label in order[:k] for k in ranks])
    found = plain_metrics.closed_set_rank(gallery, owners, probes, wanted, ranks, block=8)
    np.testing.assert_allclose(found, np.mean(hits, 0))


def test_identification_is_the_mean_over_enrolments() -> None:
    rng = np.random.default_rng(7)
    labels = np.concatenate([rng.permutation(np.repeat(np.arange(8), 4)), [99]])
    x = rng.standard_normal((33, 4)).astype(np.float32)
    result = plain_metrics.identification(x, labels, ranks=(1, 2), draws=6, seed=1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    chosen = metrics.enrolled(labels, 6, 1)
    np.testing.assert_array_equal(labels[chosen], np.tile(np.unique(labels), (6, 1)))
    assert len(np.unique(chosen[:, 0])) > 1
    for gallery, rates in zip(chosen, result.by_draw, strict=True):
        probes = np.setdiff1d(np.arange(33), gallery)
        order = np.unique(labels)[np.argsort(-unit[probes] @ unit[gallery].T, 1)]
        hit = order == labels[probes][:, None]
        np.testing.assert_allclose(rates, [hit[:, :1].any(1).mean(), hit[:, :2].any(1).mean()])
    np.testing.assert_allclose(result.rates, result.by_draw.mean(0))
    assert result.probes == 24


def test_a_collapsed_recognizer_identifies_nobody_and_verifies_by_chance() -> None:
    labels = np.repeat(np.arange(5), 4)
    x = np.ones((20, 3), np.float32)
    assert plain_metrics.identification(x, labels, ranks=(1, 4)).rates.tolist() == [0, 0]
    similarity, same = metrics.pair_similarities(x, labels).flat()
    assert plain_metrics.auc(np.round(similarity, 5), same) == 0.5
    assert plain_metrics.eer(np.round(similarity, 5), same) == 0.5
    assert metrics.tar_at_far(np.round(similarity, 5), same, 0.1) == 0


def test_the_refused_impostor_is_a_threshold_that_holds_the_far() -> None:
    rng = np.random.default_rng(0)
    impostors = np.sort(rng.standard_normal(4000))[::-1]
    for far in (0.1, 0.01, 1 / 4000):
        threshold = impostors[metrics.refused_at(len(impostors), far)]
        assert (impostors > threshold).mean() <= far < (impostors >= threshold).mean()
    for n in range(1, 200):  # n * (1 / n) is below 1 for 49, for one
        assert metrics.refused_at(n, 1 / n) == min(1, n - 1)
    with pytest.raises(ValueError, match=r"far: 0.2, allowed 0.25 to 1"):
        metrics.refused_at(4, 0.2)
