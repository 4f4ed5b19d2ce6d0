"""What cannot work is refused in one line before anything is trained: by the settings, or once the images are read."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from scoremix.config import Arm, ConfigError, Experiment, Generator, Sampling
from scoremix.config.analysis import Analysis
from scoremix.config.base import TIMM
from scoremix.data.images import LabeledImages
from scoremix.data.lists import read_mplets
from scoremix.diffusion.foreign import described, highest_sigma
from scoremix.execution.artifacts import Artifact
from scoremix.execution.memory import total_bytes
from scoremix.execution.store import Step
from scoremix.outputs.images import ImagesSummary
from scoremix.report.numbers import noun
from scoremix.stages.geometry.alignment import neighbours
from scoremix.stages.geometry.order import pairs_of
from scoremix.stages.geometry.paths import ends_of
from scoremix.stages.mix.select import files_of, groups_of, refuse_too_few
from scoremix.stages.train.adopt import labels_of


def refuse_impossible(exp: Experiment, real: Artifact, wanted: Sequence[Step], device: torch.device) -> None:
    """ConfigError or ValueError where the images that were read, or the device, do not allow some of the steps `wanted`."""
    summary = ImagesSummary.load(real)
    for stage, part in (("compare", exp.evaluation.classes), ("choose", "validation")):
        of = summary.part(part)
        if any(step.stage == stage for step in wanted) and of.single_image_classes == of.classes:
            raise ConfigError(
                f"all {of.classes} {part} classes have one image: no two images of one class are left to recognize "
                "(add images, or name other classes in split_list)"
            )
    if any(step.stage == "select" for step in wanted):
        refuse_unknown_classes(exp, real)
    if any(step.stage == "sample" for step in wanted):
        for arm in (Arm(), *(arm for arm in exp.arms.values() if arm.generated)):
            refuse_large_chunk(exp.changed_by(arm), device)
    if exp.generator.diffusers is not None:
        folder = Path(exp.generator.diffusers)
        model, most = described(folder), highest_sigma(folder)
        labels_of(model, folder, LabeledImages.load(real.folder).of_classes("train"))
        generated = {f"arms.{name}.": exp.changed_by(arm) for name, arm in exp.arms.items() if arm.generated}
        for path, changed in {"": exp, **generated}.items():
            refuse_beyond_model(changed.sampling, most, model.kind == "transformer", f"of {folder}", path)
    refuse_untold_rate(exp, summary)


def refuse_beyond_model(sampling: Sampling, most: float, without_classes: bool, of: str, path: str = "") -> None:
    """ConfigError, before anything is trained, for noise above `most`, or a guide, that a model of diffusers does not know."""
    if sampling.sigma_max > most * (1 + 1e-6):
        raise ConfigError(
            f"{path}sampling.sigma_max {sampling.sigma_max:g}: the model {of} was trained up to {most:g}, more is not allowed"
        )
    if sampling.guidance != 1 and not without_classes:
        raise ConfigError(
            f"{path}sampling.guidance {sampling.guidance:g}: the model {of} was not trained without classes, only 1 is allowed"
        )


def refuse_missing_library(exp: Experiment) -> None:
    """ConfigError, before images are read, where a network of timm is to be trained and timm is not installed."""
    networks = [of.recognizer.network for of in (exp, *map(exp.changed_by, exp.arms.values()))]
    if (named := [name for name in networks if TIMM.fullmatch(name)]) and find_spec("timm") is None:
        raise ConfigError(f"recognizer.network {named[0]!r}: needs timm, pip install 'scoremix[timm]'")


def refuse_untold_rate(exp: Experiment, summary: ImagesSummary) -> None:
    """ConfigError, before anything is trained, where there are too few unseen images for the rate of a leak gate."""
    held_out = exp.data.held_out
    unseen = int(held_out * summary.part("train").images) if held_out else summary.part("validation").images
    for of in (exp, *map(exp.changed_by, exp.arms.values())):
        rate = of.sampling.leak_gate
        if rate is not None and rate * unseen < 1:
            raise ConfigError(
                f"sampling.leak_gate {rate:g}: {noun(unseen, 'unseen image')} can tell rates from {1 / max(unseen, 1):.2g} on"
            )


def refuse_unknown_classes(exp: Experiment, real: Artifact) -> None:
    """ValueError, before anything is trained, where m-plets cannot be chosen of the training classes, or are others'."""
    chosen = [exp.selection, *(exp.changed_by(a).selection for a in exp.arms.values() if a.images != "real")]
    names = list(LabeledImages.load(real.folder).of_classes("train").class_names)
    for selection in {s.model_dump_json(): s for s in chosen}.values():
        if selection.file is not None:
            read_mplets(Path(selection.file), names, selection.m)
        groups = groups_of(selection, names, {**files_of(selection), "real": real})
        refuse_too_few(selection, len(names), groups)


def refuse_unanalyzable(analysis: Analysis, real: Artifact, mplets: Artifact) -> None:
    """ValueError, before anything is trained or measured, where a run's classes or m-plets are too few for an analysis."""
    classes = ImagesSummary.load(real).part("train").classes
    neighbours(analysis.measures, classes)
    pairs_of(analysis.order, classes, mplets)
    ends_of(mplets)


def refuse_large_chunk(exp: Experiment, device: torch.device, asked: int | None = None) -> None:
    """ConfigError, before anything is computed, where a chunk of images, or as many as --images `asked` for, are more at once
    than the device's whole memory holds: the input and the output of the generator's widest layer alone, of which there are many.
    """
    setting, images = ("--images", asked) if asked else ("sampling.chunk", exp.sampling.chunk)
    rows = images * (1 if exp.sampling.mixture in ("conditions", "turns") else exp.selection.mixed)
    least = rows * widest_layer(exp.generator, exp.data.size, exp.sampling.precision)
    there = total_bytes(device)
    if least > there:
        raise ConfigError(
            f"{setting} {images}: a layer of the generator takes {least / 2**30:,.0f} GiB for so many images at once, the device "
            f"has {there / 2**30:,.0f} GiB; take fewer ({Sampling().chunk} is usual, more make nothing better)"
        )


def widest_layer(of: Generator, side: int, precision: str) -> int:
    """Bytes that one image takes as input and output of the layer where most is held: a decoder's, of joined channels."""
    widths = [of.model_channels * times for times in of.channel_mult]
    joined = map(sum, zip(widths, [*widths[1:], widths[-1]], strict=True))
    values = max(width * (side >> level) ** 2 for level, width in enumerate(joined))
    return 2 * values * (2 if precision == "bfloat16" else 4)
