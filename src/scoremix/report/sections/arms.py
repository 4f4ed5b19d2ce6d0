"""Recognition of unseen classes: every arm's numbers, their differences to the controls, verification curves."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scoremix.evaluation.metric_table import power
from scoremix.report.charts import Axes, Floats, Style, figure, light, new_axes, seed_lines
from scoremix.report.numbers import Row, estimate_rows
from scoremix.report.page import Section
from scoremix.report.results import ArmResult, Results, Roc


class ArmsSection(Section):
    title = "Recognition of unseen classes"

    def rows(self, shared: Results) -> Iterator[Row]:
        names = shared.evaluation.recognizer_seeds
        for arm in shared.arms:
            for key, e in arm.metrics.items():
                yield from estimate_rows(e, names, table="arms", arm=arm.name, metric=key)
        for d in shared.differences:
            yield from estimate_rows(
                d.estimate, names, table="differences", arm=d.arm, control=d.control, metric=d.metric
            )
        for metric in shared.evaluation.metrics:
            if metric.reason:
                yield {"table": "not supported", "metric": metric.key, "reason": metric.reason}


def not_compared(results: Results) -> list[str]:
    """Arms of which no difference to any control was measured, the verdict's first control aside."""
    compared = {d.arm for d in results.differences if not d.estimate.missing}
    return [arm.name for arm in results.arms if arm.name not in {*compared, *results.controls}]


@figure
def roc(arms: Sequence[ArmResult], drawn: Mapping[str, Style], supported_far: float) -> tuple[Axes, str, str]:
    """Verification curves, log FAR against TAR: seeds thin, mean thick, unsupported FAR shaded."""
    with_curve = [(arm, arm.roc) for arm in arms if arm.roc is not None]
    thin = sum(len(np.atleast_2d(curve.tar)) for _, curve in with_curve) <= 60
    axes = new_axes(270, y="true accept rate (TAR, %)")
    for arm, curve in with_curve:
        far, tar = sampled(curve)
        seed_lines(axes, far, 100 * tar, drawn[arm.name], thin)
    _far_axis(axes, [curve for _, curve in with_curve], supported_far)
    axes.set_ylim(0, 101)
    return axes, "roc", f"Verification ROC of {', '.join(a.name for a, _ in with_curve)}, logarithmic FAR axis."


@figure
def roc_gain(
    arms: Sequence[ArmResult], control: ArmResult, drawn: Mapping[str, Style], supported_far: float
) -> tuple[Axes, str, str]:
    """The same curves minus the control's at equal FAR and seed: shows differences too small for the ROC."""
    assert control.roc is not None
    base_far, base = sampled(control.roc)
    others = [(arm, arm.roc) for arm in arms if arm.roc is not None and arm.name != control.name]
    thin = sum(len(np.atleast_2d(curve.tar)) for _, curve in others) <= 30
    axes = new_axes(270, left=50, y="TAR minus the control's (points)")
    axes.axhline(0, color=light(drawn[control.name].colour), linewidth=1.2)
    for arm, curve in others:
        far, tar = sampled(curve)
        at = np.log(base_far)
        there = np.stack([np.interp(at, np.log(far), seed) for seed in tar])
        gain = there - base if len(there) == len(base) else (there.mean(0) - base.mean(0))[None]
        seed_lines(axes, base_far, 100 * gain, drawn[arm.name], thin)
    _far_axis(axes, [control.roc], supported_far)
    axes.locator_params(axis="y", nbins=6, steps=[1, 2, 5, 10])
    return axes, "roc-gain", f"Verification curves minus that of {control.name}, logarithmic FAR axis."


def _far_axis(axes: Axes, curves: Sequence[Roc], supported_far: float) -> None:
    """A logarithmic FAR axis, shaded below the smallest FAR that the impostor pairs support."""
    low = min((float(c.far[c.far > 0].min()) for c in curves), default=supported_far)
    low = max(low, supported_far / 10)
    if low < supported_far * 0.999:
        axes.axvspan(low, supported_far, color=light("band"), linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(low, 1)
    axes.locator_params(axis="x", numticks=12)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda v, _: power(v))
    axes.set_xlabel("false accept rate (FAR)")


def sampled(curve: Roc, points: int = 160) -> tuple[Floats, Floats]:
    """The curve at no more than that many FAR, evenly spaced in the logarithm, always with its ends."""
    far, tar = np.asarray(curve.far, float), np.atleast_2d(np.asarray(curve.tar, float))
    keep = far > 0
    far, tar = far[keep], tar[:, keep]
    if len(far) > points:
        wanted = np.geomspace(far[0], far[-1], points)
        at = np.unique(np.clip(np.searchsorted(far, wanted), 0, len(far) - 1))
        far, tar = far[at], tar[:, at]
    return far, tar
