"""Of the images drawn for an m-plet some are kept: the densest in the recognizer's space, or the best by another merit."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from scoremix.config import Screening
from scoremix.evaluation import coherence
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, write_part
from scoremix.outputs.mplets import ScreeningSummary
from scoremix.outputs.networks import centers_of
from scoremix.stages.embedding import BLOCK, embedded, opened
from scoremix.stages.mix.weights import kept_of_each

SHOWN = 10  # m-plets whose rejected images are kept to be looked at


def screen(config: Screening, synthetic: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes the kept images as `sample` does, screening.json, and rejected.npz (images of a few m-plets)."""
    net = opened(recognizer, work)
    mixed = MixedImages.load(synthetic)
    drawn, sources, weights = mixed.images, mixed.mplets, mixed.weights
    classes, n = len(drawn.counts), int(drawn.counts[0])
    keep = kept_of_each(n, config.candidates)
    given = merit(mixed, config.by) if config.by in ("log_weight", "agreement") else None
    centers = centers_of(recognizer)
    before, after = np.zeros((classes, n)), np.zeros((classes, keep))
    places = np.zeros((classes, keep), np.int64)
    step = max(1, BLOCK // n)
    with work.bar(classes, "m-plets") as advance:
        for start in range(0, classes, step):
            part = slice(start, min(start + step, classes))
            rows = np.arange(part.start * n, part.stop * n)
            unit = embedded(net, drawn, rows).view(part.stop - part.start, n, -1)
            if config.by == "coherence":
                chosen = coherence.densest(unit, keep)
            else:
                value = given[part] if given is not None else hardness(unit, centers, sources[part], weights[rows])
                chosen = value.topk(keep, largest=config.by != "easiest").indices.sort(1).values
            left = unit.gather(1, chosen[:, :, None].expand(-1, -1, unit.shape[2]))
            places[part] = chosen.numpy()
            before[part] = coherence.own_similarity(unit).numpy() if n > 1 else np.nan
            after[part] = coherence.own_similarity(left).numpy() if keep > 1 else np.nan
            advance(part.stop)
    rows = (np.arange(classes)[:, None] * n + places).reshape(-1)
    write_part(work, mixed, rows)
    shown = np.unique(np.linspace(0, classes - 1, SHOWN).round().astype(int))
    dropped = np.stack([np.setdiff1d(np.arange(n), places[k]) for k in shown])
    work.write_arrays(
        "rejected.npz",
        rows=shown,
        kept=np.stack([drawn.of_class(k)[places[k]] for k in shown]),
        rejected=np.stack([drawn.of_class(k)[out] for k, out in zip(shown, dropped, strict=True)]),
    )
    coherences = float(before.mean()), float(after.mean())
    ScreeningSummary(config.by, classes * n, len(rows), 1 - keep / n, *coherences).write(work)
    work.count("images", len(drawn))


def hardness(
    unit: torch.Tensor, centers: torch.Tensor, sources: NDArray[np.int64], weights: NDArray[np.float32]
) -> torch.Tensor:
    """Loss (p, n) of unit embeddings (p, n, D) of the m-plets `sources` (p, m) under labels that follow the weights
    (p n, m) of their images.
    """
    p, n, dim = unit.shape
    rows = torch.from_numpy(np.repeat(sources, n, axis=0))
    cosine = unit.reshape(-1, dim) @ normalize(centers).T
    return coherence.source_loss(cosine, rows, torch.from_numpy(weights), coherence.SCALE).view(p, n)


def merit(mixed: MixedImages, by: str) -> torch.Tensor:
    """Log-weights or minus disagreements (classes, n) of the images drawn; ValueError where the sampling has none."""
    assert mixed.log_weight is not None and mixed.disagreement is not None
    saved = torch.from_numpy(mixed.log_weight if by == "log_weight" else -mixed.disagreement)
    if not saved.isfinite().all():
        raise ValueError(f"keep_by {by!r}: these images have none, their weights do not sum to 1 or change with sigma")
    return saved.view(len(mixed.mplets), -1)
