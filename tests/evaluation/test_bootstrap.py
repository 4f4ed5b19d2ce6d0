"""The bootstrap over classes against a literal one that repeats classes, and against the plain metrics."""

from __future__ import annotations

import numpy as np
import pytest

from scoremix.evaluation import bootstrap, estimate, metrics
from support import plain_metrics

FARS = [0.2, 0.0, 0.03, 1.0]


def data(seed: int = 0, classes: int = 9, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, classes)
    labels = np.repeat(np.arange(classes) * 3, sizes)
    center = rng.standard_normal((classes, 5))
    x = np.repeat(center, sizes, 0) + 0.8 * rng.standard_normal((len(labels), 5))
    x = np.round(x) if ties else x
    x[np.all(x == 0, 1)] = 1
    order = rng.permutation(len(labels))
    return x[order].astype(np.float32), labels[order]


def literal_pairs(pairs: metrics.PairSimilarities, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities with every pair written down as often as it weighs."""
    genuine = np.repeat(pairs.genuine, n[pairs.genuine_class])
    a, b = pairs.impostor_classes.T
    impostor = np.repeat(pairs.impostor, n[a] * n[b])
    similarity = np.concatenate([genuine, impostor])
    return similarity, np.arange(len(similarity)) < len(genuine)


@pytest.mark.parametrize("ties", [False, True])
def test_verification_equals_writing_every_pair_down(ties: bool) -> None:
    for seed in range(4):
        x, labels = data(seed, ties=ties)
        pairs = metrics.pair_similarities(x, labels)
        pairs = pairs._replace(genuine=np.round(pairs.genuine, 5), impostor=np.round(pairs.impostor, 5))
        n = bootstrap.class_draws(len(pairs.classes), 20, seed)
        tar = bootstrap.weighted_tar_at_far(pairs, FARS, n)
        curves = bootstrap.weighted_auc_eer(pairs, n)
        for r, row in enumerate(n):
            similarity, same = literal_pairs(pairs, row)
            if same.all() or not same.any():
                assert np.isnan(tar[r]).all()
                continue
            np.testing.assert_array_equal(tar[r], metrics.tar_at_far(similarity, same, FARS))
            assert curves.auc[r] == pytest.approx(plain_metrics.auc(similarity, same), abs=1e-12)
            assert curves.eer[r] == pytest.approx(plain_metrics.eer(similarity, same), abs=1e-12)


def test_all_ones_give_the_plain_metrics() -> None:
    x, labels = data(1, classes=30)
    pairs = metrics.pair_similarities(x, labels)
    one = np.ones((1, 30), np.int64)
    flat = pairs.flat()
    np.testing.assert_array_equal(bootstrap.weighted_tar_at_far(pairs, FARS, one)[0], metrics.tar_at_far(*flat, FARS))
    np.testing.assert_allclose(bootstrap.weighted_auc_eer(pairs, one).auc, plain_metrics.auc(*flat))
    np.testing.assert_allclose(bootstrap.weighted_auc_eer(pairs, one).eer, plain_metrics.eer(*flat))
    plain = plain_metrics.identification(x, labels, (1, 3), draws=5, seed=2).rates
    for gallery in ("drawn", "all"):
        found = bootstrap.weighted_identification(x, labels, one, (1, 3), draws=5, seed=2, gallery=gallery)
        np.testing.assert_allclose(found[0], plain)


@pytest.mark.parametrize("gallery", ["drawn", "all"])
def test_identification_equals_a_gallery_of_the_drawn_classes(gallery: str) -> None:
    x, labels = data(2, classes=8)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    classes = np.unique(labels)
    n = bootstrap.class_draws(8, 15, 0)
    found = bootstrap.weighted_identification(x, labels, n, (1, 2), draws=3, seed=4, gallery=gallery)
    for r, row in enumerate(n):
        hits, trials = np.zeros(2), 0
        for chosen in metrics.enrolled(labels, 3, 4):
            present = chosen[row > 0] if gallery == "drawn" else chosen
            for c in np.repeat(np.arange(8), row):
                for p in np.setdiff1d(np.flatnonzero(labels == classes[c]), chosen):
                    order = labels[present[np.argsort(-unit[present] @ unit[p])]]
                    hits += [classes[c] in order[:k] for k in (1, 2)]
                    trials += 1
        np.testing.assert_allclose(found[r], hits / trials)


def test_a_tail_gives_the_same_or_says_that_it_is_too_short() -> None:
    x, labels = data(3, classes=40)
    full = metrics.pair_similarities(x, labels)
    n = bootstrap.class_draws(40, 30, 5)
    expected = bootstrap.weighted_tar_at_far(full, [1e-2, 1e-3], n)
    tail = metrics.pair_similarities(x, labels, tail=full.impostors // 20)
    np.testing.assert_array_equal(bootstrap.weighted_tar_at_far(tail, [1e-2, 1e-3], n), expected)
    with pytest.raises(bootstrap.TailTooShort, match=r"are too few for 0\.2"):
        bootstrap.weighted_tar_at_far(tail, [1e-2, 0.2], n)


def test_draws_are_multinomial_and_repeatable() -> None:
    n = bootstrap.class_draws(50, 400, 3)
    assert n.shape == (400, 50)
    assert (n.sum(1) == 50).all()
    assert n.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    np.testing.assert_array_equal(n, bootstrap.class_draws(50, 400, 3))
    assert (n != bootstrap.class_draws(50, 400, 4)).any()


def test_interval_of_a_normal_mean_has_its_closed_form() -> None:
    """Genuine similarities of one pair per class are Bernoulli: the bootstrap's spread is sqrt(p (1 - p)
    / classes).
    """
    classes = 400
    rng = np.random.default_rng(1)
    hit = rng.random(classes) < 0.3
    pairs = metrics.PairSimilarities(
        genuine=hit.astype(float),
        genuine_class=np.arange(classes),
        impostor=np.full(1, 0.5),
        impostor_classes=np.array([[0, 1]]),
        impostors=1,
        classes=np.arange(classes),
        sizes=np.full(classes, 2),
    )
    tar = bootstrap.weighted_tar_at_far(pairs, [0.0], bootstrap.class_draws(classes, 4000, 2))[:, 0]
    tar = tar[tar < 1]  # the one impostor is absent where class 0 or 1 was not drawn: then everything is accepted
    p = hit.mean()
    assert tar.mean() == pytest.approx(p, abs=0.003)
    assert tar.std() == pytest.approx(np.sqrt(p * (1 - p) / classes), rel=0.06)
    low, high = estimate.interval(tar)
    assert (high - low) / 2 == pytest.approx(1.96 * tar.std(), rel=0.06)


def test_wrong_shapes_are_named() -> None:
    x, labels = data(0)
    pairs = metrics.pair_similarities(x, labels)
    with pytest.raises(ValueError, match="multiplicities of 9 classes"):
        bootstrap.weighted_tar_at_far(pairs, [0.1], np.ones((2, 8), np.int64))
    with pytest.raises(ValueError, match="level: 95"):
        estimate.interval(np.zeros(5), 95)
