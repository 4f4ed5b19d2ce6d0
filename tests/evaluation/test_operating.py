"""Operating points against scikit-learn and golden values; 1:N against a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from scoremix.evaluation import operating
from scoremix.evaluation.benchmarks import (
    open_set_measures,
    pair_measures,
    pair_notes,
    rank_measures,
    template_draws,
    template_pair_measures,
)
from scoremix.evaluation.estimate import wilson
from scoremix.evaluation.metrics import tar_at_far
from scoremix.evaluation.operating import FARS, operating_points, tar_draws
from scoremix.evaluation.templates import PROTOCOLS, pair_similarities, protocol, template_features


def pairs(n: int, genuine: int, seed: int, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.permutation(np.arange(n) < genuine)
    similarity = rng.normal(np.where(same, 1.0, 0.0), 0.5)
    return (similarity if digits is None else similarity.round(digits)).astype(np.float32), same


@pytest.mark.parametrize("digits", [None, 2, 1])
@pytest.mark.parametrize(("n", "genuine"), [(50, 20), (30_000, 100), (30_000, 15_000)])
def test_both_rules_are_those_of_the_whole_roc(n: int, genuine: int, digits: int | None) -> None:
    similarity, same = pairs(n, genuine, n, digits)
    fars = (1e-4, 1e-3, 1e-2, 0.05)
    found = operating_points(similarity, same, fars)
    far, tar, thresholds = roc_curve(same, similarity)
    for k, target in enumerate(fars):
        nearest, at_most = found[2 * k : 2 * k + 2]
        distance = np.abs(far - target)
        i = np.flatnonzero(distance == distance.min())[-1]
        assert (nearest.far, nearest.tar, nearest.threshold) == (far[i], tar[i], thresholds[i])
        assert nearest.tar == tar_at_far(similarity, same, target, "nearest")
        assert at_most.tar == tar_at_far(similarity, same, target)
        assert at_most.far <= target
        for p in (nearest, at_most):
            assert (similarity[~same] >= p.threshold).sum() == p.impostors == round(p.far * (~same).sum())
            assert (similarity[same] >= p.threshold).mean() == p.tar


def test_golden_ijb_under_the_arcface_protocol(golden: Callable[[str], Path]) -> None:
    with np.load(golden("ijbc_templates.npz")) as g:
        flipped = g["feats"][:, :16] + g["feats"][:, 16:]
        ids, (features,) = template_features(
            flipped, g["templates"], g["medias"], g["faceness"], [PROTOCOLS["arcface_torch"]]
        )
        np.testing.assert_array_equal(ids, g["unique_templates"])
        np.testing.assert_allclose(features, g["template_norm_feats"], atol=1e-6)
        rows = np.searchsorted(ids, np.stack([g["p1"], g["p2"]], 1))
        published = np.sum(g["template_norm_feats"][rows[:, 0]] * g["template_norm_feats"][rows[:, 1]], -1)
        (score,) = pair_similarities([features], rows[:, 0], rows[:, 1])
        np.testing.assert_allclose(score, published, atol=1e-6)
        points = operating_points(score, g["label"] == 1, g["fpr_targets"])
        np.testing.assert_array_equal([p.tar for p in points[::2]], g["tar"])
        np.testing.assert_array_equal([p.far for p in points[::2]], g["tar_fpr"])
        np.testing.assert_array_equal([p.tar for p in points[1::2]], g["tar_strict"])


def test_golden_pair_sets(golden: Callable[[str], Path]) -> None:
    for name in ("600", "1000_hard"):
        with np.load(golden(f"verification_{name}.npz")) as g:
            x = g["embeddings"]
            measures = pair_measures(x[::2], x[1::2], g["issame"] if "issame" in g else g["same"])
            assert measures[0].value == pytest.approx(float(g["acc_mean"]), abs=1e-12)
            assert measures[1].value == pytest.approx(float(g["acc_std"]), abs=1e-12)
            assert measures[0].low is not None and measures[0].low < measures[0].value < measures[0].high


def test_golden_tinyface(golden: Callable[[str], Path]) -> None:
    with np.load(golden("tinyface_rank.npz")) as g:
        found = rank_measures(g["gallery"], g["gallery_labels"], g["probe"], g["probe_labels"])
        expected = g["rank_acc"]
        expected = expected / 100 if expected.max() > 1 else expected
        np.testing.assert_allclose([m.value for m in found], expected, atol=1e-6)


def test_template_features_follow_their_switches() -> None:
    """A plain loop over templates and media, for all switches."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    templates, media, detector = rng.integers(5, 15, 60), rng.integers(0, 3, 60), rng.uniform(0.3, 1, 60)
    wanted = [
        protocol(text)
        for text in ("arcface_torch", "adaface", "cvlface", "cvlface,detector=off", "adaface,aggregation=images")
    ]
    ids, features = template_features(x, templates, media, detector, wanted)
    for p, found in zip(wanted, features, strict=True):
        y = x.astype(np.float64)
        y = y / np.linalg.norm(y, axis=1, keepdims=True) if p.norm == "removed" else y
        y = y * detector[:, None] if p.detector else y
        for t, feature in zip(ids, found, strict=True):
            own = templates == t
            groups = [own & (media == m) for m in np.unique(media[own])]
            means = [y[g].mean(0) if p.aggregation == "media" else y[g].sum(0) for g in groups]
            total = np.sum(means, axis=0)
            np.testing.assert_allclose(feature, total / np.linalg.norm(total), atol=1e-6)


def test_pair_similarities_across_tiles() -> None:
    x = np.random.default_rng(7).normal(size=(2, 700, 9)).astype(np.float32)
    a, b = np.random.default_rng(8).integers(0, 700, (2, 5000))
    for features, found in zip(x, pair_similarities(list(x), a, b), strict=True):
        np.testing.assert_allclose(found, (features[a].astype(float) * features[b]).sum(1), atol=1e-5)


@pytest.mark.parametrize("text", ["magface", "adaface,norm=maybe", "adaface,colour=on", "adaface,norm"])
def test_wrong_protocols_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are|is none of"):
        protocol(text)


def test_a_changed_preset_says_so() -> None:
    assert protocol("adaface,detector=on").name == "adaface,detector=on"
    assert protocol("adaface,detector=off") is PROTOCOLS["adaface"]


def test_bad_embeddings_are_refused() -> None:
    x = np.ones((4, 3), np.float32)
    x[2] = 0
    with pytest.raises(ValueError, match="1 of 4 are zero"):
        template_features(x, np.arange(4), np.arange(4), None, [PROTOCOLS["adaface"]])
    with pytest.raises(ValueError, match="needs detector scores"):
        template_features(x + 1, np.arange(4), np.arange(4), None, [PROTOCOLS["cvlface"]])
    with pytest.raises(ValueError, match=r"rows 9 to 9"):
        pair_similarities([x], np.array([0]), np.array([9]))


def test_a_genuine_pair_at_the_end_of_the_list_is_counted_as_in_the_whole_roc() -> None:
    impostor = np.linspace(0.9, 0, 100_000)
    similarity = np.concatenate([[0.95, (impostor[11_998] + impostor[11_999]) / 2], impostor])
    same = np.arange(len(similarity)) < 2
    nearest, _ = operating_points(similarity, same, (0.1,))
    assert nearest.tar == tar_at_far(similarity, same, 0.1, "nearest") == 1


def test_pairs_that_are_all_alike_have_operating_points() -> None:
    points = operating_points(np.zeros(20_500), np.arange(20_500) < 500, (1e-3, 1e-2))
    assert [(p.tar, p.far) for p in points] == [(0, 0)] * 4


@pytest.mark.parametrize("count", [11, 13, 20])
def test_draws_of_an_accuracy_are_around_it(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=(2, count, 4))
    same = np.arange(count) % 2 == 0
    accuracy = pair_measures(a, b, same, draws=20_000)[0]
    assert accuracy.draws is not None and abs(accuracy.draws.mean() - accuracy.value) < 0.005


def test_bootstrap_of_pairs_is_a_reweighting() -> None:
    """Each draw's TAR equals that of a list in which every pair is repeated as often as it weighs."""
    rng = np.random.default_rng(4)
    people = rng.integers(0, 6, 40)
    rows = np.array([(a, b) for a in range(40) for b in range(a) if rng.random() < 0.5])
    same = people[rows[:, 0]] == people[rows[:, 1]]
    similarity = rng.normal(same * 1.0, 0.7).astype(np.float32)
    draws = template_draws(rows, same, 40, draws=20, seed=1)
    found = tar_draws(similarity, same, (0.01, 0.1), draws)
    for n, tars in zip(draws.n, found, strict=True):
        a, b = draws.classes.T
        weight = np.where(same, n[a], n[a] * n[b])
        s, y = np.repeat(similarity, weight), np.repeat(same, weight)
        if y.any() and not y.all():
            np.testing.assert_allclose(tars, tar_at_far(s, y, (0.01, 0.1)))


def test_intervals_hold_the_value_and_counts_are_said() -> None:
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 200, (20_000, 2))
    rows = rows[rows[:, 0] != rows[:, 1]]
    same = rows[:, 0] // 4 == rows[:, 1] // 4
    similarity = rng.normal(same * 1.0, 0.4).astype(np.float32)
    measures = template_pair_measures(similarity, same, template_draws(rows, same, 200, 200), FARS)
    assert min(m.level for m in measures) >= 1 / (~same).sum()  # no FAR below one impostor pair
    for m in measures:
        assert m.decided_by == round(m.reached * m.of)
        if m.rule == "at_most":
            assert m.low <= m.value <= m.high


def test_open_set_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(6)
    centers = rng.normal(size=(30, 8))
    subjects = rng.integers(0, 30, 200)
    unit = lambda x: (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    probes = unit(centers[subjects] + 0.7 * rng.normal(size=(200, 8)))
    gallery, owners = unit(centers[:12]), np.arange(12)
    found = {(i.target, i.rule): i for i in operating.identified(operating.search(gallery, owners, probes, subjects))}
    scores = probes @ gallery.T
    best = scores.max(1)
    non_mated = np.sort(best[subjects >= 12])[::-1]
    for fpir in (0.01, 0.1):
        threshold = non_mated[max(int(len(non_mated) * fpir) - 1, 0)]
        hits = [scores[q, s] > threshold and scores[q].argmax() == s for q, s in enumerate(subjects) if s < 12]
        assert found[fpir, "published"].tpir == pytest.approx(np.mean(hits))
        strict = found[fpir, "at_most"]
        assert (non_mated > strict.threshold).mean() == strict.fpir <= fpir
        assert strict.tpir >= found[fpir, "published"].tpir
    measures = open_set_measures(
        [("a", gallery, owners), ("b", unit(centers[12:20]), np.arange(12, 20))], probes, subjects, draws=50
    )
    value = {(m.metric, m.level, m.rule): m for m in measures}
    mean = value["tpir mean", 0.1, "published"]
    assert mean.value == pytest.approx(
        (value["tpir a", 0.1, "published"].value + value["tpir b", 0.1, "published"].value) / 2
    )
    rank1 = [(scores[q].argmax() == s) for q, s in enumerate(subjects) if s < 12]
    b = probes @ unit(centers[12:20]).T
    rank1 += [b[q].argmax() == s - 12 for q, s in enumerate(subjects) if 12 <= s < 20]
    assert value["rank", 1, None].value == pytest.approx(np.mean(rank1))


def test_all_mated_probes_are_refused() -> None:
    x = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="3 of 3 are mated"):
        operating.search(x, np.arange(3), x, np.arange(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["gallery", "probes"])
def test_embeddings_that_are_not_finite_are_no_hits(place: str, value: float) -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    people = np.arange(6)
    sets = {"gallery": x, "probes": x.copy()}
    sets[place][:2] = value
    with pytest.raises(ValueError, match=rf"{place}: 2 of 6 are not finite"):
        rank_measures(sets["gallery"], people, sets["probes"], people)
    with pytest.raises(ValueError, match=rf"{place}: 2 of 6 are not finite"):
        operating.search(sets["gallery"], people, sets["probes"], people)
    with pytest.raises(ValueError, match="2 of 6 are not finite"):
        pair_measures(sets["gallery"], sets["probes"], np.arange(6) < 3)
    with pytest.raises(ValueError, match="2 of 6 are not finite"):
        pair_similarities([sets[place]], people, people)


@pytest.mark.parametrize(("pairs_given", "folds"), [(2, 2), (3, 3), (9, 9), (10, 10), (25, 10)])
def test_small_pair_sets_say_how_many_folds_they_have_and_how_little_they_show(pairs_given: int, folds: int) -> None:
    same = np.arange(pairs_given) % 2 == 0
    a = np.eye(2)[np.zeros(pairs_given, int)]
    b = np.eye(2)[np.where(same, 0, 1)]
    accuracy, deviation = pair_measures(a, b, same)
    assert accuracy.rule == deviation.rule == f"{folds} folds"
    assert (accuracy.low, accuracy.high) == tuple(wilson(accuracy.value, pairs_given))
    assert accuracy.low is not None and accuracy.low < accuracy.value
    assert pair_notes(same) == []


@pytest.mark.parametrize("kind", [True, False])
def test_pairs_of_one_kind_have_an_accuracy_and_a_note(kind: bool) -> None:
    same = np.full(200, kind)
    measures = pair_measures(np.eye(2)[same * 1], np.eye(2)[same * 1], same)
    assert [m.metric for m in measures] == ["accuracy", "deviation"]
    (note,) = pair_notes(same)
    assert note.startswith(f"only {'genuine' if kind else 'impostor'} pairs")
    with pytest.raises(ValueError, match="1 pairs, at least 2"):
        pair_measures(np.eye(2)[:1], np.eye(2)[:1], same[:1])


def test_a_list_sorted_by_kind_has_a_note() -> None:
    (note,) = pair_notes(np.arange(144) < 72)
    assert note.startswith("9 of 10 folds") and pair_notes(np.arange(144) % 2 == 0) == []


def test_draws_without_a_difference_are_no_interval() -> None:
    people, x = np.arange(6), np.eye(6, dtype=np.float32)
    for found in rank_measures(x, people, x, people):  # no error: no draw has one either
        assert (found.value, found.low, found.high) == (1, *wilson(1, 6))
    one = np.zeros(3, int)
    found = rank_measures(x[:2], np.array([0, 1]), x[[0, 0, 1]], one)[0]
    assert found.low is not None and found.high is not None and found.high - found.low > 0.5  # one person tells little
