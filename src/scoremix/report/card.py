"""The model card of a delivered recognizer, in the form of Hugging Face: what it is, how to use it, how far to trust it."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import jinja2
import yaml

from scoremix.config.delivery import Delivery
from scoremix.evaluation.metric_table import metric_of, power
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.networks import RecognizerSummary
from scoremix.outputs.thresholds import Thresholds
from scoremix.recognition.checkpoints import Description
from scoremix.report import numbers

TAGS = ("scoremix", "metric-learning", "image-similarity", "verification", "identification")


def card(
    delivery: Delivery,
    network: Description,
    trained: RecognizerSummary,
    results: Comparison,
    thresholds: Thresholds,
    counts: Mapping[str, tuple[int, int]],
    images: int,
) -> str:
    """The whole README.md; `counts`: classes and images by part of the run's split, `images`: of the training set."""
    front = {"license": delivery.licence, "library_name": "onnx", "pipeline_tag": "image-feature-extraction"}
    verdict, metric = results.verdict, metric_of(results.headline)
    minus = {(d.arm, d.control): d.estimate for d in results.differences if d.metric == metric.key}
    arms = [
        (arm, results.arms[arm][metric.key], [minus.get((arm, control)) for control in verdict.controls])
        for arm in dict.fromkeys([delivery.recipe, verdict.arm, *verdict.controls])
    ]
    classes, real = (sum(column) for column in zip(*counts.values(), strict=True))
    points = thresholds.points
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["power"] = power
    return environment.from_string(Path(__file__).with_suffix(".md").read_text()).render(
        c=delivery,
        arm=delivery.experiment.arms[delivery.recipe],
        d=network,
        trained=trained,
        results=results,
        told=thresholds,
        counts=counts,
        mixed=(max(0, trained.classes - classes), max(0, images - real)),
        front=yaml.safe_dump({**front, "tags": list(TAGS)}, sort_keys=False),
        version=version("scoremix"),
        n="{:,}".format,
        t=numbers,
        power=power,
        verdict=verdict,
        metric=metric,
        arms=arms,
        point=next((p for p in points if p.far == thresholds.headline), points[-1] if points else None),
        classes=classes,
        images=real,
    )
