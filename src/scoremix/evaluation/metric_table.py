"""Every metric once: its key in stored files, its name for a reader, which way is better, per cent or not.

`metric_of` knows the keys of results.json and draws.npz (verification, identification, held-out images, groups);
`QUALITY` and `leak_metric` are the measures of generated images (Appendix D.6).
"""

import math
from dataclasses import dataclass

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Metric:
    """How one number is called and written; a `reason` says why the test set does not support it."""

    key: str
    label: str
    higher_is_better: bool | None = True  # None where neither is
    percent: bool = True  # values are fractions, written as percentages
    reason: str = ""
    closed: bool = False  # on held-out images of the training classes, not on unseen classes
    note: str = ""  # what it says, in a few words

    @property
    def better(self) -> str:
        """An arrow the way that is better, or nothing."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


def power(value: float) -> str:
    """A level such as 0.001 as 10⁻³, others as 3·10⁻⁴; 1 as 1."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = value / 10.0**exponent
    if exponent == 0:
        return f"{value:g}"
    tens = f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return tens if abs(factor - 1) < 1e-6 else f"{factor:.3g}·{tens}"


EER = Metric("eer", "EER", higher_is_better=False)
AUC = Metric("auc", "AUC")
ACCURACY = Metric("accuracy", "held-out accuracy", closed=True)
TOP5 = Metric("top5", "held-out top-5", closed=True)
FNMR = Metric("fnmr", "refused genuine pairs", higher_is_better=False)
FMR = Metric("fmr", "accepted impostor pairs", higher_is_better=False)
GARBE = Metric("garbe", "inequality (GARBE)", higher_is_better=False, percent=False)
FDR = Metric("fdr", "fairness discrepancy (FDR)", percent=False)
INEQUITY = Metric("inequity", "inequity rate", higher_is_better=False, percent=False)
METRICS = {metric.key: metric for metric in (EER, AUC, ACCURACY, TOP5, FNMR, FMR, GARBE, FDR, INEQUITY)}


def tar(far: float, reason: str = "") -> Metric:
    """TAR@FAR at one level, key `tar@0.001`; `reason` where the impostor pairs do not support it."""
    return Metric(f"tar@{far:g}", f"TAR at FAR\u00a0{power(far)}", reason=reason)


def metric_of(key: str, reason: str = "") -> Metric:
    """The metric of a key in results.json."""
    name, _, far = key.partition("@")
    match name:
        case "tar":
            return tar(float(far), reason)
        case "mmpmr":
            label = f"morphs accepted at FAR\u00a0{power(float(far))}"
            return Metric(key, label, higher_is_better=False, reason=reason)
        case _ if name.startswith("rank"):
            return Metric(key, f"rank-{name.removeprefix('rank')}", reason=reason)
    return METRICS.get(key, Metric(key, key))


def _quality(key: str, label: str, higher_is_better: bool | None, note: str) -> Metric:
    return Metric(key, label, higher_is_better, percent=False, note=note)


QUALITY = (
    _quality("images", "images", None, "in the set"),
    _quality("align", "distance to target center", False, "mean cosine distance of an image to its class's real center; a mix's target is the weighted mean of its sources' centers"),
    _quality("ics", "intra-class similarity", None, "mean cosine of images to their own class's centroid; above real: less diverse than real images"),
    _quality("shift", "centroid shift", False, "cosine distance of a class's centroid to its target center"),
    _quality("mode_coverage", "mode coverage", True, "share of classes whose centroid is nearest to their own target"),
    _quality("mode_coverage_all", "mode coverage, all classes", True, "the same where the centers of all real classes compete"),
    _quality("frechet", "Fréchet distance", False, "of Gaussians fitted to the features"),
    _quality("kernel", "kernel distance", False, "squared maximum mean discrepancy, cubic kernel; may fall below 0 by chance"),
    _quality("precision", "precision", True, "images within reach of a real one"),
    _quality("recall", "recall", True, "real images within reach of a generated one"),
    _quality("density", "density", True, "real neighbourhoods an image lies in, over their number of neighbours"),
    _quality("coverage", "coverage", True, "real neighbourhoods with a generated image"),
    _quality("authenticity", "authenticity", True, "images farther from their nearest training image than that one is from its own nearest"),
    _quality("nearest", "similarity to nearest training image", None, "median cosine"),
    _quality("copying_z", "C_T", None, "z-score of distances to training images against those of held-out ones; far below 0: copies"),
    _quality("told_apart", "told from real images", False, "accuracy of a linear classifier of real against generated images, pixels and their statistics; 0.5: it cannot tell"),
    _quality("brightness", "brightness", None, "mean pixel in [−1, 1]; this line and the three after it: as real ones or not"),
    _quality("contrast", "contrast", None, "standard deviation of an image's pixels"),
    _quality("frame", "frame", None, "step between the outermost pixels and the next ones"),
    _quality("noise", "noise", None, "median absolute Laplacian"),
    _quality("spectrum", "spectrum", False, "mean difference of log power to real images over frequencies, in nats"),
)  # fmt: skip
_LEAKS = {
    "leak": ("leak rate at FMR {}", "images whose nearest training image a verifier at that false match rate would accept as the same class"),
    "leak_others": ("leak rate at FMR {}, sources aside", "the same without the classes that were mixed into the image"),
}  # fmt: skip


def leak_metric(key: str) -> Metric | None:
    """The leak rate of a key `leak@FMR` or `leak_others@FMR`; None for other keys."""
    name, _, fmr = key.partition("@")
    return _quality(key, _LEAKS[name][0].format(fmr), None, _LEAKS[name][1]) if name in _LEAKS else None
