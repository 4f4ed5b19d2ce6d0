"""What a mix is: every image set in the baseline recognizer's space, and whether its classes agreed on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import torch

from scoremix.diffusion.feynman_kac import effective_sample_size
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.diagnosis import Diagnosis, Group
from scoremix.report.charts import Floats
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun, Results


class MixesSection(Section):
    title = "What a mix is"
    groups: Sequence[Group] = ()
    similarities: Mapping[str, Floats] = field(default_factory=dict)  # group name -> similarities (n,)

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        every = run.chain["diagnostics"].arrays("similarities.npz")
        wanted = ("training classes", "unseen classes", "reproductions", run.config.evaluation.treatment)
        shown = {name: every[name] for name in wanted if name in every and np.isfinite(every[name]).any()}
        return cls(Diagnosis.load(run.chain["diagnostics"]).groups, shown)

    def rows(self, shared: Any) -> Iterator[Row]:
        for group in self.groups:
            for key, value in asdict(group).items():
                if key != "group":
                    yield {"table": "groups", "arm": group.group, "metric": key, "value": value}


OUTLINES = 5  # more cannot be told apart


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


class AgreementSection(Section):
    title = "Do the classes agree on a mix?"
    name = "agreement"
    agreements: tuple[Agreement, ...] = ()

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        return cls(agreements(run.added))

    def drawn(self, results: Results) -> dict[str, Floats]:
        """The disagreements of the arm that is judged and of the first few others."""
        first = sorted(self.agreements, key=lambda of: results.verdict.arm not in of.arm.split(", "))[:OUTLINES]
        return {of.arm: of.disagreement for of in first}

    def rows(self, shared: Any) -> Iterator[Row]:
        for of in self.agreements:
            low, middle, high = of.quantiles
            base = {"table": "agreement", "arm": of.arm}
            yield {**base, "metric": "disagreement", "value": middle, "low": low, "high": high}
            yield {**base, "metric": "images_per_mplet", "value": of.each}
            yield {**base, "metric": "effective_sample_size", "value": of.effective}


def agreements(added: Mapping[str, Artifact]) -> tuple[Agreement, ...]:
    """Of the arms whose images have log-weights and were made of several scores each; arms of the same images are one."""
    rows = []
    for key, artifact in {artifact.key: artifact for artifact in added.values()}.items():
        if not (artifact / "log_weight.npy").exists():
            continue
        log_weight, disagreement = (np.load(artifact / f"{name}.npy") for name in ("log_weight", "disagreement"))
        if np.isfinite(log_weight).all() and disagreement.any():
            of_mplets = torch.from_numpy(log_weight.reshape(len(np.load(artifact / "mplets.npy")), -1))
            effective = float(effective_sample_size(of_mplets).mean())
            arm = ", ".join(name for name, of in added.items() if of.key == key)
            rows.append(Agreement(arm, disagreement, of_mplets.shape[1], effective))
    return tuple(rows)
