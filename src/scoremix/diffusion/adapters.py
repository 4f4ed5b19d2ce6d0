"""Class-conditional models of diffusers as denoising networks f(x, sigma, labels) (EDM section 5, Table 1: VP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
# (noisy images of the model's scale, fractional training timestep (b,), labels (b,)) -> what the model predicts
Model = Callable[[Tensor, Tensor, Tensor], Tensor]


def sigmas_of(alphas_cumprod: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """The noise level of every training timestep of such a schedule, float64: rising where the alphas fall."""
    a = alphas_cumprod.double().cpu()
    return ((1 - a) / a).sqrt()


@dataclass(frozen=True)
class Adapted:
    """A variance-preserving model behind the interface of our networks: estimates of clean images at any sigma.

    The model knows x_t = sqrt(a) x_0 + sqrt(1 - a) noise with a = alphas_cumprod[t]; we use x = x_0 + sigma noise,
    so sigma_t = sqrt((1 - a) / a) and x_t = x / sqrt(1 + sigma^2). Between timesteps t is linear in ln sigma, which
    models with a continuous time embedding (all of diffusers' but learned ones) take. Below the first sigma the
    first timestep stands in; above the last one there is nothing to ask: ValueError.

    Conditions are inside the model, so `mix_conditions` is refused: mix scores.
    """

    model: Model
    alphas_cumprod: Float[Tensor, " t"]
    prediction: Prediction
    label_dim: int
    img_channels: int
    img_resolution: int
    null_label: int | None = None  # what the model was trained with for "no class"

    def __post_init__(self) -> None:
        a = self.alphas_cumprod
        if a.ndim != 1 or len(a) < 2 or not bool(((a > 0) & (a < 1)).all() and (a.diff() < 0).all()):
            raise ValueError("alphas_cumprod must fall from below 1 to above 0 over at least 2 timesteps")
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"prediction {self.prediction!r}: must be epsilon, v_prediction or sample")

    def buffers(self) -> Iterator[Tensor]:
        """What tells the device, as a module's."""
        yield self.alphas_cumprod

    @property
    def sigmas(self) -> Float[Tensor, " t"]:
        """The noise level of every training timestep, rising, float64."""
        return sigmas_of(self.alphas_cumprod)

    def timestep(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The fractional training timestep of each noise level; ValueError beyond the last one."""
        known, wanted = self.sigmas.log().numpy(), sigma.double().cpu()
        most = float(self.sigmas[-1])
        if float(wanted.max()) > most * (1 + 1e-6):
            raise ValueError(
                f"sigma {float(wanted.max()):g}: the model was trained up to {most:g}, set sigma_max to it"
            )
        t = np.interp(wanted.clamp(min=1e-300).log().numpy(), known, np.arange(len(known)))
        return torch.from_numpy(t).to(sigma.device)

    def __call__(
        self,
        x: Float[Tensor, "b c h w"],
        sigma: Float[Tensor, ...] | float,
        labels: Int[Tensor, " b"] | None = None,
        label_weights: Tensor | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Estimate of the clean images; labels None asks for no class. ValueError without a null label, and for
        mixed conditions.
        """
        if label_weights is not None or (labels is not None and (labels.ndim != 1 or labels.is_floating_point())):
            raise ValueError("an adapted model takes one class per row: mix its scores, not its conditions")
        if labels is None or self.label_dim == 0:
            if self.null_label is None:
                raise ValueError("labels None: the model has no label for 'no class' (null_label)")
            labels = torch.full((len(x),), self.null_label, device=x.device)
        s = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1).expand(len(x))
        time = self.timestep(s).to(x.dtype)
        s = s.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        norm = (1 + s.square()).sqrt()
        out = self.model(x / norm, time, labels).to(x.dtype)
        match self.prediction:
            case "epsilon":
                return x - s * out
            case "v_prediction":
                return x / norm.square() - s / norm * out
            case "sample":
                return out

    def without_classes(self) -> Adapted:
        """The same model asked for no class: a network of label_dim 0, the guide of classifier-free guidance."""
        if self.null_label is None:
            raise ValueError("null_label None: the model was not trained without classes")
        return replace(self, label_dim=0)


def from_diffusers(model: Any, scheduler: Any) -> Adapted:
    """A UNet2DModel with class embeddings, or a DiTTransformer2DModel, with the scheduler it was trained with.

    The scheduler gives alphas_cumprod and prediction_type. A DiT predicts noise and its variance, of which the
    noise is used, and knows "no class" as label `num_embeds_ada_norm`. Models in a latent space make latents:
    encode and decode with the model's own autoencoder. The model is put into eval mode; nothing is downloaded.
    ValueError for a model without classes, and for schedulers or predictions that are not variance-preserving.
    """
    config = model.config
    transformer = "num_embeds_ada_norm" in config
    classes = config.get("num_embeds_ada_norm") if transformer else config.get("num_class_embeds")
    if not classes:
        raise ValueError(f"{type(model).__name__}: no class embeddings (num_class_embeds); scores need classes to mix")
    if getattr(scheduler, "alphas_cumprod", None) is None:
        raise ValueError(
            f"{type(scheduler).__name__}: has no alphas_cumprod; a variance-preserving scheduler is needed"
        )
    size, channels = config["sample_size"], config["in_channels"]
    if isinstance(size, (tuple, list)):
        if len(set(size)) > 1:
            raise ValueError(f"sample_size {tuple(size)}: images must be square")
        size = size[0]
    model.eval()

    def predicted(x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        out: Tensor = model(x.to(model.dtype), timestep=time.float(), class_labels=labels).sample
        return out[:, :channels]

    prediction = scheduler.config["prediction_type"]
    null = int(classes) if transformer else None
    return Adapted(predicted, scheduler.alphas_cumprod, prediction, int(classes), channels, int(size), null)
