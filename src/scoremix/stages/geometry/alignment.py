"""How alike conditions and class centers are, against chance and over training (paper 4.3, Fig. 4 and 13, Appendix F)."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from scoremix.analysis import alignment, chance
from scoremix.analysis.chance import AlignmentMeasure
from scoremix.analysis.spaces import as_unit_rows
from scoremix.config import Measures
from scoremix.data.image_order import stream_seed
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import AlignmentSummary, ChanceLevel, MeasuredPair, MeasuredTime, MeasureMatrix
from scoremix.outputs.networks import GeneratorSummary, conditions_over_training
from scoremix.outputs.spaces import SpacesSummary, load_spaces

LABELS = {
    "cka": "CKA, biased (the paper's)",
    "cka_debiased": "CKA, debiased",
    "cka_minibatch": "CKA, debiased, from minibatches",
    "cka_rbf": "CKA, RBF kernel",
    "cknna": "CKNNA (Huh et al., code)",
    "cknna_paper": "CKNNA (Huh et al., paper)",
    "soft_cknna": "soft CKNNA (Appendix F)",
    "mutual_knn": "mutual nearest neighbours",
    "procrustes": "Procrustes similarity",
    "rsa": "RSA, Spearman",
}
HEADLINE = ("cka", "cka_debiased", "cknna", "soft_cknna")  # those measured on every pair and at every time
FEW = 300  # classes up to which 999 shufflings of all measures take some minutes
BATCH = 256  # rows of a minibatch


def measure_alignment(config: Measures, spaces: Artifact, generator: Artifact, *, work: Work) -> None:
    """Writes alignment.json: measures against chance, all pairs of spaces, and the conditions over training."""
    device = engine.start(work.runtime.device).device
    spaces_by_name = {name: rows.to(device) for name, rows in load_spaces(spaces).items()}
    conditions = [s.name for s in SpacesSummary.load(spaces).spaces if s.kind == "condition"]
    centers = [name for name in spaces_by_name if name not in conditions]
    n = len(spaces_by_name[centers[0]])
    measures = measures_of(config, n)
    pairs = [(c, r) for c in conditions for r in centers]
    times = len(GeneratorSummary.load(generator).conditions)
    total, done = len(pairs) + len(HEADLINE) + times, 0
    compared: list[MeasuredPair] = []
    matrices: dict[str, list[list[float]]] = {}
    series: list[MeasuredTime] = []
    with work.bar(total, "comparisons") as advance:
        for c, r in pairs:
            full = (c, r) == pairs[0]
            names = measures if full else HEADLINE
            compared += [against_chance(config, c, r, spaces_by_name, name, measures[name], full) for name in names]
            advance(done := done + 1)
        for name in HEADLINE:
            matrices[name] = chance.alignment_matrix(spaces_by_name, measures[name])[1].tolist()
            advance(done := done + 1)
        anchors = {name: spaces_by_name[name] for name in centers} | random_anchors(config, spaces_by_name[centers[0]])
        for std, nimg, conditions_then in conditions_over_training(generator):
            rows = conditions_then.to(device)
            for anchor, space in anchors.items():
                series.append(
                    MeasuredTime(std, nimg, anchor, **{name: measures[name](rows, space) for name in HEADLINE})
                )
            advance(done := done + 1)
    settled = {"k": neighbours(config, n), "draws": permutations(config, n)}
    of_pairs = MeasureMatrix(list(spaces_by_name), **matrices)
    AlignmentSummary(
        LABELS, n, tau=config.tau, level=config.level, pairs=compared, matrix=of_pairs, series=series, **settled
    ).write(work)


def permutations(config: Measures, n: int) -> int:
    """How many shufflings tell chance: where they cost little so many that p can fall to .001."""
    return config.permutations or (999 if n <= FEW else 100)


def neighbours(config: Measures, n: int) -> int:
    """k of the neighbour measures; ValueError where half of the classes, as intervals take, are too few for it."""
    if n < 8:
        raise ValueError(f"data: {n} training classes, intervals from halves of them need at least 8")
    k = config.k or min(10, max(2, n // 4))
    if k >= n // 2:
        raise ValueError(
            f"analysis.measures.k: {k} neighbours, intervals from halves of {n} classes allow {n // 2 - 1}"
        )
    return k


def measures_of(config: Measures, n: int) -> dict[str, AlignmentMeasure]:
    """Name -> measure of two spaces; the neighbour measures see unit rows, so that neighbours are those of cosine."""
    k = neighbours(config, n)
    batch = min(BATCH, n // 2)
    local: dict[str, AlignmentMeasure] = {
        "cknna": partial(alignment.cknna, k=k),
        "cknna_paper": partial(alignment.cknna, k=k, variant="paper"),
        "mutual_knn": partial(alignment.mutual_knn, k=k),
    }
    every: dict[str, AlignmentMeasure] = {
        "cka": alignment.cka,
        "cka_debiased": partial(alignment.cka, debiased=True),
        "cka_minibatch": partial(alignment.minibatch_cka, batch=batch),
        "cka_rbf": alignment.rbf_cka,
        "soft_cknna": partial(alignment.soft_cknna, tau=config.tau),
        "procrustes": alignment.procrustes,
        "rsa": alignment.rsa,
        **{name: partial(on_units, measure) for name, measure in local.items()},
    }
    return {name: every[name] for name in LABELS}


def on_units(measure: AlignmentMeasure, x: Tensor, y: Tensor) -> float:
    """A measure of two spaces whose rows are brought to length 1."""
    return measure(as_unit_rows(x, "x"), as_unit_rows(y, "y"))


def against_chance(
    config: Measures,
    x: str,
    y: str,
    spaces: dict[str, Tensor],
    name: str,
    measure: AlignmentMeasure,
    full: bool,
) -> MeasuredPair:
    """One measure of one pair with its permutation null and interval; `full` adds random spaces (Fig. 13)."""
    generator = torch.Generator().manual_seed(stream_seed(config.seed, f"{x}|{y}|{name}"))
    a, b = spaces[x], spaces[y]
    levels = {"permutation": chance.permutation_null(measure, a, b, generator, permutations(config, len(a)))}
    for kind in ("normal", "uniform") if full else ():
        levels[kind] = chance.random_null(measure, a, b, generator, kind, config.random_spaces)
    interval = chance.bootstrap_interval(measure, a, b, generator, config.bootstrap, config.level)
    summary = {kind: ChanceLevel(c.mean, c.std, c.high, c.p_value) for kind, c in levels.items()}
    return MeasuredPair(x, y, name, interval.value, interval.low, interval.high, summary)


def random_anchors(config: Measures, like: Tensor) -> dict[str, Tensor]:
    """Two spaces without structure to follow beside the recognizers, of the reference's shape."""
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "random anchors"))
    n, d = like.shape
    kinds: tuple[Literal["normal", "uniform"], ...] = ("normal", "uniform")
    return {f"random {kind}": chance.random_space(n, d, generator, kind).to(like.device) for kind in kinds}
