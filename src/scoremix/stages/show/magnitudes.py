"""How long the mixed noise prediction is over noise levels: the paper's argument for convex weights (paper 3.2)."""

import numpy as np
import torch

from scoremix.config import Sampling
from scoremix.data import images as imagesets
from scoremix.data.augment import to_unit
from scoremix.diffusion.denoisers import condition, mix_conditions
from scoremix.diffusion.solvers import UnitNoise, karras_sigmas
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.mplets import chosen_classes
from scoremix.stages.mix.sample import Sampler

SCORES, CONDITIONS = (1.0, 0.8, 1.2, 1.4, 2.0), (1.0, 1.4)  # sums of equal weights: of pairs (0.5, 0.5), (0.4, 0.4) ...
LEVELS = 24


def measure_magnitudes(
    config: Sampling, generator: Artifact, mplets: Artifact, synthetic: Artifact, *, work: Work
) -> None:
    """Writes magnitudes.npz: ratio (weights, levels, images) of |sum_k w_k eps_k| to |eps_A| at `sigmas`.

    eps_k = (x - D_k(x)) / sigma of the main network without guide, at x = a mix + sigma noise; rows follow the
    weights `scores`, then `conditions` (one noise prediction under mixed conditions). Single classes give no rows.
    """
    mixed = imagesets.LabeledImages.load(synthetic.folder)
    classes = chosen_classes(mplets)
    m = classes.shape[1]
    kinds = {"scores": SCORES, "conditions": CONDITIONS}
    weights = {name: np.repeat(np.array(sums)[:, None] / m, m, axis=1) for name, sums in kinds.items()}
    if m < 2:
        work.write_arrays("magnitudes.npz", sigmas=np.zeros(0), ratios=np.zeros((0, 0, 0)), **weights)
        return
    sampler = Sampler(config, generator, work)
    rows = np.unique(np.arange(config.chunk) * len(mixed) // config.chunk)  # at most a chunk, evenly spaced
    pixels, of = mixed.take(rows)
    labels = torch.from_numpy(classes[of]).to(sampler.device)
    clean = sampler.pixels.encode(to_unit(pixels, sampler.device))
    noise = UnitNoise(sampler.seeds(rows), tuple(clean.shape[1:]), clean.device)().to(clean)
    sigmas = karras_sigmas(LEVELS, config.sigma_min, config.sigma_max, config.rho)[:-1].tolist()
    ratios = np.zeros((len(SCORES) + len(CONDITIONS), LEVELS, len(rows)))
    net = sampler.main
    with work.bar(LEVELS, "noise levels") as advance:
        for i, sigma in enumerate(sigmas):
            level = torch.full((len(rows),), sigma, device=clean.device)
            x = clean + sigma * noise

            def epsilon(denoised: torch.Tensor, x: torch.Tensor = x, sigma: float = sigma) -> torch.Tensor:
                return ((x - denoised.to(x)) / sigma).flatten(1).double()

            alone = torch.stack([epsilon(condition(net, labels[:, k])(x, level)) for k in range(m)])
            mixtures = [torch.einsum("m,mbd->bd", torch.from_numpy(w).to(alone), alone) for w in weights["scores"]]
            mixtures += [
                epsilon(mix_conditions(net, labels, tuple(w))(x, level)) for w in weights["conditions"].tolist()
            ]
            ratios[:, i] = (torch.stack(mixtures).norm(dim=2) / alone[0].norm(dim=1)).cpu().numpy()
            advance(i + 1)
    work.write_arrays("magnitudes.npz", sigmas=np.array(sigmas), ratios=ratios, **weights)
    work.count("evaluations", len(rows) * evaluations(m))


def evaluations(m: int) -> int:
    """Network evaluations per image of m classes."""
    return LEVELS * (m + len(CONDITIONS)) if m > 1 else 0
