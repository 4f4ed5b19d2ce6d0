"""Training: losses of the generator and of the recognizers against images seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from markupsafe import Markup

from scoremix.outputs.networks import GeneratorSummary
from scoremix.report.charts import STEPS, Axes, Floats, Style, figure, light, new_axes, seed_lines, styled
from scoremix.report.page import Section
from scoremix.report.results import ArmResult, Curve, ReportedRun, Results


@dataclass(frozen=True)
class GeneratorCurves:
    """Training curves of the generator; `guide_at`: images seen when the guide's snapshot was taken."""

    curves: tuple[Curve, ...]
    guide_at: float | None = None


class TrainingSection(Section):
    title = "Training"
    generator: GeneratorCurves | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "generator" not in run.chain:
            return cls()
        generator = run.chain["generator"]
        if not (generator / "history.csv").exists():  # one that was not trained here
            return cls()
        curve = Curve.of([generator])
        one = replace(curve, values=curve.values[0])
        return cls(GeneratorCurves((one,), GeneratorSummary.load(generator).guide_at))

    def shown(self, shared: Results) -> bool:
        return self.generator is not None or any(arm.training for arm in shared.arms)


def generator_loss(generator: GeneratorCurves) -> Markup:
    """The generator's loss against images seen, the guide's snapshot marked."""
    names = styled(c.label for c in generator.curves)
    lines = [(curve, names[curve.label]) for curve in generator.curves]
    return _losses(lines, "generator-loss", "Generator loss against images seen", generator.guide_at)


def recognizer_loss(arms: Sequence[ArmResult], drawn: Mapping[str, Style]) -> Markup:
    """The recognizers' losses against images seen, seeds thin, mean thick."""
    lines = [(curve, drawn[arm.name]) for arm in arms for curve in arm.training]
    return _losses(lines, "recognizer-loss", "Recognizer loss against images seen, one line per arm")


@figure
def _losses(
    lines: Sequence[tuple[Curve, Style]], name: str, alt: str, mark: float | None = None
) -> tuple[Axes, str, str]:
    axes = new_axes(210, left=46, top=16, x="images seen (thousands)", y="loss")
    means = []
    for curve, style in lines:
        seen, values = thinned(curve)
        seed_lines(axes, seen / 1000, values, style, len(lines) <= 12)
        means.append(values.mean(0))
    lowest = min((float(m.min()) for m in means if len(m)), default=0.0)
    highest = max((float(m.max()) for m in means if len(m)), default=1.0)
    if lowest > 0 and highest / lowest > 20:
        axes.set_yscale("log")
        axes.locator_params(axis="y", subs=(1, 2, 5))
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        axes.minorticks_off()
    if mark is not None:
        axes.axvline(mark / 1000, color=light("ink"), linewidth=0.9, linestyle=(0, (3, 2)))
        axes.annotate(
            "guide", (mark / 1000, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
            textcoords="offset points", color=light("ink"),
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=6, steps=STEPS)
    return axes, name, alt


def thinned(curve: Curve, points: int = 120) -> tuple[Floats, Floats]:
    """The curve as means over at most that many runs of neighbouring points: seen (k,), values (seeds, k)."""
    seen = np.atleast_1d(np.asarray(curve.images_seen, float))
    values = np.atleast_2d(np.asarray(curve.values, float))
    keep = np.isfinite(values).all(0)
    seen, values = seen[keep], values[:, keep]
    if len(seen) <= points:
        return seen, values
    starts = np.linspace(0, len(seen), points, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, len(seen)))
    return np.add.reduceat(seen, starts) / counts, np.add.reduceat(values, starts, axis=1) / counts
