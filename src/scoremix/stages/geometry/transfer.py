"""How the chosen m-plets change with the selecting space and the distance (paper 4.2 to 4.4)."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scoremix.analysis.geometry import selection_overlap
from scoremix.config import Order
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import Selections, TransferSummary
from scoremix.outputs.mplets import MPletsSummary
from scoremix.outputs.spaces import load_spaces
from scoremix.selection import strategies

STRATEGIES: tuple[Literal["far", "close"], ...] = ("far", "close")


def compare_selections(config: Order, spaces: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes transfer.json: shared m-plets, Jaccard and shared classes between selections of every space and metric."""
    spaces_by_name = {name: rows.numpy() for name, rows in load_spaces(spaces).items()}
    info = MPletsSummary.load(mplets)
    m, n = max(2, info.m), len(next(iter(spaces_by_name.values())))
    count = min(config.pairs or info.count, math.comb(n, m))
    compared: dict[str, Selections] = {}
    selectors = [(name, metric) for name, rows in spaces_by_name.items() for metric in metrics_of(rows)]
    with work.bar(len(STRATEGIES) * len(selectors), "selections") as advance:
        done = 0
        for strategy in STRATEGIES:
            chosen = {}
            for name, metric in selectors:
                label = name if len(metrics_of(spaces_by_name[name])) == 1 else f"{name}, {metric}"
                chosen[label] = strategies.select(spaces_by_name[name], strategy, count, m=m, metric=metric).classes
                advance(done := done + 1)
            overlap = selection_overlap(chosen)
            compared[strategy] = Selections(overlap.names, *(table.tolist() for table in overlap[1:]))
    TransferSummary(m, count, count / math.comb(n, m), compared).write(work)


def metrics_of(rows: NDArray[np.float32]) -> tuple[Literal["cosine", "l2"], ...]:
    """Distances that order pairs differently: rows of unit length have one only."""
    unit = np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    return ("cosine",) if unit else ("cosine", "l2")
