"""What the geometry's stages hand over, a file each: alignment, order, transfer, distances, paths, snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoremix.analysis.overlap import SimulatedOverlap, TopOverlap
from scoremix.analysis.preservation import OrderPreservation
from scoremix.outputs.record import Entry, Record

Table = Sequence[Sequence[float]]


class ChanceLevel(Entry):
    """What chance gives; p_value: of the measured value."""

    mean: float
    std: float
    high: float  # 95 % of chance lies below
    p_value: float


class MeasuredPair(Entry):
    """One measure of two named spaces with its interval and its chance levels."""

    x: str
    y: str
    measure: str
    value: float
    low: float | None
    high: float | None
    chance: Mapping[str, ChanceLevel]  # permutation, and normal, uniform for the first pair


class MeasureMatrix(Entry):
    """The headline measures of every pair of spaces."""

    names: Sequence[str]
    cka: Table
    cka_debiased: Table
    cknna: Table
    soft_cknna: Table


class MeasuredTime(Entry):
    """The headline measures of the conditions of an average at some time with a space."""

    ema: float
    images_seen: int
    space: str
    cka: float
    cka_debiased: float
    cknna: float
    soft_cknna: float


class AlignmentSummary(Record):
    """Measures against chance, all pairs of spaces, and the conditions over training."""

    FILE = "alignment.json"
    labels: Mapping[str, str]
    classes: int
    k: int
    tau: float
    level: float
    draws: int
    pairs: Sequence[MeasuredPair]
    matrix: MeasureMatrix
    series: Sequence[MeasuredTime]


class NamedPair(Entry):
    """Two named spaces; what follows from them comes after."""

    x: str
    y: str


class SharedPairs(TopOverlap, NamedPair):
    """The pairs that are farthest in both of two spaces, and Algorithm 2's correlations."""

    pearson: float
    spearman: float


class ComparedBetween(NamedPair):
    """Comparisons of one kind in two spaces."""

    mask: str


class KeptComparisons(OrderPreservation, ComparedBetween):
    """Comparisons that hold in both of two spaces."""


class Simulation(Entry):
    """At a CKA of `rho`; chance: pairs that unrelated spaces would share."""

    rho: float
    chance: float


class SimulatedSharing(SimulatedOverlap, Simulation):
    """The farthest pairs shared on draws of the theorem's model."""


class SimulatedKeeping(Entry):
    """Comparisons of one kind that hold on draws of the model, with standard error, the identity and the bound."""

    rho: float
    mask: str
    rate: float
    error: float
    predicted: float
    bound: float


class OrderSummary(Record):
    """Table 3 and preservation rates of pairs of spaces, and the same on simulated ones."""

    FILE = "order.json"
    k: int
    classes: int
    spaces: Sequence[SharedPairs]
    rates: Sequence[KeptComparisons]
    simulated: Sequence[SimulatedSharing]
    simulated_rates: Sequence[SimulatedKeeping]
    simulated_classes: int
    simulated_k: int


class Selections(Entry):
    """Selections by one strategy compared with each other (`geometry.SelectionOverlap`)."""

    names: Sequence[str]
    shared: Table
    jaccard: Table
    classes: Table


class TransferSummary(Record):
    """How selections of `count` m-plets change with the space and the distance."""

    FILE = "transfer.json"
    m: int
    count: int
    chance: float
    strategies: Mapping[str, Selections]


class DistancesSummary(Record):
    """Correlations of all pair distances of two named spaces."""

    FILE = "distances.json"
    conditions: str
    centers: str
    close: float  # below which a pair is close
    pearson: float
    spearman: float
    pairs: int


class MeanPath(Entry):
    """Means over pairs of a path from class to class; similarities at each weight."""

    forward: float
    straightness: float
    off_path_at_half: float
    to_a: Sequence[float]
    to_b: Sequence[float]


class PathsSummary(Record):
    """Paths of single images, of the pairs' means, and what straight ones between the same ends would be."""

    FILE = "paths.json"
    pairs: int
    images: int
    singles: MeanPath
    means: MeanPath
    straight: MeanPath


class Snapshot(Entry):
    """Reproductions by a network of some time of the training (Appendix D.6)."""

    ema: float
    images_seen: int
    cka: float
    top1: float
    align: float
    ics: float
    shift: float
    coverage: float
    fd: float


class RecognitionCorrelation(Entry):
    """Of CKA with recognition over so many snapshots, where they are enough to tell."""

    snapshots: int
    pearson: float | None = None
    low: float | None = None
    high: float | None = None
    spearman: float | None = None
    steps: float | None = None  # of successive differences


class SnapshotsSummary(Record):
    """All snapshots of a generator."""

    FILE = "snapshots.json"
    classes: int
    images_per_class: int
    snapshots: Sequence[Snapshot]
    correlation: Mapping[str, RecognitionCorrelation]  # by EMA length
    fewest: int  # snapshots that a correlation needs
