"""A data set's card: what a set of mixes was made from, how near it comes to real images, what it is for."""

import json
from pathlib import Path

from scoremix.config import Experiment
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.records import step_folder
from scoremix.execution.training_set import TrainingSet
from scoremix.outputs.networks import GeneratorSummary
from scoremix.outputs.quality import QualitySummary

UNKNOWN = "not said (give --licence); it cannot be freer than that of the real images"
USE = """Training recognizers (verification, identification, classification) whose classes are those of the real images. Not for finding, watching or
judging people, nor for anything that the real images' licence or the consent of the people on them does not cover: a mix is made of them."""


def card(
    exp: Experiment, arm: str, images: TrainingSet, out: Path, licence: str | None, parquet: bool, version: str
) -> str:
    """The README.md of a set of real and mixed images: YAML for the hub, then words. No path of this machine is in it.

    `out` is the folder of runs, where leak rates are looked for; `version` that of scoremix.
    """
    mixed = len(images) - images.real
    meta = {
        "license": "other" if licence is None else licence,
        "tags": ["scoremix", "synthetic"] if mixed else ["scoremix"],
        "task_categories": ["image-classification"],
        "size_categories": [_size(len(images))],
        **({"configs": [{"config_name": "default", "data_files": "data/train-*.parquet"}]} if parquet else {}),
    }
    head = "".join(f"{name}: {json.dumps(value)}\n" for name, value in meta.items())
    sampling, classes = exp.changed_by(exp.arms[arm]).sampling, len(images.images.class_names)
    generated = exp.arms[arm].generated
    by = "by ScoreMix (Rahimi Noshanagh and Marcel, arXiv:2506.10226)" if generated else "by their pixels"
    rows = {
        "images": f"{len(images):,} of {classes:,} classes: {images.real:,} real, {mixed:,} mixed",
        "size": " x ".join(map(str, images.images.shape[1:])) + " (height, width, channels), uint8",
        "made by": f"scoremix {version}, arm `{arm}` of run `{exp.name}`",
        "mixed of": f"{len(images.source_names):,} classes {by}",
        "generator": _generator(exp, arm, out),
        "sampling": f"{sampling.steps} steps, guidance {sampling.guidance:g}, seed {sampling.seed}"
        if generated
        else "none",
        "licence": licence or UNKNOWN,
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    return f"""---
{head}---

# {exp.name}: images of the arm {arm}

| | |
|---|---|
{table}
`provenance.jsonl` says of each image whether it is real, and which classes it was mixed of with which weights. Classes that the run kept for validation
and test are not in here.

## How near mixed images come to real ones

{_leaks(out / exp.name, exp.name, arm)}

## Intended use

{USE}
"""


def _generator(exp: Experiment, arm: str, out: Path) -> str:
    if not exp.arms[arm].generated:
        return "none"
    if exp.generator.diffusers is not None:
        return "a model of diffusers that was trained elsewhere"
    label = f"generator for {arm}" if exp.arms[arm].generator else "generator"
    generator = Artifact(label, "", step_folder(out, exp.name, label))
    return f"trained on the same real images alone, {GeneratorSummary.load(generator).images_seen:,} images seen"


def _leaks(folder: Path, run: str, arm: str) -> str:
    """The leak rates that `scoremix quality` measured on this arm, or that nobody did."""
    try:
        row = QualitySummary.load(Artifact("quality", "", folder)).sets[arm]
    except (StoreError, KeyError):
        return (
            f"Not measured. `scoremix quality {run} --arm {arm}` measures it: look before you share images of people."
        )
    rates = [
        f"| share whose nearest training image{' of a class it was not mixed of' if 'others' in name else ''} a verifier "
        f"accepts at a false match rate of {name.partition('@')[2]} | {value:.2%} |"
        for name, value in row.items()
        if name.startswith("leak") and value is not None
    ]
    shown = {"authenticity": "authenticity (low: copies)", "copying_z": "C_T (far below 0: copies)"}
    rates += [f"| {words} | {row[name]:.3g} |" for name, words in shown.items() if row.get(name) is not None]
    return "\n".join(["| measure | value |", "|---|---|", *rates])


def _size(images: int) -> str:
    """The hub's class of sizes."""
    limits = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in limits if images < limit), "1M<n<10M")
