"""What the report says of the mixes themselves, read from the artifacts that measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.diffusion.feynman_kac import effective_sample_size
from scoremix.report import content
from scoremix.stages.outputs import MixedImages, ScreeningSummary, SearchSummary
from scoremix.stages.show.magnitudes import CONDITIONS, SCORES

if TYPE_CHECKING:
    from scoremix.execution.artifacts import Artifact

SHOWN = 4  # m-plets whose rejected images are on the page


def groups(diagnostics: Artifact) -> tuple[content.Group, ...]:
    return tuple(content.Group(**row) for row in diagnostics.json("examination.json")["groups"])


def similarities(diagnostics: Artifact, treatment: str) -> dict[str, content.Floats]:
    """Coherence of every image, of the groups that fit into one figure."""
    measured = diagnostics.arrays("similarities.npz")
    wanted = ("training classes", "unseen classes", "reproductions", treatment)
    return {name: measured[name] for name in wanted if name in measured and np.isfinite(measured[name]).any()}


def screened(added: Mapping[str, Artifact]) -> tuple[content.Screened, ...]:
    of_arms = []
    for arm, artifact in added.items():
        if (artifact / ScreeningSummary.FILE).exists():
            of, pictures = ScreeningSummary.load(artifact), artifact.arrays("rejected.npz")
            pairs = zip(pictures["kept"][:SHOWN], pictures["rejected"][:SHOWN], strict=True)
            examples = tuple((tuple(kept), tuple(rejected)) for kept, rejected in pairs)
            coherences = of.coherence_before, of.coherence_after
            of_arms.append(content.Screened(arm, of.drawn, of.kept, *coherences, of.by, examples))
    return tuple(of_arms)


def agreements(added: Mapping[str, Artifact]) -> tuple[content.Agreement, ...]:
    """Of the arms whose images have log-weights and were made of several scores each; arms of the same images are one."""
    sets = {artifact.key: artifact for artifact in added.values()}
    made = []
    for key, artifact in sets.items():
        arm = ", ".join(name for name, of in added.items() if of.key == key)
        mixed = MixedImages.load(artifact)
        if mixed.log_weight is None or mixed.disagreement is None:
            continue
        if np.isfinite(mixed.log_weight).all() and mixed.disagreement.any():
            of_mplets = torch.from_numpy(mixed.log_weight.reshape(len(mixed.mplets), -1))
            effective = float(effective_sample_size(of_mplets).mean())
            made.append(content.Agreement(arm, mixed.disagreement, of_mplets.shape[1], effective))
    return tuple(made)


def magnitudes(artifact: Artifact) -> content.Magnitudes | None:
    sigmas, ratios = artifact.arrays("magnitudes.npz").values()
    if not len(sigmas):
        return None
    names = [f"scores ({a:g}, {b:g})" for a, b in SCORES] + [f"conditions ({a:g}, {b:g})" for a, b in CONDITIONS]
    return content.Magnitudes(sigmas, dict(zip(names, ratios.mean(2), strict=True)))


def search(chain: Mapping[str, Artifact]) -> content.SearchMap | None:
    if "search" not in chain:
        return None
    grid = chain["search"].arrays("search.npz")
    first, second = SearchSummary.load(chain["search"]).weights
    return content.SearchMap(grid["ticks"], grid["alike"] + grid["unlike"], (second, first))
