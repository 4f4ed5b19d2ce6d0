"""Do comparisons and selections of one space hold in another: the theorem on real and simulated spaces (Appendix G)."""

import math

import torch
from torch import Tensor

from scoremix.analysis import overlap, preservation
from scoremix.analysis.preservation import Form
from scoremix.analysis.spaces import distance_correlation
from scoremix.config import Order
from scoremix.data.image_order import stream_seed
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import KeptComparisons, OrderSummary, SharedPairs, SimulatedKeeping, SimulatedSharing
from scoremix.outputs.mplets import MPletsSummary
from scoremix.outputs.spaces import load_spaces

FORMS: dict[str, tuple[str, int, Form]] = {
    "triplets, L2": ("triplet", 3, "euclidean"),
    "triplets, cosine": ("triplet", 3, "cosine"),
    "disjoint pairs, cosine": ("pair", 4, "cosine"),
}
SIMULATED_COMPARISONS = 10_000  # of each kind on every simulated space


def measure_order(config: Order, spaces: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes order.json: Table 3 and preservation rates of pairs of spaces, and the same on simulated ones."""
    conditions, centers = load_spaces(spaces, ["condition"]), load_spaces(spaces, ["head", "mean"])
    reference, *others = centers
    all_spaces = conditions | centers
    n = len(all_spaces[reference])
    k = pairs_of(config, n, mplets)
    pairs = [(reference, other) for other in others] + [(c, reference) for c in conditions]
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "order"))
    shared: list[SharedPairs] = []
    kept: list[KeptComparisons] = []
    simulated: list[SimulatedSharing] = []
    simulated_kept: list[SimulatedKeeping] = []
    total, done = len(pairs) + len(config.rhos), 0
    with work.bar(total, "comparisons") as advance:
        for x, y in pairs:
            correlation = distance_correlation(all_spaces[x], all_spaces[y])
            columns = vars(overlap.top_overlap(all_spaces[x], all_spaces[y], k))
            shared.append(SharedPairs(**columns, x=x, y=y, pearson=correlation.pearson, spearman=correlation.spearman))
            for name, (_, _, form) in FORMS.items():
                mask = comparisons(name, n, config, generator)
                rate = preservation.order_preservation(all_spaces[x], all_spaces[y], mask, unit=form == "cosine")
                kept.append(KeptComparisons(**vars(rate), x=x, y=y, mask=name))
            advance(done := done + 1)
        gram, k_small = simulated_gram(config, all_spaces[reference], k, generator)
        unrelated = k_small**2 / math.comb(len(gram), 2)
        for rho in config.rhos:
            sharing = overlap.simulated_overlap(gram, rho, k_small, "cosine", config.draws, generator)
            simulated.append(SimulatedSharing(**vars(sharing), rho=rho, chance=unrelated))
            simulated_kept += simulated_rates(config, gram, rho, generator)
            advance(done := done + 1)
    OrderSummary(k, n, shared, kept, simulated, simulated_kept, len(gram), k_small).write(work)


def pairs_of(config: Order, n: int, mplets: Artifact) -> int:
    """K of the top-K sets of pairs of n classes; ValueError where there are not more pairs."""
    k = config.pairs or MPletsSummary.load(mplets).count
    if k >= math.comb(n, 2):
        raise ValueError(f"analysis.order.pairs: {k}, {n} classes have {math.comb(n, 2)} pairs, K must be below that")
    return k


def comparisons(name: str, n: int, config: Order, generator: torch.Generator) -> preservation.Mask:
    """`config.comparisons` random comparisons of one kind."""
    kind, m, form = FORMS[name]
    classes = preservation.random_classes(n, m, config.comparisons, generator)
    return preservation.triplet_mask(classes, form) if kind == "triplet" else preservation.pair_mask(classes, form)


def simulated_gram(config: Order, reference: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """K̂ of at most `config.classes` of the reference's classes, and K for as large a share of their pairs."""
    n = len(reference)
    rows = torch.randperm(n, generator=generator)[: config.classes].sort().values
    root = preservation.gram_root(reference[rows], unit=True)
    share = k / math.comb(n, 2)
    return root @ root.T, max(1, round(share * math.comb(len(rows), 2)))


def simulated_rates(config: Order, gram: Tensor, rho: float, generator: torch.Generator) -> list[SimulatedKeeping]:
    """Shares of comparisons of K̂ that hold in draws of L̂, with standard error over draws, the identity and the bound."""
    n = len(gram)
    few = config.model_copy(update={"comparisons": min(config.comparisons, SIMULATED_COMPARISONS)})
    masks = {name: comparisons(name, n, few, generator) for name in FORMS}
    margins = {name: preservation.gram_margins(mask, gram) for name, mask in masks.items()}
    kept = torch.empty(config.draws, len(masks), dtype=torch.float64)
    for draw in range(config.draws):
        other = preservation.simulate_misalignment(gram, rho, 1, generator)[0]
        for form, (name, mask) in enumerate(masks.items()):
            kept[draw, form] = (preservation.gram_margins(mask, other) * margins[name] > 0).double().mean()
    rows = []
    for form, (name, mask) in enumerate(masks.items()):
        margin, norm2 = margins[name].abs(), preservation.centred_norm2(mask, n)
        rows.append(
            SimulatedKeeping(
                rho,
                name,
                rate=float(kept[:, form].mean()),
                error=float(kept[:, form].std() / math.sqrt(config.draws)),
                predicted=float(preservation.preservation_probability(margin, rho, n, norm2).mean()),
                bound=float(preservation.preservation_bound(margin, rho, n, norm2).mean()),
            )
        )
    return rows
