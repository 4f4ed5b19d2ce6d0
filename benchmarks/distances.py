"""Which measure tracks quality? Real images made worse step by step, and what each measure says (Appendix D.6).

python benchmarks/distances.py [--data PLACE] [--size 16] [--classes 60] [--images 20] [--epochs 12]
                               [--dinov2 FILE] [--inception FILE] [--out distances.json]

Half of the images of each class are the real ones; the other half is made worse in five steps, in ways whose order is
known: noise, blur, blending with another class, images of the wrong class, copies of one image per class, lost
classes. Features come from a recognizer trained here on the real half, from raw pixels, and from published networks
whose weights are given. For each measure: Spearman's correlation with the step (+1: it always calls worse
worse), and the first step at which it leaves the range of untouched halves ('-': never).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from scoremix.config import Recognizer
from scoremix.data.images import LabeledImages
from scoremix.data.reading import Wanted, read
from scoremix.evaluation import backbones, generated
from scoremix.execution import processes as engine
from scoremix.recognition.training import class_centers, embed
from scoremix.stages.train import recognizer as recognizer_stage

STEPS = (0.1, 0.2, 0.4, 0.6, 0.8)  # how much is made worse
SPLITS = 8  # of untouched images, for the range
WORSE = {  # the measures and the direction that means worse
    "frechet": 1,
    "kernel": 1,
    "precision": -1,
    "recall": -1,
    "density": -1,
    "coverage": -1,
    "align": 1,
    "shift": 1,
    "mode_coverage": -1,
    "ics": 1,
}
Features = Callable[[np.ndarray], Tensor]  # uint8 images (n, h, w, c) -> (n, d)


def worse(kind: str, images: np.ndarray, labels: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """The images made worse; `labels` ascend. Shares of images are drawn from the seed, nested in the strength."""
    rng = np.random.default_rng(seed)
    hit = rng.random(len(images)) < strength
    other = rng.permutation(len(images))
    x = images.astype(np.float64)
    match kind:
        case "noise":
            x = x + 255 * strength * rng.standard_normal(x.shape)
        case "blur":
            x = np.stack([_blurred(image, 3 * strength) for image in x])
        case "blend":
            x = (1 - strength / 2) * x + strength / 2 * x[other]
        case "wrong class":
            x[hit] = x[rng.permutation(np.flatnonzero(hit))]  # the same images under other labels
        case "copies":
            x[hit] = x[np.searchsorted(labels, labels[hit])]
        case "lost classes":
            classes = rng.permutation(labels.max() + 1)
            gone = np.isin(labels, classes[: int(strength * len(classes))])
            kept = np.flatnonzero(~gone)
            x[gone] = x[rng.choice(kept, gone.sum())]
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)


def _blurred(image: np.ndarray, width: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, (width, width, 0)))


KINDS = ("noise", "blur", "blend", "wrong class", "copies", "lost classes")


def measured(real: Tensor, real_labels: np.ndarray, fake: Tensor, labels: np.ndarray, classes: int) -> generated.Values:
    centers = class_centers(real, torch.from_numpy(real_labels), classes)
    return generated.of_distributions(real, fake) | generated.of_classes(fake, labels, centers)


def trained(images: LabeledImages, epochs: float) -> Features:
    """A recognizer of the images, seen by no one else."""
    config = Recognizer(epochs=epochs)
    device = engine.start("cpu")
    total = -(-int(epochs * len(images)) // config.batch) * config.batch
    for state in recognizer_stage.steps(config, images, device, total):
        net = state.net
    return lambda x: torch.nn.functional.normalize(embed(net.eval(), torch.from_numpy(x).permute(0, 3, 1, 2)))


@torch.no_grad()
def published(name: backbones.Name, path: Path) -> Features:
    net = backbones.load(name, path)

    def features(x: np.ndarray) -> Tensor:
        parts = torch.split(torch.from_numpy(x), 32)
        with torch.no_grad():
            return torch.cat([net(backbones.network_input(name, part)) for part in parts])

    return features


def table(name: str, features: Features, real: LabeledImages, rest: LabeledImages, seed: int) -> dict[str, object]:
    """Correlation and first visible step of every measure under every way of getting worse."""
    classes = len(real.class_names)
    (x, labels), (y, rest_labels) = (s.take(np.arange(len(s))) for s in (real, rest))
    reference = features(x)
    both, both_labels = torch.cat([reference, features(y)]), np.concatenate([labels, rest_labels])
    untouched = []
    for split in range(SPLITS):
        order = np.random.default_rng((seed, split)).permutation(len(both))
        half = order[np.argsort(both_labels[order], kind="stable")]
        one, two = half[::2], half[1::2]
        untouched.append(measured(both[one], both_labels[one], both[two], both_labels[two], classes))
    clean = measured(reference, labels, features(y), rest_labels, classes)
    found: dict[str, object] = {}
    for kind in KINDS:
        steps = [features(worse(kind, y, rest_labels, s, seed)) for s in STEPS]
        values = [clean, *(measured(reference, labels, f, rest_labels, classes) for f in steps)]
        for key, sign in WORSE.items():
            path = sign * np.array([v[key] for v in values])
            limit = max(sign * u[key] for u in (*untouched, clean))
            seen = [s for s, value in zip(STEPS, path[1:], strict=True) if value > limit + 1e-9]
            rho = float(spearmanr(range(len(path)), path).statistic) if np.ptp(path) > 1e-9 else 0.0
            found[f"{kind}: {key}"] = {"correlation": rho, "seen_from": seen[0] if seen else None}
    print(f"\nfeatures: {name}")
    print(f"{'':<15}" + "".join(f"{kind:>15}" for kind in KINDS))
    for key in WORSE:
        cells = [found[f"{kind}: {key}"] for kind in KINDS]
        print(f"{key:<15}" + "".join(f"{c['correlation']:>+9.2f} {c['seen_from'] or '-':>5}" for c in cells))  # type: ignore[index]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="glyphs")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--dinov2", type=Path)
    parser.add_argument("--inception", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, _ = read(
            options.data,
            Path(folder),
            Wanted(size=options.size, classes=options.classes, images_per_class=options.images),
        )
        train = images.of_classes("train")
        halves = [_half(train, part) for part in (0, 1)]
        spaces: dict[str, Features] = {
            "recognizer": trained(halves[0], options.epochs),
            "pixels": lambda x: torch.from_numpy(x.reshape(len(x), -1)).double() / 255,
        }
        for name in ("dinov2", "inception"):
            if getattr(options, name):
                spaces[name] = published(name, getattr(options, name))  # type: ignore[arg-type]
        print(f"{len(train.class_names)} classes, {len(halves[0])} real images; correlation and first step seen")
        found = {name: table(name, space, *halves, options.seed) for name, space in spaces.items()}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def _half(images: LabeledImages, part: int) -> LabeledImages:
    rows = np.concatenate(
        [
            np.arange(end - count + part, end, 2)
            for end, count in zip(np.cumsum(images.counts), images.counts, strict=True)
        ]
    )
    pixels, labels = images.take(rows)
    return LabeledImages.of(pixels, labels, images.class_names)


if __name__ == "__main__":
    main()
