"""From class to class: where mixes lie between their sources (paper Fig. 6, 10 and 13)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import NDArray

from scoremix.outputs.geometry import PathsSummary
from scoremix.report.charts import Axes, Floats, Image, Style, figure, light, new_axes, styled
from scoremix.report.geometry import AnalyzedRun, Geometry
from scoremix.report.numbers import Row, percent, signed
from scoremix.report.page import Section

KINDS = {"singles": "of single images", "means": "of the pairs' means", "straight": "if it were straight"}


@dataclass(frozen=True)
class PathStrip:
    """One pair of classes from λ = 0 to 1 at fixed noise."""

    classes: tuple[str, str]
    images: tuple[Image, ...]
    to_a: Floats
    to_b: Floats


class PathsSection(Section):
    title = "From class to class"
    paths: PathsSummary
    weights: Sequence[float]
    map: Mapping[str, NDArray[Any]]
    strips: tuple[PathStrip, ...]

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        artifact, names = source.measured["paths"], source.names
        walked = artifact.arrays("paths.npz")
        each = len(walked["to_a"]) // len(walked["pairs"])  # noises of a pair; the pictures are of the first
        strips = (
            PathStrip((names[a], names[b]), tuple(images), walked["to_a"][i * each], walked["to_b"][i * each])
            for i, ((a, b), images) in enumerate(zip(walked["pairs"], walked["pictures"], strict=False))
        )
        return cls(PathsSummary.load(artifact), walked["weights"].tolist(), artifact.arrays("map.npz"), tuple(strips))

    @property
    def styles(self) -> dict[str, Style]:
        """Of the pairs on the map."""
        return styled(" and ".join(strip.classes) for strip in self.strips)

    def json(self) -> dict[str, Any]:
        return {"paths": self.paths}

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for kind in KINDS:
            for key in ("forward", "straightness", "off_path_at_half"):
                yield {"section": "paths", "x": kind, "name": key, "value": getattr(getattr(self.paths, kind), key)}

    def findings(self, shared: Geometry) -> Iterator[str]:
        means = self.paths.means
        moves = means.to_b[-1] - means.to_b[0]
        yield (
            f"From λ = 0 to 1 the mean similarity to the second class moves by {signed(moves)}; {percent(means.forward)} "
            f"of steps go forward. Straightness {signed(means.straightness)}, a straight path would have "
            f"{signed(self.paths.straight.straightness)}."
        )


@figure
def similarity_over_lambda(weights: Sequence[float], paths: PathsSummary) -> tuple[Axes, str, str]:
    """Mean similarity of mixes to both sources over λ; thin: what a straight path between the ends would give."""
    axes = new_axes(210, left=58, x="λ, weight of the second class", y="cosine similarity")
    for key, colour in (("to_a", "arm-1"), ("to_b", "arm-2")):
        axes.plot(weights, getattr(paths.straight, key), color=light(colour), linewidth=1, linestyle=(0, (3, 2)))
        axes.plot(weights, getattr(paths.means, key), color=light(colour), linewidth=1.8, marker="o", markersize=3.5)
    return axes, "lambda", "Similarity of mixes to both source classes over the mixing weight."


@figure
def embedding_map(row: Mapping[str, NDArray[Any]]) -> tuple[Axes, str, str]:
    """Real images, reproductions (large, open) and mixes (dots, line of means) on axes fitted to the real ones."""
    real, mixes, classes, pairs = (row[name] for name in ("real", "made", "real_class", "pairs"))
    drawn = list(styled(str(i) for i in range(len(pairs))).values())
    share = [f"principal axis {at + 1} ({100 * v:.0f} % of the variance)" for at, v in enumerate(row["variance"])]
    axes = new_axes(320, left=46)
    for (a, b), walk, style in zip(pairs, mixes, drawn, strict=True):
        colour = light(style.colour)
        for k, marker in ((a, "o"), (b, "^")):
            of_class = real[classes == k]
            axes.plot(
                of_class[:, 0], of_class[:, 1], marker, color=colour, markersize=3.5, alpha=0.35, markeredgewidth=0
            )
        inner = walk[1:-1].reshape(-1, 2)
        axes.plot(inner[:, 0], inner[:, 1], ".", color=colour, markersize=2.5, alpha=0.6)
        means = walk.mean(1)
        axes.plot(means[:, 0], means[:, 1], color=colour, linewidth=1.4)
        for end, marker in ((0, "o"), (-1, "^")):
            axes.plot(
                [means[end, 0]], [means[end, 1]], marker, color=colour, markersize=7, markerfacecolor=light("page")
            )
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
    for axis, at in ((axes.xaxis, 0), (axes.yaxis, 1)):
        axis.set_major_formatter(lambda v, _: f"{v:g}".replace("-", "−"))
        axis.set_label_text(share[at] if share else f"UMAP {at + 1}")
    return axes, "embedding-map", "Real, reproduced and mixed images in the recognizer's space."
