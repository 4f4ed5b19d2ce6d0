"""What a report shows, as plain frozen data: numbers, names and uint8 images; nothing has to be opened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric

Kind = Literal["helps", "does not help here", "generator too weak"]
Image = NDArray[np.uint8]  # (h, w), (h, w, 1) grey or (h, w, 3) RGB
Floats = NDArray[np.floating[Any]]


# ---- numbers


MISSING = Estimate(math.nan, reason="not measured")


@dataclass(frozen=True)
class Difference:
    """Arm minus control in one metric, paired by recognizer seed."""

    arm: str
    control: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Curve:
    """Values against images seen: values (n,) or, one row per seed, (seeds, n)."""

    label: str
    images_seen: Floats
    values: Floats


@dataclass(frozen=True)
class Roc:
    """Verification curve of one arm: far (n,) increasing in (0, 1], tar (seeds, n), both as fractions."""

    far: Floats
    tar: Floats


@dataclass(frozen=True)
class Arm:
    """One way of training the recognizer; `control` arms are drawn in grey."""

    name: str
    note: str = ""
    control: bool = False
    classes: int | None = None
    images: int | None = None
    steps: int | None = None
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    roc: Roc | None = None
    training: tuple[Curve, ...] = ()  # the recognizer's loss


# ---- what was tested


@dataclass(frozen=True)
class Split:
    """One of the disjoint sets of classes; classes with one image train but give no genuine pair."""

    name: str
    classes: int
    images: int
    single_image_classes: int = 0


@dataclass(frozen=True)
class Skipped:
    path: str
    reason: str


@dataclass(frozen=True)
class Data:
    name: str
    splits: tuple[Split, ...]
    image_shape: tuple[int, int, int]  # height, width, channels
    skipped: tuple[Skipped, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The protocol: what was measured on which pairs, and how often the test classes have been looked at."""

    metrics: tuple[Metric, ...]
    headline: str  # key of the metric that the verdict is about
    genuine_pairs: int
    impostor_pairs: int
    supported_far: float  # smallest FAR that the impostor pairs support
    recognizer_seeds: tuple[int, ...]
    generator_seed: int
    test_looks: int
    confidence: float = 0.95
    images: int | None = None
    images_of: int | None = None  # where more than `images`, those were drawn evenly from the classes
    interval_note: str = "bootstrap over test classes with all seeds kept"

    def metric(self, key: str) -> Metric:
        """The metric of that key. Raises ValueError where there is none."""
        for metric in self.metrics:
            if metric.key == key:
                return metric
        raise ValueError(f"metric: {key!r} is not one of {', '.join(m.key for m in self.metrics)}")


@dataclass(frozen=True)
class Verdict:
    """`arm` judged against `controls`; without a sentence one is written; `change` says what to try."""

    kind: Kind
    arm: str
    controls: tuple[str, ...]
    sentence: str = ""
    change: tuple[str, ...] = ()


# ---- the generator and the mixes


@dataclass(frozen=True)
class Gate:
    """Shares of images that the baseline recognizer puts in their own class; the floor applies to `top1`."""

    top1: float
    floor: float
    classes: int
    images: int
    top5: float | None = None
    real_top1: float | None = None
    real_top5: float | None = None

    @property
    def passed(self) -> bool:
        return self.top1 >= self.floor


@dataclass(frozen=True)
class Generator:
    """Training curves of the generator; `guide_at`: images seen when the guide's snapshot was taken."""

    curves: tuple[Curve, ...]
    guide_at: float | None = None


@dataclass(frozen=True)
class SheetRow:
    """An m-plet in pictures: an original and a reproduction per source, and images of the mixed class."""

    classes: tuple[str, ...]
    originals: tuple[Image, ...]
    reproductions: tuple[Image, ...]
    mixes: tuple[Image, ...]  # the first stands in the main sheet, all of them in the second
    distance: float | None = None

    def __post_init__(self) -> None:
        counts = (len(self.classes), len(self.originals), len(self.reproductions))
        if len(set(counts)) > 1 or not self.mixes:
            raise ValueError(
                f"sheet: classes, originals, reproductions must be equally many and mixes not empty, got "
                f"{', '.join(map(str, counts))} and {len(self.mixes)} mixes"
            )


@dataclass(frozen=True)
class Grid:
    """One noise, all weights: images[i][j] has alphas[i] on the first class and betas[j] on the second."""

    classes: tuple[str, str]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    images: tuple[tuple[Image, ...], ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.alphas) or any(len(row) != len(self.betas) for row in self.images):
            raise ValueError(f"grid: images must be {len(self.alphas)} rows of {len(self.betas)}")


@dataclass(frozen=True)
class Distances:
    """All pairs of training classes, counts (n,) in edges (n + 1,), and the chosen ones per selection."""

    counts: NDArray[np.integer[Any]]
    edges: Floats
    chosen: Mapping[str, Floats]
    label: str = "cosine distance of class centers"


@dataclass(frozen=True)
class Group:
    """What the images of a group are, in the baseline recognizer's space; None: does not apply.

    Means over images: similarity to the mean direction of the others of the class, shares nearer to it than to any
    real training center or to any other class of the group, similarity to the source centers and to the nearest
    other training class, share of the other classes that are less similar than the sources (chance: one half),
    and the loss under labels that follow the sources, less their entropy (nats).
    """

    group: str
    images: int
    own_center: float | None
    nearer_than_real: float | None = None
    nearer_than_mixed: float | None = None
    sources: float | None = None
    nearest_other: float | None = None
    percentile: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Screened:
    """Coherent sampling of one arm: what was drawn, kept, and what that did; images kept (k, ...) and rejected."""

    arm: str
    drawn: int
    kept: int
    coherence_before: float
    coherence_after: float
    by: str = "coherence"
    examples: tuple[tuple[tuple[Image, ...], tuple[Image, ...]], ...] = ()  # per m-plet: kept, rejected


@dataclass(frozen=True)
class Agreement:
    """How far an arm's classes disagreed on the way to each image (n,), and what Feynman-Kac weights make of its images.

    `effective`: effective sample size of the `each` images of an m-plet, mean over m-plets, between 1 and `each`.
    """

    arm: str
    disagreement: Floats
    each: int
    effective: float

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """5 %, 50 % and 95 % of the images' values."""
        low, middle, high = np.quantile(self.disagreement, (0.05, 0.5, 0.95))
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class Magnitudes:
    """Length of the mixed noise prediction over that of one class, (n,) per label, at noise levels `sigmas` (n,)."""

    sigmas: Floats
    ratios: Mapping[str, Floats]


@dataclass(frozen=True)
class SearchMap:
    """Objective m_s + m_d of AugGen's search over both weights, (n, n) on `ticks`, and the best weights."""

    ticks: Floats
    objective: Floats
    best: tuple[float, float]


@dataclass(frozen=True)
class ClosedClass:
    """A training class: held-out images, and each arm's share of them that were named rightly."""

    name: str
    group: str
    images: int
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class ClosedGroup:
    """A group of training classes and each arm's accuracy, every class counting the same."""

    name: str
    classes: int
    images: int
    arms: Mapping[str, Estimate]


@dataclass(frozen=True)
class Closed:
    """Held-out images of the training classes, named among those classes; the metrics are with the others."""

    classes: int
    images: int
    looks: int = 1  # comparisons that used these images
    groups: tuple[ClosedGroup, ...] = ()
    worst: tuple[ClosedClass, ...] = ()  # of the verdict's arm
    best: tuple[ClosedClass, ...] = ()
    files: tuple[str, ...] = ()  # tables beside the page


@dataclass(frozen=True)
class GroupErrors:
    """A group of unseen classes: pairs within it, and every arm's error rates there, by seed."""

    name: str
    classes: int
    genuine: int
    impostor: int
    fnmr: Mapping[str, Estimate]
    fmr: Mapping[str, Estimate]


@dataclass(frozen=True)
class ByGroup:
    """Error rates within groups at one threshold for all, where FAR over all impostor pairs is `far`."""

    far: float
    groups: tuple[GroupErrors, ...]  # the worst served by the verdict's arm first
    garbe: Mapping[str, Estimate]  # 0: all groups alike, 1: all errors in one
    minus: Mapping[str, Estimate]  # the judged arm's less each control's
    across: float | None = None  # share of the mixed pairs of classes whose groups differ
    across_all: float | None = None  # the same of all pairs of training classes
    others: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)  # further summaries by metric and arm


# ---- cost and provenance


@dataclass(frozen=True)
class Cost:
    """What a stage took; None: does not apply or was not measured."""

    stage: str
    seconds: float
    evaluations: int | None = None  # of the generator's network, per image
    peak_bytes: int | None = None
    images: int | None = None
    reused: bool = False  # found finished in the store: the cost is the one of the run that made it


@dataclass(frozen=True)
class Manifest:
    stage: str
    key: str
    path: str = ""


@dataclass(frozen=True)
class Report:
    """Everything on the page; an absent optional part leaves its section out."""

    title: str
    verdict: Verdict
    data: Data
    evaluation: Evaluation
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...] = ()
    gate: Gate | None = None
    generator: Generator | None = None
    sheet: tuple[SheetRow, ...] = ()
    grid: Grid | None = None
    distances: Distances | None = None
    similarities: Mapping[str, Floats] = field(default_factory=dict)  # group name -> similarities (n,)
    groups: tuple[Group, ...] = ()
    screened: tuple[Screened, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    magnitudes: Magnitudes | None = None
    search: SearchMap | None = None
    closed: Closed | None = None
    by_group: ByGroup | None = None
    costs: tuple[Cost, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    command: str = ""
    csv_name: str = "report.csv"
    json_name: str = "report.json"

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"arms: needs at least one, with names that differ, got {names}")
        self.evaluation.metric(self.evaluation.headline)
        for name in (self.verdict.arm, *self.verdict.controls):
            if name not in names:
                raise ValueError(f"verdict: arm {name!r} is not one of {', '.join(names)}")

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def difference(self, arm: str, control: str, metric: str) -> Estimate:
        """That difference, or a missing estimate where none was measured."""
        for d in self.differences:
            if (d.arm, d.control, d.metric) == (arm, control, metric):
                return d.estimate
        return MISSING

    @property
    def supported(self) -> tuple[Metric, ...]:
        """The metrics that the test set supports."""
        return tuple(m for m in self.evaluation.metrics if not m.reason)
