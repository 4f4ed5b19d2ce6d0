"""The gate while a generator is trained: a few hundred cheap reproductions that the baseline recognizer classifies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize

from scoremix.data.image_order import stream_seed
from scoremix.diffusion.denoisers import condition
from scoremix.diffusion.purpose import Reason, reason_to_stop
from scoremix.diffusion.solvers import UnitNoise, dpm2m, karras_sigmas
from scoremix.outputs.networks import CHECKPOINT, GateCurve, centers_of
from scoremix.recognition import checkpoints as recognizers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scoremix.diffusion.checkpoints import Pixels
    from scoremix.diffusion.unet import EDM2
    from scoremix.execution.artifacts import Artifact

IMAGES = 300  # reproductions of a measurement
STEPS = 10  # of the solver, one evaluation of the network each
CHUNK = 50  # reproductions at a time


@dataclass
class Watch:
    """Measures the gate, keeps its curve, and says when training has reached its end."""

    recognizer: nn.Module
    description: recognizers.Description
    centers: Tensor
    labels: Tensor  # of the reproductions, on the device
    seed: int
    planned: int  # measurements over the longest training
    rows: list[tuple[int, float]] = field(default_factory=list)  # images seen, gate

    @classmethod
    def load(cls, recognizer: Artifact, seed: int, planned: int, device: torch.device) -> Watch:
        """With the baseline recognizer; reproductions are of all classes in turn, or of as many as there are images."""
        net, description = recognizers.load(recognizer / CHECKPOINT)
        centers = centers_of(recognizer).to(device)
        order = np.random.default_rng(stream_seed(seed, "gate")).permutation(len(centers))
        labels = torch.from_numpy(order[np.arange(IMAGES) % len(order)]).to(device)
        return cls(net.to(device).requires_grad_(False), description, centers, labels, seed, planned)

    @torch.no_grad()
    def gate_of(self, net: EDM2, pixels: Pixels) -> float:
        """The share of unguided reproductions by a frozen network whose own class center is the nearest."""
        hits = 0
        for start in range(0, IMAGES, CHUNK):
            labels = self.labels[start : start + CHUNK]
            seeds = [stream_seed(self.seed, "gate", start + row) for row in range(len(labels))]
            noise = UnitNoise(seeds, (net.img_channels, net.img_resolution, net.img_resolution), labels.device)
            sigmas = karras_sigmas(STEPS).to(labels.device, torch.float32)
            images = pixels.decode(dpm2m(condition(net, labels), noise() * sigmas[0], sigmas))
            unit = normalize(self.recognizer(recognizers.unit_input(images.clamp(-1, 1), self.description)))
            hits += int(((unit @ self.centers.T).argmax(1) == labels).sum())
        return hits / IMAGES

    def add(self, images_seen: int, gate: float) -> None:
        self.rows.append((images_seen, gate))

    @property
    def in_words(self) -> str:
        """The last measurement, as the progress line has it."""
        return f", gate {self.rows[-1][1]:.2f}" if self.rows else ""

    def ending(self, longest: int) -> str:
        """How the curve ended, for a person who follows the run."""
        seen, gate = self.rows[-1]
        if seen >= longest:
            return f"gate in training {gate:.2f}"
        why = {"levelled": "rises no more", "at chance": "is that of guessing: what is needed is out of reach"}
        return f"ended after {seen:,} of {longest:,}: the gate in training, {gate:.2f}, {why[str(self.reason)]}"

    def curve(self, longest: int) -> GateCurve:
        """All measurements, as generator.json has them."""
        seen, gate = zip(*self.rows, strict=True)
        reason = self.reason if seen[-1] < longest else None
        return GateCurve(seen, gate, IMAGES, 1 / len(self.centers), longest, reason)

    @property
    def reason(self) -> Reason | None:
        """Why training ends now; None while it goes on."""
        return reason_to_stop([gate for _, gate in self.rows], IMAGES, 1 / len(self.centers), self.planned)

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def restore(self, state: dict[str, Any]) -> None:
        self.rows = [(int(seen), float(gate)) for seen, gate in state["rows"]]
