"""Do recognizers trained with mixes accept generated images more? On a finished run, for every arm.

python benchmarks/presentation.py RUN [--out scoremix_runs] [--json FILE]

Presented as a training class are: other real images of it, the generator's reproductions of it, and mixes of it with another
class. Accepted is a pair with a real image of the class above the similarity that 1 % of the pairs of two evaluated classes
exceed. Also: the accuracy of a linear classifier of embeddings, real training images against reproductions (0.5: it
cannot tell). Means over seeds with 95 % intervals over classes, and their differences to `equal_steps`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import ConfigError, Runtime
from scoremix.data.files import write_file
from scoremix.evaluation.appearance import separable
from scoremix.evaluation.bootstrap import class_draws
from scoremix.evaluation.estimate import Estimate
from scoremix.execution import processes as engine
from scoremix.execution import records
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, real_images
from scoremix.stages.embedding import all_embedded, opened

FAR, CONTROL = 0.01, "equal_steps"
Shares = NDArray[np.float64]


def threshold(unit: torch.Tensor, labels: NDArray[np.int64]) -> float:
    """The similarity that a share FAR of the pairs of two classes exceeds."""
    similarity = (unit @ unit.T).numpy()
    return float(np.quantile(similarity[labels[:, None] != labels[None]], 1 - FAR))


def accepted(
    shown: torch.Tensor, claimed: NDArray[np.int64], real: torch.Tensor, labels: NDArray[np.int64], at: float
) -> Shares:
    """Share of accepted pairs of a class's shown images with its real ones, (classes,); an image is no pair with itself."""
    similarity = (shown @ real.T).numpy()
    pairs = (claimed[:, None] == labels[None]) & (similarity < 1 - 1e-5)
    counted = [(similarity[pairs & (labels == k)[None]] >= at) for k in range(labels.max() + 1)]
    return np.array([hits.mean() if len(hits) else np.nan for hits in counted])


def summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean over seeds and classes (seeds, classes) in per cent, with its interval over classes."""
    kept = 100 * values[:, ~np.isnan(values).any(0)]
    n = np.concatenate([np.ones((1, kept.shape[1])), class_draws(kept.shape[1])])
    return Estimate.of(kept @ n.T / n.sum(1)).as_json()


def measure(out: Path, name: str) -> dict[str, Any]:
    """What is shown -> arm -> estimate, and -> arm minus control; `told_apart` -> arm -> accuracy by seed."""
    exp, chain, recognizers, added, _ = records.finished(out, name)
    if CONTROL not in exp.arms or exp.evaluation.treatment not in added:
        raise ConfigError(f"run {name!r}: has no arm {CONTROL!r}, or judges one that adds no images")
    folder = records.step_folder(out, name, "sample reproductions")
    reproduced = MixedImages.load(Artifact("sample", "", folder))
    mixed = MixedImages.load(added[exp.evaluation.treatment])
    train, unseen = real_images(chain["real"]), real_images(chain["real"], exp.evaluation.classes)
    labels = train.labels_of(np.arange(len(train))).astype(np.int64)
    shares: dict[str, dict[str, list[Shares]]] = {}
    told: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        work = Work(Path(place), Runtime(device="cpu", quiet=True), "presentation")
        for label, recognizer in recognizers.items():
            arm, net = label.rpartition("/")[0], opened(recognizer, work)
            at = threshold(all_embedded(net, unseen), unseen.labels_of(np.arange(len(unseen))).astype(np.int64))
            real, made, mixes = (all_embedded(net, images) for images in (train, reproduced.images, mixed.images))
            shown = {"real images": (real, labels), "reproductions": (made, reproduced.sources[:, 0])}
            shown |= {"mixes": (mixes.repeat(mixed.sources.shape[1], 1), mixed.sources.T.reshape(-1))}
            for what, (unit, claimed) in shown.items():
                shares.setdefault(what, {}).setdefault(arm, []).append(accepted(unit, claimed, real, labels, at))
            told.setdefault(arm, []).append(separable(real.double(), made.double()))
    stacked = {what: {arm: np.stack(found) for arm, found in arms.items()} for what, arms in shares.items()}
    return {
        "run": name,
        "far": FAR,
        "classes": len(train.class_names),
        "accepted": {what: {arm: summary(v) for arm, v in arms.items()} for what, arms in stacked.items()},
        "differences": {
            what: {arm: summary(v - arms[CONTROL]) for arm, v in arms.items() if arm != CONTROL}
            for what, arms in stacked.items()
        },
        "told_apart": told,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run, or a study's STUDY.DATA.gSEED")
    parser.add_argument("--out", type=Path, default=Path("scoremix_runs"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    engine.use_threads(1)
    try:
        found = measure(options.out, options.run)
    except ConfigError as error:
        parser.error(str(error))
    for what, arms in found["accepted"].items():
        for arm, cell in arms.items():
            print(f"{what:<14} {arm:<16} {cell['value']:5.1f} ({cell['low']:.1f} to {cell['high']:.1f})")
    for arm, values in found["told_apart"].items():
        print(f"told apart     {arm:<16} {np.mean(values):.2f}")
    if options.json:
        write_file(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
