"""Training of the class-conditional generator, with the snapshot that will guide it (paper 3.1, 3.2)."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoremix.config import Generator
from scoremix.data.image_order import stream_seed
from scoremix.data.images import LabeledImages
from scoremix.diffusion import checkpoints, layers, moves, training
from scoremix.diffusion.batches import batches, border_of, scaling
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.layers import FixedConditions, normalize
from scoremix.diffusion.unet import EDM2, ResidualBlock, frozen
from scoremix.execution import memory
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import Conditions, GeneratorSummary
from scoremix.stages.train import resume
from scoremix.stages.train.teacher import Teacher
from scoremix.stages.train.watch import Watch

READ_EVERY = 10  # steps between looks at the loss: each look waits for the device
MICROBATCH = "microbatch.json"
MOST_RAMPUP = 10_000_000  # images


def train_generator(config: Generator, real: Artifact, recognizer: Artifact | None = None, *, work: Work) -> None:
    """Writes EMA snapshots and conditions over training (the guide's time too), generator.json, the loss curve.

    The recognizer aligns the generator, gives its conditions, or watches the gate, where the config asks for it.
    """
    images = real_images(real)
    device = engine.start(work.runtime.device, together=True)
    pixels = scaling(images, config.sigma_data)
    teacher = Teacher.load(config, recognizer, pixels, device) if recognizer and config.taught else None
    watched = recognizer if config.until == "gate" else None
    watch = Watch.load(watched, config.seed, len(kept_at(config)), device.device) if watched else None
    state = training.start(make(config, images, teacher=teacher).to(device.device), config.ema)
    course = Course(config, images, pixels, teacher, watch, state, device, work)
    checkpoint = resume.TrainingCheckpoint(work, state, **course.curves)
    device.require_same_progress(state.nimg)
    size = work.notes["microbatch"] = microbatch_of(config, images, device, state, work)
    if state.nimg == 0 and config.conditional:
        write_conditions(config, state, work)
    with work.bar(course.total, "images", state.nimg) as advance:
        training_steps = steps(config, images, device, course.total, state, teacher, size, work.runtime.compile, pixels)
        for _ in () if course.ended else training_steps:
            course.keep_marks()
            due = work.due()
            if due or len(state.losses) == READ_EVERY or course.ended:
                course.take_losses()
            if due:
                checkpoint.save()
            if course.ended:
                break
            advance(state.nimg, unit=f"images{watch.in_words if watch else ''}")
        advance(course.total)
    work.count("images", state.nimg)
    course.write()


@dataclass
class Course:
    """A training on its way: what is written at its marks, its loss curves, and whether it is at its end."""

    config: Generator
    images: LabeledImages
    pixels: Pixels
    teacher: Teacher | None
    watch: Watch | None
    state: training.GeneratorTraining
    device: engine.Engine
    work: Work

    def __post_init__(self) -> None:
        self.total, self.guide_at = whole(self.config.length, self.config), guide_taken_at(self.config)
        self.kept = kept_at(self.config)
        self.history, self.aligned = (resume.History(self.total // self.config.batch) for _ in range(2))

    @property
    def curves(self) -> dict[str, resume.KeptHistory]:
        """What a checkpoint keeps beside the training."""
        return {"history": self.history, "aligned": self.aligned, **({"gate": self.watch} if self.watch else {})}

    @property
    def ended(self) -> bool:
        """Whether all images were seen, or the gate rises no more and the guide's snapshot is taken."""
        nimg, watch = self.state.nimg, self.watch
        return nimg >= self.total or (watch is not None and nimg > self.guide_at and watch.reason is not None)

    def keep_marks(self) -> None:
        """At the marks of the training: the averages, the conditions, the gate."""
        nimg, work = self.state.nimg, self.work
        if nimg in {self.guide_at, *self.kept} - {self.total}:
            self.snapshot()
        if nimg in self.kept and self.config.conditional:
            write_conditions(self.config, self.state, work)
        if nimg in self.kept and self.watch:
            gate = self.watch.gate_of(self.average(), self.pixels) if not work.rank else 0.0
            self.watch.add(nimg, self.device.total(gate)[0])

    def snapshot(self) -> dict[str, str]:
        """Writes the averages as they are now; EMA length -> file."""
        names: dict[str, str] = {}
        if self.work.rank:
            return names
        for i, std in enumerate(self.config.ema):
            name = checkpoints.snapshot_name(self.state.nimg, std)
            described = network(self.config, self.images, self.teacher)
            self.work.write(name, checkpoints.to_bytes(self.state.ema.state(i), described, self.pixels))
            names[f"{std:.3f}"] = name
        return names

    def average(self) -> EDM2:
        """The network of the first average."""
        net = make(self.config, self.images, teacher=self.teacher)
        net.load_state_dict(self.state.ema.state(0))
        return frozen(net.to(self.device.device))

    def take_losses(self) -> None:
        """The losses of the last steps join the curves."""
        nimg, batch = self.state.nimg, self.config.batch
        self.history.add_steps(nimg, batch, self.state.take_losses())
        if self.teacher and self.teacher.alignment:
            self.aligned.add_steps(nimg, batch, self.teacher.alignment.take_losses())

    def write(self) -> None:
        """The curves, the last averages and generator.json."""
        config, work, nimg = self.config, self.work, self.state.nimg
        if self.watch:
            work.notes["ended"] = self.watch.ending(self.total)
        work.write("history.csv", self.history.csv())
        if config.align:
            work.write("alignment.csv", self.aligned.csv())
        marks = [at for at in (0, *self.kept) if config.conditional and at <= nimg]
        GeneratorSummary(
            images_seen=nimg,
            snapshots=self.snapshot(),
            guides={f"{std:.3f}": checkpoints.snapshot_name(self.guide_at, std) for std in config.ema},
            guide_at=self.guide_at,
            conditions=[Conditions(at, std, conditions_name(at, std)) for at in marks for std in config.ema],
            classes=list(self.images.class_names),
            median_class_size=int(np.median(self.images.counts)),
            parameters=sum(p.numel() for p in self.state.net.parameters()),
            loss=self.history.last,
            border=border_of(self.images).described() if config.shift or config.augment else None,
            alignment_loss=self.aligned.last if self.aligned.rows else None,
            gate=self.watch.curve(self.total) if self.watch else None,
        ).write(work)


def steps(
    config: Generator,
    images: LabeledImages,
    device: engine.Engine,
    total: int,
    state: training.GeneratorTraining | None = None,
    teacher: Teacher | None = None,
    microbatch: int | None = None,
    compiled: bool = False,
    pixels: Pixels | None = None,
) -> Iterator[training.GeneratorTraining]:
    """The training loop over `total` images, from `state` or from the start, each process on its part of a batch.

    `pixels`: the images' scaling where it is known; else all of them are read once for it.
    """
    part = device.part(config.batch, "generator.batch")
    state = state or training.start(make(config, images).to(device.device), config.ema)
    module = device.wrapped(state.net)
    length = config.length
    return training.train(
        state,
        batches_of(config, images, pixels or scaling(images, config.sigma_data), part, device.device),
        batch=config.batch,
        total=total,
        seed=config.seed,
        rate=lambda nimg: training.learning_rate(nimg, config.lr, config.decay_start * length, rampup(config)),
        noise_mean=config.noise_mean,
        noise_std=config.noise_std,
        forward=layers.compiled(module) if compiled else module,
        backward=device.backward,
        mean=device.mean,
        rank=device.rank,
        ranks=device.ranks,
        extra=teacher.alignment if teacher else None,
        microbatch=microbatch,
        alone=lambda: device.alone(module),
    )


def batches_of(
    config: Generator, images: LabeledImages, pixels: Pixels, part: slice, device: torch.device
) -> Callable[[int], tuple[Tensor, ...]]:
    """That part of the batches that the config asks for, as a function of the images seen."""
    return batches(
        images,
        pixels,
        batch=config.batch,
        part=part,
        seed=config.seed,
        shift=config.shift,
        flip=config.flip,
        device=device,
        augment_share=config.augment,
        label_dropout=config.label_dropout,
        balanced=config.balanced,
    )


def microbatch_of(
    config: Generator, images: LabeledImages, device: engine.Engine, state: training.GeneratorTraining, work: Work
) -> int:
    """Images whose gradients are made at a time: those configured, or what the device's memory holds.

    Remembered for a resumed training. RuntimeError where not even one image fits.
    """
    if config.microbatch == "auto" and (kept := work.kept(MICROBATCH)) is not None:
        return int(json.loads(kept))
    size = fitting(config, images, device, state)
    if config.microbatch == "auto" and work.rank == 0:
        work.keep(MICROBATCH, json.dumps(size))
    return size


def fitting(
    config: Generator, images: LabeledImages, device: engine.Engine, state: training.GeneratorTraining | None = None
) -> int:
    """The same, found anew; with `state` a trial step tells on a GPU, without only the count of what it keeps."""
    part = config.batch // device.ranks
    if config.microbatch != "auto":
        return min(config.microbatch, part)

    def trial(count: int) -> None:
        if state is not None and device.device.type == "cuda":
            _loss(state.net, count).backward()
            state.optimizer.zero_grad(set_to_none=True)

    return memory.fitting(part, kept_per_image(config, images), memory.free_bytes(device.device), trial)


def kept_per_image(config: Generator, images: LabeledImages) -> int:
    """Bytes that a training step keeps for each image, counted without computing it."""
    return _kept_per_image(json.dumps(network(config, images)), config.checkpointing)


@functools.cache
def _kept_per_image(arguments: str, checkpointing: bool) -> int:
    with torch.device("meta"):
        counted = EDM2(**json.loads(arguments)).train()
    counted.unet.checkpointing = checkpointing
    each = memory.bytes_per_image(functools.partial(_loss, counted))
    return each + (
        memory.largest_block(counted, ResidualBlock, functools.partial(_loss, counted)) if checkpointing else 0
    )


def _loss(net: EDM2, count: int) -> Tensor:
    """A loss of that many images of nothing, on the network's device."""
    device = next(net.parameters()).device
    x = torch.zeros(count, net.img_channels, net.img_resolution, net.img_resolution, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device) if net.label_dim else None
    sigma = torch.ones_like(x[:, 0, 0, 0])
    denoised, u = net(x, sigma, labels, return_logvar=True)
    return training.weighted_error(denoised, u, x, sigma, net.sigma_data).sum()


def rampup(config: Generator) -> float:
    """Images over which the learning rate rises."""
    return min(config.rampup * config.length, MOST_RAMPUP)


def guide_taken_at(config: Generator) -> int:
    """Images seen when the guide's snapshot is taken: at `guide_at` of the run, but not while the rate still rises."""
    wanted = int(max(config.guide_at * config.length, rampup(config)))
    return min(max(whole(wanted, config), config.batch), whole(config.length, config))


def kept_at(config: Generator) -> list[int]:
    """Images seen at `config.snapshots` evenly spaced times, the last being the end."""
    parts = range(1, config.snapshots + 1)
    return sorted({whole(config.length * part // config.snapshots, config) for part in parts})


def conditions_name(images_seen: int, std: float) -> str:
    """The file of the condition matrix at a number of images seen, of one EMA."""
    return f"conditions-{std:.3f}-{images_seen:012d}.npy"


def write_conditions(config: Generator, state: training.GeneratorTraining, work: Work) -> None:
    """The condition matrix (classes, c) of every EMA now, float32: what section 4.3 follows over training.

    Of fixed conditions, without the dimensions that are zero for all classes.
    """
    for i, std in enumerate(config.ema):
        weight = state.ema.state(i)["unet.emb_label.weight"]
        weight = normalize(weight) if config.conditions == "learned" else weight[weight.any(1)]
        work.write_array(conditions_name(state.nimg, std), weight.t().contiguous().float().cpu().numpy())


def whole(images: int, config: Generator) -> int:
    """That many images in whole batches."""
    return -(-images // config.batch) * config.batch


def network(config: Generator, images: LabeledImages, teacher: Teacher | None = None) -> dict[str, Any]:
    """Arguments of the network."""
    fixed = {"fixed_conditions": True, "channel_mult_emb": teacher.multiple} if teacher and teacher.multiple else {}
    return {
        "img_resolution": images.size,
        "img_channels": images.channels,
        "label_dim": len(images.class_names) if config.conditional else 0,
        "sigma_data": config.sigma_data,
        "model_channels": config.model_channels,
        "channel_mult": list(config.channel_mult),
        "num_blocks": config.num_blocks,
        "attention": config.attention,
        "attn_resolutions": None if config.attn_resolutions is None else list(config.attn_resolutions),
        "dropout": config.dropout,
        "dtype": config.precision,
        **fixed,
        **({"moves": moves.LABELS} if config.augment else {}),
        **({"classless": True} if config.label_dropout else {}),
        **({"label_balance": config.label_balance} if config.label_balance != 0.5 else {}),
    }


def make(
    config: Generator, images: LabeledImages, precision: str | None = None, teacher: Teacher | None = None
) -> EDM2:
    """An untrained network from the config's seed; the global generator is left as it was.

    ValueError for a side that its levels cannot halve.
    """
    config.check_side(images.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "network"))
        net = EDM2(**{**network(config, images, teacher), "dtype": precision or config.precision})
    net.unet.checkpointing = config.checkpointing
    if teacher and teacher.multiple:
        assert isinstance(net.unet.emb_label, FixedConditions)
        net.unet.emb_label.weight.copy_(teacher.conditions(config, net.unet.emb_label.weight.shape[0]).t())
    return net
