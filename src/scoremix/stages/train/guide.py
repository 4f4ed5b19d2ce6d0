"""Another network as guide: smaller, trained for less, or without classes (Karras et al. 2024; paper 3.2)."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from scoremix.config import Generator
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.networks import GeneratorSummary

FOLDER = "guide"


def take_guide(config: Generator, generator: Artifact, guide: Artifact, *, work: Work) -> None:
    """Writes the generator's files with the guide's in a folder of their own; ValueError where they do not fit."""
    info, other = GeneratorSummary.load(generator), GeneratorSummary.load(guide)
    if config.conditional and info.classes != other.classes:
        raise ValueError(f"the guide's {len(other.classes)} classes are not the generator's {len(info.classes)}")
    (work / FOLDER).mkdir(exist_ok=True)
    for artifact, folder in ((generator, work.folder), (guide, work / FOLDER)):
        for name in artifact.manifest["outputs"]:
            link(artifact / name, folder / name)
    (work / GeneratorSummary.FILE).unlink()
    guides = {std: f"{FOLDER}/{name}" for std, name in other.snapshots.items()}
    replace(info, guides=guides, guide_at=other.images_seen, guide_folder=FOLDER).write(work)


def link(source: Path, target: Path) -> None:
    """The same file at another place: no second copy where the file system can."""
    source = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
