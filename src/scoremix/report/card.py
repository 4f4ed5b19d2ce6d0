"""The model card of a delivered recognizer, in the form of Hugging Face: what it is, how to use it, how far to trust it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from scoremix.evaluation.metric_table import metric_of, power
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.thresholds import Thresholds
from scoremix.report import numbers

TAGS = ("scoremix", "metric-learning", "image-similarity", "verification", "identification")


@dataclass(frozen=True)
class Card:
    """What the card says."""

    name: str
    version: str
    licence: str
    recipe: str  # the arm
    why: str
    note: str  # of the arm
    seeds: Sequence[int]
    retrained: bool
    counts: Mapping[str, tuple[int, int]]  # part of the run's split -> classes, images
    mixed: tuple[int, int]  # classes and images of mixes, 0 where there are none
    generated: bool  # by a generator
    steps: int
    results: Comparison
    thresholds: Thresholds
    description: Mapping[str, Any]  # of the network
    parameters: int

    def text(self) -> str:
        """The whole README.md."""
        front = {"license": self.licence, "library_name": "onnx", "pipeline_tag": "image-feature-extraction"}
        found, told, verdict = self.results, self.thresholds, self.results.verdict
        metric = metric_of(found.headline)
        minus = {(d.arm, d.control): d.estimate for d in found.differences if d.metric == metric.key}
        arms = [
            (arm, found.arms[arm][metric.key], [minus.get((arm, control)) for control in verdict.controls])
            for arm in dict.fromkeys([self.recipe, verdict.arm, *verdict.controls])
        ]
        classes, images = (sum(column) for column in zip(*self.counts.values(), strict=True))
        made = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        made.filters["power"] = power
        return made.from_string(Path(__file__).with_suffix(".md").read_text()).render(
            c=self,
            d=self.description,
            front=yaml.safe_dump({**front, "tags": list(TAGS)}, sort_keys=False),
            n="{:,}".format,
            t=numbers,
            power=power,
            told=told,
            verdict=verdict,
            metric=metric,
            arms=arms,
            point=next((p for p in told.points if p.far == told.headline), told.points[-1] if told.points else None),
            looks=found.looks,
            classes=classes,
            images=images,
        )
