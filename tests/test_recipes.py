"""The recipes of docs/contributing.md, followed: an arm of one's own from file to report, a solver on the exact toy."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from torch import Tensor

from scoremix import commands
from scoremix.config import SamplingPlan
from scoremix.diffusion.denoisers import mix
from scoremix.diffusion.solvers import Denoise, by_name, karras_sigmas


@pytest.mark.slow
def test_an_arm_of_ones_own(tiny_npz: Path, tiny_settings: list[str], tmp_path: Path, monkeypatch) -> None:
    config = tmp_path / "mine.yaml"
    mine = {"images": "averages", "sampling": {"weights": [0.9, 0.1]}, "note": "faint averages"}
    config.write_text(yaml.safe_dump({"arms": {"mine": mine}, "evaluation": {"treatment": "mine"}}))
    changes = [
        part
        for setting in [*tiny_settings, "seeds=[0]", "recognizer.epochs=1", "generator.images_seen=64"]
        for part in ("--set", setting)
    ]
    call = ["run", "--data", tiny_npz, "--config", config, "--out", tmp_path, "--device", "cpu", *changes]
    monkeypatch.setattr(sys, "argv", ["scoremix", *map(str, call)])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    found = {arm["name"]: arm for arm in json.loads((tmp_path / "tiny" / "report.json").read_text())["arms"]}
    assert found.keys() > {"real", "equal_steps", "mine"}  # beside those of the preset
    assert found["mine"]["images"] > found["real"]["images"]
    assert "faint averages" in (tmp_path / "tiny" / "report.html").read_text()
    made = (tmp_path / "store" / "pixels").glob("*/manifest.json")
    assert [0.9, 0.1] in [json.loads(file.read_text())["config"]["weights"] for file in made]


def midpoint(denoiser: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """A solver that the package does not have: the slope halfway, in the geometric mean of the levels; second order."""

    def slope(x: Tensor, t: Tensor) -> Tensor:
        return (x - denoiser(x, t)) / t

    for t, t_next in pairwise(sigmas):
        if t_next == 0:
            return x + (t_next - t) * slope(x, t)
        halfway = (t * t_next).sqrt()
        x = x + (t_next - t) * slope(x + (halfway - t) * slope(x, t), halfway)
    return x


def test_a_solver_of_ones_own_mixes_classes_and_is_of_its_order() -> None:
    """Two Gaussian classes of one spread: their half-and-half mix is a Gaussian between them, whose flow is known."""
    means, spread = torch.tensor([[-1.0, 0.5], [3.0, 1.5]], dtype=torch.float64), 0.5

    def classes(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        return means[labels] + spread**2 / (spread**2 + sigma**2) * (x - means[labels])

    x = 80 * torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = mix(classes, torch.tensor([[0, 1]]).expand(16, 2), torch.tensor([0.5, 0.5], dtype=torch.float64))
    exact = means.mean(0) + spread / (spread**2 + 80**2) ** 0.5 * (x - means.mean(0))
    errors = [float((midpoint(between, x, karras_sigmas(steps)) - exact).abs().max()) for steps in (16, 32, 64)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] and errors[2] < 0.01


def test_a_config_chooses_among_the_solvers_there_are() -> None:
    chosen = {*get_args(SamplingPlan.model_fields["solver"].annotation)}
    assert chosen == {*by_name(churn=0.0, eta=0.0, noise=torch.randn_like)}
