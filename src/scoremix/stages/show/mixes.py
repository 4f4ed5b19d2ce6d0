"""What the report says of the mixes themselves, read from the artifacts that measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.diffusion.feynman_kac import effective_sample_size
from scoremix.report import content
from scoremix.stages.show.magnitudes import CONDITIONS, SCORES

if TYPE_CHECKING:
    from scoremix.execution.artifacts import Artifact

SHOWN = 4  # m-plets whose rejected images are on the page


def groups(diagnostics: Artifact) -> tuple[content.Group, ...]:
    return tuple(content.Group(**row) for row in diagnostics.json("examination.json")["groups"])


def similarities(diagnostics: Artifact, treatment: str) -> dict[str, content.Floats]:
    """Coherence of every image, of the groups that fit into one figure."""
    with np.load(diagnostics / "similarities.npz") as file:
        wanted = ("training classes", "unseen classes", "reproductions", treatment)
        found = {name: file[name] for name in wanted if name in file.files}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def screened(added: Mapping[str, Artifact]) -> tuple[content.Screened, ...]:
    made = []
    for arm, artifact in added.items():
        if (artifact / "screening.json").exists():
            info = artifact.json("screening.json")
            with np.load(artifact / "rejected.npz") as file:
                pairs = zip(file["kept"][:SHOWN], file["rejected"][:SHOWN], strict=True)
                examples = tuple((tuple(kept), tuple(rejected)) for kept, rejected in pairs)
            numbers = {k: info[k] for k in ("by", "drawn", "kept", "coherence_before", "coherence_after")}
            made.append(content.Screened(arm, **numbers, examples=examples))
    return tuple(made)


def agreements(added: Mapping[str, Artifact]) -> tuple[content.Agreement, ...]:
    """Of the arms whose images have log-weights and were made of several scores each; arms of the same images are one."""
    sets = {artifact.key: artifact for artifact in added.values()}
    made = []
    for key, artifact in sets.items():
        arm = ", ".join(name for name, of in added.items() if of.key == key)
        if not (artifact / "log_weight.npy").exists():
            continue
        log_weight, disagreement = (np.load(artifact / f"{name}.npy") for name in ("log_weight", "disagreement"))
        if np.isfinite(log_weight).all() and disagreement.any():
            of_mplets = torch.from_numpy(log_weight.reshape(len(np.load(artifact / "mplets.npy")), -1))
            effective = float(effective_sample_size(of_mplets).mean())
            made.append(content.Agreement(arm, disagreement, of_mplets.shape[1], effective))
    return tuple(made)


def magnitudes(artifact: Artifact) -> content.Magnitudes | None:
    with np.load(artifact / "magnitudes.npz") as file:
        sigmas, ratios = file["sigmas"], file["ratios"]
    if not len(sigmas):
        return None
    names = [f"scores ({a:g}, {b:g})" for a, b in SCORES] + [f"conditions ({a:g}, {b:g})" for a, b in CONDITIONS]
    return content.Magnitudes(sigmas, dict(zip(names, ratios.mean(2), strict=True)))


def search(chain: Mapping[str, Artifact]) -> content.SearchMap | None:
    if "search" not in chain:
        return None
    with np.load(chain["search"] / "search.npz") as file:
        ticks, objective = file["ticks"], file["alike"] + file["unlike"]
    first, second = chain["search"].json("search.json")["weights"]
    return content.SearchMap(ticks, objective, (second, first))
