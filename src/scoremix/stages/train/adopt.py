"""A generator that exists, a model of diffusers, in the place of one that is trained (docs/adapters.md)."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from scoremix.config import Generator
from scoremix.data.files import known_hash
from scoremix.data.images import LabeledImages
from scoremix.data.lists import some
from scoremix.diffusion import foreign
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.processes import start
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import ADOPTED, GeneratorSummary
from scoremix.stages.train.guide import link


def adopt_generator(config: Generator, real: Artifact, source: External, *, work: Work) -> None:
    """Writes the model's files and generator.json with its label of every training class; tries it on one image.

    ValueError for a model that does not make images of these classes, or whose numbers are not finite.
    """
    images, folder = real_images(real), Path(source.place)
    described = foreign.described(folder)
    labels = labels_of(described, folder, images)
    for name in described.files:
        link(folder / name, work / ADOPTED / name)
    device = start(work.runtime.device).device
    net, latents, parameters = foreign.load(work / ADOPTED, labels, config.precision, device)
    with torch.no_grad():
        noise = torch.zeros(1, net.img_channels, net.img_resolution, net.img_resolution, device=device)
        tried = latents.decode(net(noise, float(net.sigmas[0]), torch.zeros(1, dtype=torch.int64, device=device)))
    if tuple(tried.shape[1:]) != (images.channels, images.size, images.size) or not bool(tried.isfinite().all()):
        raise ValueError(f"{folder}: makes images of shape {tuple(tried.shape[1:])}, or numbers that are not finite")
    GeneratorSummary(
        images_seen=0,
        snapshots={},
        guides={},
        guide_at=0,
        conditions=[],
        classes=list(images.class_names),
        median_class_size=int(np.median(images.counts)),
        parameters=parameters,
        loss=None,
        labels=labels,
    ).write(work)


def labels_of(model: foreign.Described, folder: Path, images: LabeledImages) -> list[int]:
    """The model's label of every class; ValueError for classes that it does not know, and for other images."""
    if (model.size, model.channels) != (images.size, images.channels):
        raise ValueError(
            f"generator.diffusers {folder}: makes images of {model.size} px with {model.channels} channels, these have "
            f"{images.size} px and {images.channels}: set data.size={model.size} and data.channels={model.channels}"
        )
    label = {name: k for k, name in enumerate(model.classes)}
    if unknown := [name for name in images.class_names if name not in label]:
        raise ValueError(
            f"generator.diffusers {folder}: does not know {len(unknown)} of the {len(images.class_names)} training classes "
            f"({some(unknown)}); it knows {some(list(label))}"
        )
    return [label[name] for name in images.class_names]


def folder_of(config: Generator) -> External:
    """The folder that `config.diffusers` names, the hash of its files' content as key; ValueError as for `described`."""
    folder = Path(str(config.diffusers))
    files = [folder / name for name in foreign.described(folder).files]
    parts = (f"{file.relative_to(folder)} {known_hash(file)}" for file in files)
    return External(str(folder), hashlib.sha256("\n".join(parts).encode()).hexdigest())
