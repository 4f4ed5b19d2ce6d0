"""Quality of reproductions and mixes: fidelity, diversity, distances, copying, in one feature space (Appendix D.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from scoremix.config import Quality
from scoremix.data.images import LabeledImages
from scoremix.evaluation import appearance, backbones, generated, privacy
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, has_sources
from scoremix.outputs.networks import CHECKPOINT
from scoremix.outputs.quality import QualitySummary
from scoremix.recognition import checkpoints
from scoremix.recognition.training import class_centers, embed
from scoremix.report.pages import quality as page
from scoremix.report.sections.measures import Pair, QualityResults
from scoremix.stages.embedding import BLOCK

Embed = Callable[[LabeledImages, NDArray[np.int64]], Tensor]  # some images of a set -> features (n, d) on the CPU

REFERENCE, HELD_OUT = "real", "held-out classes"
BATCH = 64  # images a backbone sees at a time
LEAST_PAIRS = 10  # impostor pairs above a threshold that may decide a leak rate


def measure_quality(
    config: Quality,
    judge: Artifact | External,
    real: Mapping[str, Artifact],
    sets: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Writes quality.json, quality.csv, quality.html and the terminal's quality.txt.

    `real` holds 'train' and may hold 'held_out' (classes not trained on). Sets that were sampled or mixed here say
    which classes each image was made of, and with which weights; others are matched to the training classes by name.
    """
    embed = embedder(config, judge, work)
    train = _part(real["train"], "train")
    held = _part(real["held_out"], "test") if "held_out" in real else None
    stored = LabeledImages.load(real["train"].folder)
    apart = stored.of_classes("held_out") if stored.held_out is not None else None
    loaded = {name: LabeledImages.load(artifact.folder) for name, artifact in sets.items()}
    for name, images in loaded.items():
        if images.shape[1:] != train.shape[1:]:
            raise ValueError(f"{name}: images are {images.shape[1:]}, the real ones {train.shape[1:]}")
    with work.bar(2 + len(sets), "sets") as advance:
        reference = RealReference.of(config, embed, train, held, apart)
        advance(1)
        sets_by_name = {}
        for name, images in loaded.items():
            sources = Sources.of(images, train, sets[name])
            sets_by_name[name] = GeneratedSet(*_embedded(embed, images, config.images), sources, images)
            advance(1 + len(sets_by_name))
        rows = compared(config, reference, sets_by_name)
        advance(2 + len(sets_by_name))
    notes = _notes(config, judge, reference, sets_by_name, rows[REFERENCE]["compared"])
    pairs = {name: closest(config, reference, synthetic) for name, synthetic in sets_by_name.items()}
    work.count("images", len(train) + sum(map(len, loaded.values())))
    numbers = {name: {k: v if np.isfinite(v) else None for k, v in row.items()} for name, row in rows.items()}
    QualitySummary(notes, numbers, {name: _plain(closest_pairs) for name, closest_pairs in pairs.items()}).write(work)
    work.write("quality.csv", page.to_csv(rows))
    work.write("quality.txt", page.text(rows, notes))
    work.write("quality.html", page.render(QualityResults(rows, notes, pairs)))


@dataclass(frozen=True)
class RealReference:
    """What generated images are compared with."""

    images: LabeledImages
    features: Tensor
    labels: NDArray[np.int64]
    second: NDArray[np.bool_]  # every other image of each class: the reference row
    centers: Tensor
    held: Tensor | None  # of other classes: what leak rates are read beside
    unseen: Tensor | None  # of the training classes, set apart before training: what C_T is measured against
    thresholds: list[tuple[float, float]]  # (fmr, cosine) on held-out images

    @classmethod
    def of(
        cls,
        config: Quality,
        embed: Embed,
        train: LabeledImages,
        held: LabeledImages | None,
        apart: LabeledImages | None,
    ) -> RealReference:
        features, rows = _embedded(embed, train, len(train))
        labels = train.labels_of(rows)
        second = (rows - (np.cumsum(train.counts) - train.counts)[labels]) % 2 == 1
        centers = class_centers(features, torch.from_numpy(labels), len(train.class_names))
        unseen = None if apart is None else _embedded(embed, apart, config.images)[0]
        if held is None:
            return cls(train, features, labels, second, centers, None, unseen, [])
        other, other_rows = _embedded(embed, held, config.images)
        other_labels = held.labels_of(other_rows)
        counts = np.bincount(other_labels)
        pairs = (len(other) ** 2 - int((counts**2).sum())) // 2
        fmrs = [fmr for fmr in config.fmrs if fmr * pairs >= LEAST_PAIRS]
        cosines = privacy.impostor_thresholds(other, other_labels, fmrs).tolist() if fmrs else []
        return cls(train, features, labels, second, centers, other, unseen, list(zip(fmrs, cosines, strict=True)))


@dataclass(frozen=True)
class Sources:
    """Training classes behind each class of a set, (classes, m), None where nothing is known; weights of each image.

    Weights whose sum is not positive point nowhere: they count as equal.
    """

    classes: NDArray[np.int64] | None
    weights: NDArray[np.float64]  # (images, m)
    labels: NDArray[np.int64]  # (images,), rows of `classes`

    @classmethod
    def of(cls, images: LabeledImages, train: LabeledImages, synthetic: Artifact) -> Sources:
        if has_sources(synthetic):
            mixed = MixedImages.load(synthetic)
            weights = mixed.weights.astype(np.float64)
            nowhere = weights.sum(1, keepdims=True) <= 0
            weights = np.where(nowhere, 1 / weights.shape[1], weights)
            return cls(mixed.mplets, weights, images.labels)
        place = {name: k for k, name in enumerate(train.class_names)}
        if not set(images.class_names) <= set(place):
            return cls(None, np.ones((len(images), 1)), images.labels)
        return cls(np.array([[place[name]] for name in images.class_names]), np.ones((len(images), 1)), images.labels)

    def targets(self, centers: Tensor, rows: NDArray[np.int64]) -> tuple[Tensor | None, Tensor | None]:
        """Directions in which every class, with its images' mean weights, and the images `rows` should lie."""
        if self.classes is None:
            return None, None
        sums = np.zeros(self.classes.shape)
        np.add.at(sums, self.labels, self.weights)
        sources, own = centers[torch.from_numpy(self.classes)].double(), torch.from_numpy(self.weights[rows])
        of_classes = torch.einsum("cmd,cm->cd", sources, torch.from_numpy(sums))
        return of_classes, torch.einsum("nmd,nm->nd", sources[torch.from_numpy(self.labels[rows])], own)


@dataclass(frozen=True)
class GeneratedSet:
    """A generated set in feature space; `rows` are the images that were embedded."""

    features: Tensor
    rows: NDArray[np.int64]
    sources: Sources
    images: LabeledImages

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.images.labels_of(self.rows)


def compared(config: Quality, real: RealReference, sets: Mapping[str, GeneratedSet]) -> dict[str, generated.Values]:
    """All measures of every set, the references first: equal numbers of images and of images per class in all."""
    first = np.flatnonzero(~real.second)
    pools = {name: _of_sources(real, first, synthetic) for name, synthetic in sets.items()}
    second = np.flatnonzero(real.second)
    sizes = [config.images, len(first), len(second)]
    n = min([*sizes, *(len(synthetic.features) for synthetic in sets.values()), *map(len, pools.values())])
    if n <= config.neighbours:
        raise ValueError(
            f"only {n} images can be compared, {config.neighbours} neighbours need more (quality.neighbours)"
        )
    each = min([_each(real.labels[second]), *(_each(synthetic.labels) for synthetic in sets.values())])
    unseen: dict[str, generated.Values] = {}
    if real.held is not None:
        copying = generated.of_copying(real.held, real.features, None, real.thresholds)
        unseen[HELD_OUT] = {"images": float(len(real.held)), **copying}
    return {
        REFERENCE: _reference(config, real, first, second, n, each),
        **unseen,
        **{name: _measured(config, real, synthetic, pools[name], n, each) for name, synthetic in sets.items()},
    }


def _measured(
    config: Quality, real: RealReference, synthetic: GeneratedSet, pool: NDArray[np.int64], n: int, each: int
) -> generated.Values:
    rows = generated.first_of_classes(synthetic.labels, each)
    sources = synthetic.sources
    parents = None
    if sources.classes is not None and sources.classes.shape[1] > 1:
        parents = torch.from_numpy(sources.classes[synthetic.labels])
    chosen = pool[generated.spread(len(pool), n)]
    targets = sources.targets(real.centers, synthetic.rows[rows])
    return {
        "images": float(len(synthetic.features)),
        "compared": float(n),
        "images_per_class": float(each),
        **generated.of_classes(synthetic.features[rows], synthetic.labels[rows], *targets, everything=real.centers),
        **generated.of_distributions(
            real.features[chosen], synthetic.features[generated.spread(len(synthetic.features), n)], config.neighbours
        ),
        **generated.of_copying(
            synthetic.features, real.features, real.unseen, real.thresholds, parents, torch.from_numpy(real.labels)
        ),
        **appearance.of_appearance(_pixels(real.images, pool), _pixels(synthetic.images, synthetic.rows)),
    }


def _reference(
    config: Quality, real: RealReference, first: NDArray[np.int64], second: NDArray[np.int64], n: int, each: int
) -> generated.Values:
    """One half of the real images against the other; copying: held-out classes against all training images."""
    rows = second[generated.first_of_classes(real.labels[second], each)]
    centers = class_centers(real.features[first], torch.from_numpy(real.labels[first]), len(real.images.class_names))
    values: generated.Values = {
        "images": float(len(real.features)),
        "compared": float(n),
        "images_per_class": float(each),
        **generated.of_classes(real.features[rows], real.labels[rows], centers, everything=centers),
        **generated.of_distributions(
            real.features[first[generated.spread(len(first), n)]],
            real.features[second[generated.spread(len(second), n)]],
            config.neighbours,
        ),
    }
    values |= generated.of_copying(real.features[second], real.features[first], real.unseen, real.thresholds)
    return values | appearance.of_appearance(_pixels(real.images, first), _pixels(real.images, second))


def _pixels(images: LabeledImages, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """As many of some rows as appearance is measured on, evenly spaced."""
    return images.take(rows[generated.spread(len(rows), appearance.PROBED)])[0]


def _of_sources(real: RealReference, rows: NDArray[np.int64], synthetic: GeneratedSet) -> NDArray[np.int64]:
    """Those of some real rows whose class is a source of the set; all where sources are unknown."""
    if synthetic.sources.classes is None:
        return rows
    return rows[np.isin(real.labels[rows], synthetic.sources.classes)]


def _each(labels: NDArray[np.int64]) -> int:
    """Median number of images of a class."""
    return max(1, int(np.median(np.unique(labels, return_counts=True)[1])))


def closest(config: Quality, real: RealReference, synthetic: GeneratedSet) -> list[Pair]:
    """The generated images most similar to a training image, each beside it."""
    similarity, row = privacy.nearest_similarity(synthetic.features, real.features)
    top = similarity.topk(min(config.pictures, len(similarity)))
    train = row[top.indices].cpu().numpy()
    image = synthetic.rows[top.indices.cpu().numpy()]
    names = [synthetic.images.class_names[k] for k in synthetic.images.labels_of(image)]
    return [
        Pair(int(i), name, one, int(t), real.images.class_names[real.labels[t]], two, float(s))
        for i, name, one, t, two, s in zip(
            image,
            names,
            synthetic.images.take(image)[0],
            train,
            real.images.take(train)[0],
            top.values.tolist(),
            strict=True,
        )
    ]


# ---------------------------------------------------------------------------------- features


def embedder(config: Quality, judge: Artifact | External, work: Work) -> Embed:
    """Function from a set and some of its rows to features on the CPU: unit ones of a recognizer, else raw."""
    path = Path(judge.place) if isinstance(judge, External) else judge / CHECKPOINT
    device = engine.start(work.runtime.device).device
    if config.features == "recognizer":
        recognizer, description = checkpoints.load(path)
        recognizer.to(device)

        def unit(images: LabeledImages, rows: NDArray[np.int64]) -> Tensor:
            pixels = torch.from_numpy(images.take(rows)[0])
            return normalize(embed(recognizer, checkpoints.network_input(pixels, description))).cpu()

        return unit
    name, net = config.features, backbones.load(config.features, path).to(device)

    @torch.no_grad()
    def raw(images: LabeledImages, rows: NDArray[np.int64]) -> Tensor:
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        pixels = (torch.from_numpy(images.take(part)[0]).to(device) for part in parts)
        return torch.cat([net(backbones.network_input(name, x)).cpu() for x in pixels])

    return raw


def _embedded(embed: Embed, images: LabeledImages, most: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Features of at most so many images, evenly spaced, and their rows."""
    rows = generated.spread(len(images), most)
    parts = [embed(images, rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    return torch.cat(parts), rows


def _part(artifact: Artifact, part: str) -> LabeledImages:
    """A part of a split set, the whole of one without that part."""
    images = LabeledImages.load(artifact.folder)
    return images.of_classes(part) if len(images.splits.get(part, ())) else images


def _notes(
    config: Quality, judge: Artifact | External, real: RealReference, sets: Mapping[str, GeneratedSet], n: float
) -> list[str]:
    seed = None if isinstance(judge, External) else judge.manifest["seed"]
    notes = [
        f"features: {config.features}" + (f" trained with seed {seed}" if seed is not None else ", weights from a file")
    ]
    if real.held is None:
        notes.append("no held-out real images: leak rates are not measured")
    elif missing := [f"{fmr:g}" for fmr in config.fmrs if fmr not in dict(real.thresholds)]:
        notes.append(f"too few held-out impostor pairs for leak rates at FMR {', '.join(missing)}")
    if real.unseen is None:
        notes.append("no images of the training classes were held out (data.held_out): C_T is not measured")
    else:
        notes.append(generated.C_T)
    if (each := n / len(real.images.class_names)) <= config.neighbours:
        notes.append(
            f"precision, recall, density and coverage say little: a neighbourhood of {config.neighbours} images "
            f"(quality.neighbours) reaches into other classes, as {each:.1f} images of a class are compared; noise passes, too"
        )
    if unknown := [name for name, synthetic in sets.items() if synthetic.sources.classes is None]:
        notes.append(f"classes not named as in training, no target centers: {', '.join(unknown)}")
    return notes


def _plain(pairs: list[Pair]) -> list[dict[str, int | str | float]]:
    return [
        {"image": p.image, "class": p.name, "train_image": p.train, "train_class": p.train_name, "cosine": p.cosine}
        for p in pairs
    ]
