"""The folder that a user takes away: the recognizer, its ONNX file, thresholds, classes, settings, and a model card."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scoremix.config.delivery import Delivery
from scoremix.data.csv_text import as_text
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.networks import CHECKPOINT, RecognizerSummary
from scoremix.outputs.thresholds import Thresholds
from scoremix.recognition import checkpoints, onnxfile
from scoremix.report.card import card


def model(
    config: Delivery,
    real: Artifact,
    results: Artifact,
    thresholds: Artifact,
    trained_on: Artifact,
    recognizers: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Writes recognizer.onnx (of all recognizers, one per seed, with the thresholds in its metadata), their checkpoints,

    thresholds.json, classes.tsv, settings.json, provenance.json and README.md. RuntimeError where onnxruntime computes
    something else than torch.
    """
    opened = [checkpoints.load(recognizer / CHECKPOINT) for recognizer in recognizers.values()]
    nets, description = [net for net, _ in opened], opened[0][1]
    points = Thresholds.load(thresholds)
    facts = {"thresholds": json.dumps(points.as_json())}
    content, worst = onnxfile.to_onnx(nets, description, facts, str(work / "recognizer.onnx"))
    work.write("recognizer.onnx", content)
    work.notes["onnx_difference"] = worst
    for seed, recognizer in recognizers.items():
        name = CHECKPOINT if len(recognizers) == 1 else CHECKPOINT.replace(".", f"-{seed}.")
        work.write(name, (recognizer / CHECKPOINT).read_bytes())
    points.write(work)
    stored = LabeledImages.load(real.folder)
    work.write("classes.tsv", "\n".join(["class\timages\tpart", *_classes(stored)]) + "\n")
    work.write_json("settings.json", config.model_dump(mode="json"))
    inputs = {"images": real, "results": results, "thresholds": thresholds, "training set": trained_on}
    inputs |= {f"recognizer {seed}": recognizer for seed, recognizer in recognizers.items()}
    work.write_json("provenance.json", {name: _origin(artifact) for name, artifact in inputs.items()})
    trained, compared = RecognizerSummary.load(next(iter(recognizers.values()))), Comparison.load(results)
    images = len(LabeledImages.load(trained_on.folder))
    work.write("README.md", card(config, description, trained, compared, points, _parts(stored), images))


def _parts(stored: LabeledImages) -> dict[str, tuple[int, int]]:
    """Classes and images of every part of the run's split; images held out are those of training classes."""
    parts = {}
    for name, of in stored.splits.items():
        held = int(stored.held_out[of].sum()) if stored.held_out is not None else 0
        parts[name] = (len(of), int(stored.counts[of].sum()) + held)
    return parts


def _classes(stored: LabeledImages) -> Iterator[str]:
    """A line per class: name, images, part of the run's split."""
    held = stored.held_out if stored.held_out is not None else 0 * stored.counts
    for part, of in stored.splits.items():
        for k in of.tolist():
            name = as_text(" ".join(stored.class_names[k].split()))
            yield f"{name}\t{stored.counts[k] + held[k]}\t{part}"


def _origin(artifact: Artifact) -> dict[str, Any]:
    """What made an artifact, and of what."""
    manifest = artifact.manifest
    return {name: manifest[name] for name in ("stage", "key", "code", "config", "inputs", "versions")}
