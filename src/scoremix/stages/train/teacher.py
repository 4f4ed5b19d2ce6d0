"""The frozen recognizer beside a generator in training: alignment loss (Appendix D), fixed conditions (paper 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scoremix.data.image_order import stream_seed
from scoremix.diffusion.alignment_loss import AlignmentLoss, fixed_conditions
from scoremix.outputs.networks import CHECKPOINT, centers_of
from scoremix.recognition import checkpoints as recognizers

if TYPE_CHECKING:
    from torch import Tensor

    from scoremix.config import Generator
    from scoremix.diffusion.checkpoints import Pixels
    from scoremix.execution.artifacts import Artifact
    from scoremix.execution.processes import Engine


@dataclass(frozen=True)
class Teacher:
    """What a frozen recognizer gives to the generator: its class centers, and the alignment loss."""

    centers: Tensor
    alignment: AlignmentLoss | None
    multiple: int | None  # width of fixed conditions over model_channels, None for learned ones

    @classmethod
    def load(cls, config: Generator, recognizer: Artifact, pixels: Pixels, device: Engine) -> Teacher:
        """From the recognizer's checkpoint and centers."""
        net, description = recognizers.load(recognizer / CHECKPOINT)
        net.to(device.device).requires_grad_(False)
        centers = centers_of(recognizer).to(device.device)
        alignment, multiple = None, None
        if config.align:
            a, length = config.align, config.length
            alignment = AlignmentLoss(
                lambda x: net(recognizers.unit_input(pixels.decode(x), description)),
                centers,
                a.weight,
                a.decay,
                a.start * length,
                a.ramp * length,
                device.mean,
            )
        if config.conditions != "learned":
            multiple = max(max(config.channel_mult), -(-centers.shape[1] // config.model_channels))
        return cls(centers, alignment, multiple)

    def conditions(self, config: Generator, dims: int) -> Tensor:
        """The fixed condition of each class, (L, dims)."""
        assert config.conditions != "learned"
        return fixed_conditions(self.centers.cpu(), dims, config.conditions, stream_seed(config.seed, "conditions"))
