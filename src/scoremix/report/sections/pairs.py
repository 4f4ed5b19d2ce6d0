"""Which classes were mixed: the distances of all pairs of classes, the chosen ones marked."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from scoremix.outputs.mplets import MPletsSummary
from scoremix.report.charts import figure
from scoremix.report.distances import Distances, histogram
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun

distance_histogram = figure(histogram)


class PairsSection(Section):
    title = "Which classes were mixed"
    distances: Distances | None = None
    bound: float | None = None  # of the mean value, where uses of a class are limited
    mean: float = 0.0

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "mplets" not in run.chain:
            return cls()
        info = MPletsSummary.load(run.chain["mplets"])
        space, metric = next(iter(info.metrics.items()))
        distances = Distances.of(run.chain["mplets"], space, metric, info.strategy)
        return cls(distances, info.mean_value_without_constraint, float(np.mean(info.values)))

    @property
    def medians(self) -> Mapping[str, float]:
        chosen = self.distances.chosen if self.distances else {}
        return {name: float(np.median(values)) for name, values in chosen.items() if len(values)}
