"""How faithful and diverse reproductions are at every stored snapshot (Fig. 5, 6, 10, Appendix D.6)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.analysis.alignment import cka
from scoremix.analysis.chance import series_correlation
from scoremix.config import Paths, Sampling, SamplingPlan
from scoremix.data.image_order import stream_seed
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion.unet import EDM2, condition_matrix, frozen
from scoremix.evaluation.quality import fidelity, frechet_distance
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import RecognitionCorrelation, Snapshot, SnapshotsSummary
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import centers_of, without_padding
from scoremix.stages.embedding import all_embedded, embedded_pixels, opened
from scoremix.stages.mix.sample import Networks, noise_seeds

FEWEST = 5  # snapshots for a correlation over training


def follow_generator(config: Paths, real: Artifact, generator: Artifact, baseline: Artifact, *, work: Work) -> None:
    """Writes snapshots.json: per snapshot recognition, alignment loss, ICS and Fréchet distance of unguided
    reproductions, and its CKA.
    """
    assert config.sampling is not None
    device = engine.start(work.runtime.device).device
    recognizer = opened(baseline, work)
    train = real_images(real)
    centers = centers_of(baseline)
    chosen = np.random.default_rng(stream_seed(config.seed, "classes")).permutation(len(train.class_names))
    chosen = np.sort(chosen[: config.classes])
    labels = np.repeat(chosen, config.images_per_class)
    seeds = noise_seeds(config.seed, np.arange(len(labels)))
    known = all_embedded(recognizer, train.of_classes(chosen))
    rows: list[Snapshot] = []
    kept = generators.stored(generator.folder)
    with work.bar(len(kept), "snapshots") as advance:
        for done, (std, nimg, file) in enumerate(kept, 1):
            net, pixels = generators.load(file, config.sampling.precision)
            conditions = without_padding(condition_matrix(net))
            reproductions = reproduce(config.sampling, frozen(net.to(device)), pixels, labels, seeds, work)
            unit = embedded_pixels(recognizer, reproductions)
            measured = quality_of(unit, labels, centers)
            rows.append(Snapshot(std, nimg, cka(conditions, centers), **measured, fd=frechet_distance(unit, known)))
            advance(done)
    correlated = correlations(rows, config.seed)
    SnapshotsSummary(len(chosen), config.images_per_class, rows, correlated, FEWEST).write(work)


def reproduce(
    config: Sampling, net: EDM2, pixels: generators.Pixels, labels: NDArray[np.int64], seeds: list[int], work: Work
) -> NDArray[np.uint8]:
    """Unguided images of single classes from one network: what the snapshot itself has learnt."""
    levels = {name: getattr(config, name) for name in ("steps", "sigma_min", "sigma_max", "rho")}
    plan = SamplingPlan(**levels, guidance=1)
    return Networks(config, work, net, net, pixels, plan).images(labels[:, None], (1.0,), seeds)


def quality_of(unit: Tensor, labels: NDArray[np.int64], centers: Tensor) -> dict[str, float]:
    """Share recognized as their own class, and Appendix D.6's means over classes."""
    top1 = ((unit @ centers.T).argmax(1).numpy() == labels).mean()
    fidelities = fidelity(unit, torch.from_numpy(labels), centers)
    return {
        "top1": float(top1),
        "align": float(fidelities.align.mean()),
        "ics": float(fidelities.ics.mean()),
        "shift": float(fidelities.shift.mean()),
        "coverage": fidelities.coverage,
    }


def correlations(rows: list[Snapshot], seed: int) -> dict[str, RecognitionCorrelation]:
    """EMA length -> correlation over snapshots of CKA with recognition, or how many snapshots there are if too few."""
    result = {}
    for std in sorted({row.ema for row in rows}):
        of_length = [row for row in rows if row.ema == std]
        measured, top1 = np.array([(row.cka, row.top1) for row in of_length]).T
        result[f"{std:g}"] = RecognitionCorrelation(len(of_length))
        if len(of_length) >= FEWEST and np.ptp(measured) > 0 and np.ptp(top1) > 0:
            generator = torch.Generator().manual_seed(stream_seed(seed, "correlation"))
            result[f"{std:g}"] = RecognitionCorrelation(len(of_length), *series_correlation(measured, top1, generator))
    return result
