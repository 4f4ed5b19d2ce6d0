"""Adapted models: exact in closed form for every parametrisation; equal to diffusers' own estimates where it is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor

from scoremix.diffusion.adapters import Adapted, from_diffusers
from scoremix.diffusion.denoisers import autoguide, condition, mix, mix_conditions
from scoremix.diffusion.solvers import heun, karras_sigmas
from support.diffusers_models import diffusers, dit, unet
from support.toy import GaussianMixture, gaussians, mixed_flow

PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def toy() -> GaussianMixture:
    g = torch.Generator().manual_seed(0)
    return gaussians(torch.randn(3, 4, generator=g), 0.3 + torch.rand(3, 4, generator=g))


def schedule(steps: int = 1000) -> Tensor:
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, steps, dtype=torch.float64), 0)


def exact_model(prediction: str, known: GaussianMixture) -> Adapted:
    """A model that predicts exactly what the posterior mean of the toy implies, from x_t and a fractional t."""
    log_sigma = ((1 - schedule()) / schedule()).sqrt().log()

    def model(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        low = t.floor().long().clamp(max=len(log_sigma) - 2)
        s = torch.lerp(log_sigma[low], log_sigma[low + 1], t - low).exp()[:, None, None, None]
        signal, noise = 1 / (1 + s**2).sqrt(), s / (1 + s**2).sqrt()
        clean = known(x_t / signal, s.flatten(), labels)
        epsilon = (x_t - signal * clean) / noise
        return {"epsilon": epsilon, "sample": clean, "v_prediction": signal * epsilon - noise * clean}[prediction]

    return Adapted(model, schedule(), prediction, 3, 1, 2)  # type: ignore[arg-type]


def points(sigma: float, n: int = 6) -> Tensor:
    return (1 + sigma) * torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sigma", [0.0105, 0.35, 1.0, 7.3, 150.0])
def test_the_denoiser_is_exact_on_and_between_timesteps(prediction: str, sigma: float) -> None:
    known, labels = toy(), torch.tensor([0, 1, 2, 2, 1, 0])
    net, x = exact_model(prediction, known), points(sigma)
    torch.testing.assert_close(condition(net, labels)(x, torch.tensor(sigma)), known(x, sigma, labels))
    rows = sigma * torch.tensor([0.99, 1, 1.01, 1, 1, 0.995], dtype=torch.float64)
    torch.testing.assert_close(net(x, rows, labels), known(x, rows, labels))


def test_timesteps_are_those_of_the_schedule_and_never_beyond() -> None:
    net = exact_model("epsilon", toy())
    torch.testing.assert_close(net.timestep(net.sigmas), torch.arange(1000, dtype=torch.float64))
    assert float(net.timestep(torch.tensor([1e-5]))) == 0 == float(net.timestep(torch.tensor([0.0])))
    half = (net.sigmas[10] * net.sigmas[11]).sqrt()[None]
    assert float(net.timestep(half)) == pytest.approx(10.5)
    with pytest.raises(ValueError, match=r"sigma 200: the model was trained up to 157"):
        net.timestep(torch.tensor([1.0, 200.0]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_mix_of_an_adapted_model_follows_the_exact_mixed_flow(prediction: str) -> None:
    known, weights = toy(), torch.tensor([0.4, 0.6], dtype=torch.float64)
    net, labels = exact_model(prediction, known), torch.tensor([[0, 2]] * 5)
    sigmas = karras_sigmas(60, 0.01, 100.0, 7.0)
    start = 100 * torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    end = heun(mix(net, labels, weights), start, sigmas)
    means, stds = known.means[[0, 2], 0], known.stds[[0, 2], 0]
    expected = mixed_flow(start.reshape(5, 4), means, stds, weights, 100.0, 0.0).reshape_as(end)
    torch.testing.assert_close(end, expected, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(end, heun(mix(known, labels, weights), start, sigmas), atol=1e-5, rtol=1e-5)


def test_what_it_cannot_do_it_refuses() -> None:
    net, x = exact_model("epsilon", toy()), points(1.0)
    with pytest.raises(ValueError, match="one class per row"):
        mix_conditions(net, torch.tensor([[0, 1]] * 6), [0.5, 0.5])(x, torch.tensor(1.0))
    with pytest.raises(ValueError, match="label 3"):
        mix(net, torch.tensor([[0, 3]] * 6), [0.5, 0.5])
    with pytest.raises(ValueError, match="null_label"):
        net(x, 1.0, None)
    with pytest.raises(ValueError, match="null_label"):
        net.without_classes()
    with pytest.raises(ValueError, match="flow"):
        Adapted(net.model, schedule(), "flow", 3, 1, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alphas_cumprod"):
        Adapted(net.model, schedule().flip(0), "epsilon", 3, 1, 2)


def test_a_model_of_half_precision_is_told_the_exact_timestep() -> None:
    told: list[torch.Tensor] = []

    class Model(torch.nn.Module):
        config: ClassVar[dict[str, int]] = {"num_class_embeds": 5, "sample_size": 8, "in_channels": 1}
        dtype = torch.bfloat16

        def forward(self, x: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
            told.append(timestep)
            return SimpleNamespace(sample=x)

    scheduler = SimpleNamespace(alphas_cumprod=schedule(), config={"prediction_type": "epsilon"})
    net = from_diffusers(Model(), scheduler)
    condition(net, torch.tensor([0]))(torch.zeros(1, 1, 8, 8), torch.tensor(60.0, dtype=torch.float64))
    assert told[0].dtype == torch.float32 and abs(float(told[0]) - 898.503) < 1e-3  # bfloat16 knows 896 and 900


# ---- diffusers itself ----


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("make", [unet, dit])
def test_estimates_are_those_of_diffusers_scheduler(make: Any, prediction: str) -> None:
    model = make().eval()
    scheduler = diffusers().DDIMScheduler(prediction_type=prediction, clip_sample=False)
    net = from_diffusers(model, scheduler)
    assert (net.label_dim, net.img_channels, net.img_resolution) == (5, 1, 8)
    scheduler.set_timesteps(1000)
    labels = torch.tensor([0, 4, 2])
    for t in (0, 17, 400, 900):
        x_t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(t))
        sigma = float(net.sigmas[t])
        with torch.no_grad():
            out = model(x_t, torch.tensor([t] * 3), class_labels=labels).sample[:, :1]
            found = condition(net, labels)(x_t * (1 + sigma**2) ** 0.5, torch.tensor(sigma, dtype=torch.float64))
        expected = scheduler.step(out, t, x_t).pred_original_sample
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


def test_a_mix_is_sampled_and_guided() -> None:
    net = from_diffusers(dit(), diffusers().DDPMScheduler())
    labels = torch.tensor([[0, 1], [2, 3]])
    guided = autoguide(mix(net, labels, [0.5, 0.5]), condition(net.without_classes(), None), 1.5)
    with torch.no_grad():
        noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        images = heun(guided, 100 * noise, karras_sigmas(4, 0.02, 100.0, 7.0).float())
        alone = heun(condition(net, labels[:, 0]), 100 * noise, karras_sigmas(4, 0.02, 100.0, 7.0).float())
    assert images.shape == (2, 1, 8, 8) and bool(images.isfinite().all()) and not torch.equal(images, alone)


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no class embeddings"):
        from_diffusers(unet(num_class_embeds=None), diffusers().DDPMScheduler())
    with pytest.raises(ValueError, match="square"):
        from_diffusers(unet(sample_size=(8, 16)), diffusers().DDPMScheduler())
    with pytest.raises(ValueError, match="alphas_cumprod"):
        from_diffusers(unet(), diffusers().FlowMatchEulerDiscreteScheduler())


def test_the_example_makes_a_picture(tmp_path: Path) -> None:
    unet().save_pretrained(tmp_path / "unet")
    diffusers().DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    example = Path(__file__).resolve().parents[2] / "examples" / "own_generator.py"
    subprocess.run([sys.executable, example, tmp_path, "1", "3", tmp_path / "mixes.png"], check=True)
    assert Image.open(tmp_path / "mixes.png").size == (5 * 8, 4 * 8)
