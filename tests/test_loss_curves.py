"""Both trainings at toy size lose what they lost when their curves were stored: data order, augmentation, loss, rate, network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.runs import command

CURVES = json.loads((Path(__file__).parent / "golden" / "curves.json").read_text())


@pytest.mark.parametrize("stage", ["recognizer", "generator"])
def test_losses_are_those_of_the_stored_curve(
    stage: str, tiny_npz: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    changes = [part for setting in tiny_settings for part in ("--set", setting)]
    assert command(stage, "--data", tiny_npz, "--out", tmp_path, *changes) == 0
    (file,) = (tmp_path / "store" / stage).glob("*/history.csv")
    images_seen, losses = np.loadtxt(file, delimiter=",", skiprows=1).T
    stored = CURVES[stage]
    np.testing.assert_array_equal(images_seen, stored["images_seen"])
    for part in stored["tolerances"]:
        steps = slice(*part["steps"])
        np.testing.assert_allclose(losses[steps], stored["losses"][steps], rtol=part["relative"], atol=0)
