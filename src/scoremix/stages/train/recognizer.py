"""Training of a recognizer, the same function for the baseline and for every arm (paper 4.1)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scoremix.config import Recognizer
from scoremix.data.augment import PRESETS
from scoremix.data.image_order import stream_seed
from scoremix.data.images import LabeledImages, Targets
from scoremix.execution import memory
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedTraining, real_images
from scoremix.outputs.networks import CHECKPOINT, RecognizerSummary
from scoremix.recognition import checkpoints, mixed, published
from scoremix.recognition.batches import ImageOrder, batches
from scoremix.recognition.heads import AdaFace, ArcFace, CombinedMargin, CosFace, Head, Softmax
from scoremix.recognition.timm_networks import PREFIX, TimmNetwork
from scoremix.recognition.training import RecognizerTraining, class_centers, initialised, sgd, train
from scoremix.stages.embedding import all_embedded
from scoremix.stages.train import resume, started

READ_EVERY = 10  # steps between looks at the loss: each look waits for the device
DEEPER = {"iresnet50": "iresnet100", "iresnet100": "iresnet200", "adaface_ir50": "adaface_ir101"}


def train_recognizer(
    config: Recognizer, data: Artifact, length_of: Artifact, start_from: External | None = None, *, work: Work
) -> None:
    """Trains on `data` for as many images as `config.epochs` of `length_of` are; writes network, centers, history.

    Started from a file of `start_from`, the head's rows begin as the mean embeddings of their classes.
    """
    if (config.start is None) != (start_from is None):
        raise ValueError("recognizer.start: the file is an input of its own (making.trained)")
    images, epoch = real_images(data), len(real_images(length_of))
    total = -(-int(config.epochs * epoch) // config.batch) * config.batch
    mixes = MixedTraining.load(data) if (data / MixedTraining.FILE).exists() else None
    targets, order = Targets.load(data.folder), order_of(mixes, config.seed, len(images), total)
    names = targets.class_names if targets else images.class_names
    description = describe(config, images.size, images.channels)
    device = engine.start(work.runtime.device, together=True)
    recipe = recipe_of(mixes, config.scale)
    if recipe and recipe.source_margin:
        sources = torch.from_numpy(np.load(data / MixedTraining.SOURCES).astype(np.int64))
        recipe = replace(recipe, sources=sources.to(device.device))
    state = start(config, description, len(names), device.device)
    history = resume.History(total // config.batch)
    checkpoint = resume.TrainingCheckpoint(work, state, history=history)
    device.require_same_progress(state.nimg)
    if start_from is not None and state.nimg == 0:
        take_over(state, start_from, config, description)
        assert isinstance(state.head, Head)
        state.head.turn_to(mean_centers(state, images, targets))

    with work.bar(total, "images", state.nimg) as advance:
        for _ in steps(config, images, device, total, state, targets, order, recipe):
            due = work.due()
            if due or len(state.reports) == READ_EVERY or state.nimg == total:
                history.add_steps(state.nimg, config.batch, [loss for loss, _ in state.take_reports()])
            if due:
                checkpoint.save()
            advance(state.nimg)

    if work.rank:
        return
    state.net.eval()
    origin = None if start_from is None else start_from.key
    if origin:
        description = replace(
            description, provenance=f"trained on by scoremix from a file of unknown training data, SHA-256 {origin}"
        )
    work.write(CHECKPOINT, checkpoints.to_bytes(state.net, state.head, description))
    work.write("history.csv", history.csv())
    assert isinstance(state.head, Head)
    centers = state.head.centers() if config.centers == "head" else mean_centers(state, images, targets)
    work.write_array("centers.npy", centers.float().cpu().numpy())
    parameters = sum(p.numel() for p in state.net.parameters())
    RecognizerSummary(len(names), len(images), state.step, list(names), parameters, history.last, origin).write(work)
    work.count("images", total)


def order_of(mixes: MixedTraining | None, seed: int, images: int, total: int) -> ImageOrder:
    """The order for mixes that end, or all images in every epoch."""
    if mixes is None or not mixes.finish + mixes.ramp:
        return ImageOrder(seed, images, images, total)
    return ImageOrder(seed, images, mixes.images, total - int(mixes.finish * total), int(mixes.ramp * total))


def recipe_of(mixes: MixedTraining | None, scale: float) -> mixed.MixedClasses | None:
    """How mixed classes count with a head of that scale, None where as the others do."""
    if mixes is None:
        return None
    raised = scale * mixes.source_margin
    recipe = mixed.MixedClasses(mixes.classes, mixes.weight, mixes.margin, mixes.negatives, raised)
    return None if recipe == mixed.MixedClasses(mixes.classes) else recipe


def steps(
    config: Recognizer,
    images: LabeledImages,
    device: engine.Engine,
    total: int,
    state: RecognizerTraining | None = None,
    targets: Targets | None = None,
    order: ImageOrder | None = None,
    recipe: mixed.MixedClasses | None = None,
) -> Iterator[RecognizerTraining]:
    """The training loop over `total` images, from `state` or from the start, each process on its part of a batch."""
    if config.microbatch == "auto":
        raise ValueError(
            "recognizer.microbatch 'auto' is for the experiment; execution.runner.decided(exp, device) first"
        )
    part = device.part(config.batch, "recognizer.batch")
    order = order or ImageOrder(config.seed, len(images), len(images), total)
    state = state or start(
        config, describe(config, images.size, images.channels), len(images.class_names), device.device
    )
    module = device.wrapped(mixed.BatchLoss(state.net, state.head, config.blend == "feature_mixup", recipe))
    if isinstance(state.head, AdaFace):
        state.head.gathered = device.gathered
    return train(
        state,
        batches(
            images,
            targets,
            order,
            batch=config.batch,
            part=part,
            augmentation=PRESETS[config.augment],
            blend=config.blend,
            blend_alpha=config.blend_alpha,
            device=device.device,
        ),
        batch=config.batch,
        total=total,
        seed=config.seed,
        base_rate=config.lr,
        warmup=int(config.warmup * total),
        power=config.decay_power,
        milestones=[round(total * epoch / config.epochs) for epoch in config.milestones],
        clip=config.clip,
        precision=config.precision,
        objective=module,
        backward=device.backward,
        mean=device.mean,
        rank=device.rank,
        microbatch=config.microbatch,
        alone=lambda: device.alone(module),
    )


def kept_per_image(config: Recognizer, description: checkpoints.Description) -> int:
    """Bytes that a training step keeps for each image, counted without computing it; the head's are left out."""
    dtype = getattr(torch, config.precision)
    with torch.device("meta"):
        net = checkpoints.make(description).train().to(dtype)

    def loss(count: int) -> Tensor:
        x = torch.zeros(count, description.channels, description.size, description.size, device="meta", dtype=dtype)
        return net(x).float().sum()  # type: ignore[no-any-return]

    return memory.bytes_per_image(loss)


def fitting(config: Recognizer, size: int, channels: int, classes: int, device: torch.device) -> int | None:
    """Images of that side whose gradients fit the device's memory at a time, of a batch; None where all of them do.

    Beside them stand the parameters with gradient and momentum, the head's of so many classes with its logits. Whoever
    uses the device now is not counted, so that the same device always gives the same. RuntimeError where not even two fit.
    """
    description = describe(config, size, channels)
    standing = 4 * 3 * parameters_of(description, classes)
    each = kept_per_image(config, description) + 4 * 4 * classes
    microbatch = memory.fitting(config.batch, each, max(memory.total_bytes(device) - standing, 0))
    return None if microbatch == config.batch else max(microbatch, 2)


def parameters_of(description: checkpoints.Description, classes: int) -> int:
    """Parameters of a network and of a head of so many classes."""
    with torch.device("meta"):
        return sum(p.numel() for p in checkpoints.make(description).parameters()) + classes * description.embedding


def describe(config: Recognizer, size: int, channels: int) -> checkpoints.Description:
    """What network `config` asks for on such images; ValueError where a published one does not take them."""
    if config.network == "small":
        return checkpoints.small(
            size, channels, config.widths, tuple(config.depth * u for u in config.units), config.embedding
        )
    if config.network.startswith(PREFIX) and config.depth == 1:
        return checkpoints.of_timm(config.network, size, channels, config.embedding)
    if config.depth > 1 and (config.depth > 2 or config.network not in DEEPER):
        raise ValueError(
            f"recognizer.depth {config.depth}: no published network is that much deeper than {config.network}"
        )
    wanted = checkpoints.published(config.network if config.depth == 1 else DEEPER[config.network])
    if (size, channels) != (wanted.size, wanted.channels):
        raise ValueError(
            f"recognizer.network {config.network!r} takes {wanted.size} px RGB images, these are {size} px with "
            f"{channels} channels: set data.size={wanted.size} and data.channels=3"
        )
    return wanted


def start(
    config: Recognizer, description: checkpoints.Description, classes: int, device: torch.device
) -> RecognizerTraining:
    """An untrained recognizer and its optimizer, from the config's seed."""
    net = initialised(lambda: checkpoints.make(description), config.seed).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = initialised(lambda: make_head(config, description.embedding, classes), stream_seed(config.seed, "head")).to(
        device
    )
    return RecognizerTraining(net, head, sgd(net, head, config.momentum, config.weight_decay))


def take_over(state: RecognizerTraining, file: External, config: Recognizer, wanted: checkpoints.Description) -> None:
    """The network of a file becomes that of the training; ValueError where it is another, or takes other images."""
    started.refuse_other_images(file, config, wanted.size, wanted.channels)
    if isinstance(state.net, TimmNetwork) and started.undescribed(file, config):
        state.net.take_over(published.tensors_of(Path(file.place)))
    else:
        state.net.load_state_dict(started.opened(file, config)[0].state_dict())


def make_head(config: Recognizer, dim: int, classes: int) -> Head:
    """The head that the settings name, with their margins, for embeddings of `dim` numbers."""
    match config.head:
        case "arcface":
            return ArcFace(dim, classes, config.scale, config.margin, config.gradient)
        case "cosface":
            return CosFace(dim, classes, config.scale, config.margin)
        case "combined":
            return CombinedMargin(dim, classes, config.scale, config.margin, config.additive, config.gradient)
        case "adaface":
            return AdaFace(dim, classes, config.scale, config.margin)
        case "softmax":
            return Softmax(dim, classes)


def mean_centers(state: RecognizerTraining, images: LabeledImages, targets: Targets | None) -> Tensor:
    """Unit mean embeddings of the classes, images of several classes in proportion to their weights."""
    unit = all_embedded(state.net, images)
    if targets is None:
        return class_centers(unit, torch.from_numpy(images.labels.astype(np.int64)), len(images.class_names))
    sums = torch.zeros(len(targets.class_names), unit.shape[1])
    for labels, weights in zip(targets.labels.T, targets.weights.T, strict=True):
        sums.index_add_(0, torch.from_numpy(labels.astype(np.int64)), unit * torch.from_numpy(weights.copy())[:, None])
    return torch.nn.functional.normalize(sums)
