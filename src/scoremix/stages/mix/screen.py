"""Of the images drawn for an m-plet some are kept: the densest in the recognizer's space, or the best by another merit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from scoremix.data import images as imagesets
from scoremix.evaluation import coherence
from scoremix.stages.judge.embeddings import BLOCK, embedded, opened
from scoremix.stages.mix.sample import kept_of_each

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scoremix.config import Screening
    from scoremix.execution.artifacts import Artifact, Work

SHOWN = 10  # m-plets whose rejected images are kept to be looked at


def screen(config: Screening, synthetic: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes the kept images as `sample` does, screening.json, and rejected.npz (images of a few m-plets)."""
    net = opened(recognizer, work)
    drawn = imagesets.LabeledImages.load(synthetic.folder)
    classes, n = len(drawn.counts), int(drawn.counts[0])
    keep = kept_of_each(n, config.candidates)
    given = merit(synthetic, config.by, classes) if config.by in ("log_weight", "agreement") else None
    centers = torch.from_numpy(np.load(recognizer / "centers.npy"))
    sources, weights = np.load(synthetic / "mplets.npy"), np.load(synthetic / "weights.npy")
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
            before[part] = coherence.own_similarity(unit) if n > 1 else np.nan
            after[part] = coherence.own_similarity(left) if keep > 1 else np.nan
            advance(part.stop)
    rows = (np.arange(classes)[:, None] * n + places).reshape(-1)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(rows), BLOCK):
            yield drawn.take(rows[start : start + BLOCK])[0]

    imagesets.write(
        work.folder,
        shape=(len(rows), *drawn.shape[1:]),
        blocks=blocks(),
        counts=np.full(classes, keep),
        class_names=drawn.class_names,
        splits={"train": np.arange(classes)},
    )
    work.write_array("mplets.npy", sources)
    work.write_array("weights.npy", weights[rows])
    for name in ("log_weight.npy", "disagreement.npy"):
        if (synthetic / name).exists():  # of sampled images only
            work.write_array(name, np.load(synthetic / name)[rows])
    shown = np.unique(np.linspace(0, classes - 1, SHOWN).round().astype(int))
    dropped = np.stack([np.setdiff1d(np.arange(n), places[k]) for k in shown])
    work.write_arrays(
        "rejected.npz",
        rows=shown,
        kept=np.stack([drawn.of_class(k)[places[k]] for k in shown]),
        rejected=np.stack([drawn.of_class(k)[out] for k, out in zip(shown, dropped, strict=True)]),
    )
    work.write_json(
        "screening.json",
        {
            "by": config.by,
            "drawn": classes * n,
            "kept": len(rows),
            "rejected_share": 1 - keep / n,
            "coherence_before": float(before.mean()),
            "coherence_after": float(after.mean()),
        },
    )
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


def merit(synthetic: Artifact, by: str, classes: int) -> torch.Tensor:
    """Log-weights or minus disagreements (classes, n) of the images drawn; ValueError where the sampling has none."""
    saved = torch.from_numpy(np.load(synthetic / "log_weight.npy"))
    if by == "agreement":
        saved = -torch.from_numpy(np.load(synthetic / "disagreement.npy"))
    saved = saved.view(classes, -1)
    if not saved.isfinite().all():
        raise ValueError(f"keep_by {by!r}: these images have none, their weights do not sum to 1 or change with sigma")
    return saved
