"""One recognizer on classes it has not seen: its embeddings of them and its metrics in every draw (paper 4.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import OpenSet
from scoremix.data.image_order import stream_seed
from scoremix.data.images import LabeledImages
from scoremix.data.pixelmix import averaged
from scoremix.evaluation import bootstrap, closed, fairness, metrics, morphing
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.evaluated import ROC_POINTS, GroupPairs
from scoremix.outputs.networks import CHECKPOINT, RecognizerSummary
from scoremix.recognition import checkpoints
from scoremix.recognition.training import embed
from scoremix.stages.embedding import BLOCK, embedded, embedded_pixels, opened

Values = dict[str, "NDArray[np.float64]"]  # metric -> (1 + resamples,), the plain value first
SCORED = 1024  # images whose scores with all classes are held at a time
CURVE_DRAWS = 200  # resamples for AUC and EER, whose cost is all pairs each


def evaluate(config: OpenSet, real: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes embeddings.npy (N, D) float32, unit rows, and labels.npy (N,), classes numbered within their part;

    measures.npz, metric -> (1 + resamples,), the plain value first (200 resamples for AUC and EER), and roc.npy, TAR
    at `ROC_POINTS`. With `config.morphs` also morphs.npy (K, D), unit rows of pixel averages of two classes, and
    morph_sources.npy (K, 2), the rows of the two images. groups.json and groups.npz have the error rates within
    each group of classes, see `write_rates`. Where images of the training classes were held out also held_out.npz, see `rank_held_out`.
    """
    stored = LabeledImages.load(real.folder)
    images = stored.of_classes(config.classes)
    chosen = evaluated(images.counts, config.images, config.seed)
    net = opened(recognizer, work)
    blocks = (chosen[start : start + BLOCK] for start in range(0, len(chosen), BLOCK))
    unit = torch.cat([embedded(net, images, rows) for rows in blocks]).numpy()
    labels = images.labels_of(chosen).astype(np.int32)
    work.write_array("embeddings.npy", unit)
    work.write_array("labels.npy", labels)
    morphs = None
    if config.morphs:
        sources = morphing.morph_sources(labels, config.morphs, config.seed)
        morphs = embedded_morphs(net, images, chosen[sources]).numpy(), sources
        work.write_array("morph_sources.npy", sources)
        work.write_array("morphs.npy", morphs[0])
    pairs = metrics.pair_similarities(unit, labels)
    draws = bootstrap.plain_and_drawn(len(pairs.classes), config.bootstrap, config.seed)
    values, curve = measure(config, unit, labels, pairs, draws, morphs)
    work.write_arrays("measures.npz", **values)
    work.write_array("roc.npy", curve)
    work.count("images", len(chosen))
    write_rates(pairs, images.groups, config.headline, draws, work=work)
    if stored.held_out is not None:
        rank_held_out(net, recognizer, stored, work=work)


def measure(
    config: OpenSet,
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int32],
    pairs: metrics.PairSimilarities,
    draws: NDArray[np.int64],
    morphs: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> tuple[Values, NDArray[np.float64]]:
    """Metrics of one recognizer, each (1 + resamples,), and its TAR at `ROC_POINTS`.

    `pairs` are those of the embeddings, `draws` (1 + resamples, classes) as of `plain_and_drawn`, `morphs` with their sources.
    """
    fars = sorted(config.fars)
    accepted = bootstrap.weighted_tar_at_far(pairs, fars, draws)
    curves = bootstrap.weighted_auc_eer(pairs, draws[: 1 + CURVE_DRAWS])
    rates = bootstrap.weighted_identification(
        embeddings, labels, draws, config.ranks, config.draws, config.seed, gallery="all"
    )
    values = {f"tar@{far:g}": accepted[:, i] for i, far in enumerate(fars)}
    values |= {"eer": curves.eer, "auc": curves.auc}
    values |= {f"rank{k}": rates[:, i] for i, k in enumerate(config.ranks)}
    if morphs is not None:
        unit, sources = morphs
        scores = morphing.attack_scores(unit, sources, embeddings, labels)
        passed = morphing.weighted_mmpmr(scores, labels[sources], pairs, config.headline, draws)
        values[f"mmpmr@{config.headline:g}"] = passed
    return values, bootstrap.weighted_tar_at_far(pairs, ROC_POINTS, draws[:1])[0]


def evaluated(counts: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Indices of the images that are evaluated, ascending: all, or some `most` drawn evenly from the classes.

    No class keeps fewer than two of its images: a class with one has no genuine pair.
    """
    if counts.sum() <= most:
        return np.arange(int(counts.sum()))
    low, high = 2, int(counts.max())
    while low < high:  # the largest number of images of a class that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    rng = np.random.default_rng(stream_seed(seed, "evaluated"))
    starts = np.cumsum(counts) - counts
    kept = [start + rng.permutation(count)[:low] for start, count in zip(starts, counts, strict=True)]
    return np.sort(np.concatenate(kept))


def embedded_morphs(net: torch.nn.Module, images: LabeledImages, rows: NDArray[np.int64]) -> torch.Tensor:
    """Unit embeddings (K, D) of the pixel averages of the images of each row (K, 2)."""
    blocks = (rows[start : start + BLOCK // 2] for start in range(0, len(rows), BLOCK // 2))
    halves = np.full(2, 0.5)
    morphs = []
    for block in blocks:
        pixels = images.take(block.reshape(-1))[0]
        pairs = pixels.reshape(*block.shape, *pixels.shape[1:])
        morphs.append(embedded_pixels(net, averaged(pairs, np.broadcast_to(halves, block.shape))))
    return torch.cat(morphs)


def write_rates(
    pairs: metrics.PairSimilarities, groups: Sequence[str] | None, far: float, draws: NDArray[np.int64], *, work: Work
) -> None:
    """groups.json: names and numbers of pairs within every group, or null without groups; groups.npz: FMR and FNMR

    (1 + resamples, groups) in each draw of classes, the plain rates first, at one threshold for all groups.
    """
    rates = None if groups is None else fairness.within_groups(pairs, groups, far, draws)
    if rates is None:
        work.write_json(GroupPairs.FILE, None)
        return
    named = (getattr(rates, name).tolist() for name in ("groups", "classes", "impostor", "genuine"))
    GroupPairs(far, *named).write(work)
    work.write_arrays("groups.npz", fmr=rates.fmr, fnmr=rates.fnmr)


def rank_held_out(net: torch.nn.Module, recognizer: Artifact, real: LabeledImages, *, work: Work) -> None:
    """Writes held_out.npz: rank and label (among the real training classes) of every held-out image.

    `rank` is missing for a recognizer whose head does not begin with the real classes: it cannot name them.
    """
    train, held = real.of_classes("train").class_names, real.of_classes("held_out")
    place = {name: k for k, name in enumerate(train)}
    labels = np.array([place[name] for name in held.class_names])[held.labels]
    if tuple(RecognizerSummary.load(recognizer).class_names[: len(train)]) != train:
        work.write_arrays("held_out.npz", labels=labels)
        return
    head = checkpoints.head_tensors(recognizer / CHECKPOINT)
    weight, bias = head["weight"][: len(train)], head.get("bias")
    held_out_ranks = []
    for rows in held.blocks(SCORED):
        x = embed(net, torch.from_numpy(held.take(rows)[0]).permute(0, 3, 1, 2)).cpu()
        scores = closed.scores(x, weight, bias[: len(train)] if bias is not None else None)
        held_out_ranks.append(closed.ranks(scores, torch.from_numpy(labels[rows])))
    work.write_arrays("held_out.npz", labels=labels, rank=torch.cat(held_out_ranks).numpy())
