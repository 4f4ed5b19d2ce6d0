"""Both trainings at toy size lose what they lost when their curves were stored: data order, augmentation, loss, rate, network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from scoremix import commands

CURVES = json.loads((Path(__file__).parent / "golden" / "curves.json").read_text())


@pytest.mark.parametrize("stage", ["recognizer", "generator"])
def test_losses_are_those_of_the_stored_curve(
    stage: str, tiny_npz: Path, tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [part for setting in tiny_settings for part in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["scoremix", stage, "--data", str(tiny_npz), "--out", str(tmp_path), *changes])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    (file,) = (tmp_path / "store" / stage).glob("*/history.csv")
    images_seen, losses = np.loadtxt(file, delimiter=",", skiprows=1).T
    stored = CURVES[stage]
    np.testing.assert_array_equal(images_seen, stored["images_seen"])
    for part in stored["tolerances"]:
        steps = slice(*part["steps"])
        np.testing.assert_allclose(losses[steps], stored["losses"][steps], rtol=part["relative"], atol=0)
