"""A made-up but realistic report: characters as classes, their overlays as mixes, numbers with noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter, ImageFont

from scoremix.evaluation import metric_table
from scoremix.evaluation.errors import EDGES
from scoremix.evaluation.estimate import Estimate
from scoremix.outputs.comparison import Difference, Kind, Verdict
from scoremix.outputs.diagnosis import Group
from scoremix.outputs.errors import ArmErrors, ErrorsSummary, MendedErrors, WrongPair
from scoremix.outputs.mplets import LeakSummary, ScreeningSummary
from scoremix.outputs.networks import GateCurve, GateResult
from scoremix.report.charts import Image
from scoremix.report.distances import Distances
from scoremix.report.page import Manifest, Section, part
from scoremix.report.pages import report as pages
from scoremix.report.results import ArmResult, Curve, EvaluationProtocol, Results, Roc
from scoremix.report.sections import training, verdict
from scoremix.report.sections.about import GlossarySection, SettingsSection
from scoremix.report.sections.arms import ArmsSection
from scoremix.report.sections.convexity import ConvexitySection, Magnitudes, SearchMap, SearchSection
from scoremix.report.sections.cost import CostSection, StageCost
from scoremix.report.sections.data import DataSection, ImageSetSplits
from scoremix.report.sections.errors import ErrorsSection
from scoremix.report.sections.generator import GeneratorSection
from scoremix.report.sections.groups import ByGroup, GroupErrors, GroupsSection
from scoremix.report.sections.images import Grid, ImagesSection, PicturedPath, SheetRow
from scoremix.report.sections.mixes import Agreement, AgreementSection, MixesSection
from scoremix.report.sections.pairs import PairsSection
from scoremix.report.sections.screening import LeaksSection, ScreeningSection

S = TypeVar("S", bound=Section)

METRICS = (
    metric_table.tar(0.01),
    metric_table.tar(0.001),
    metric_table.EER,
    metric_table.AUC,
    metric_table.metric_of("rank1"),
    metric_table.metric_of("rank5"),
    metric_table.tar(1e-6, "needs 10 million impostor pairs, there are 1,203,004"),
)
LEVELS = {"tar@0.01": 0.45, "tar@0.001": 0.16, "eer": 0.11, "auc": 0.955, "rank1": 0.452, "rank5": 0.701}
LETTERS = "ΩЖ§&ÞξßЩæ∂ψЮ¶@"
NAMES = {
    3: ("real", "real, equal steps", "ScoreMix far"),
    12: (
        "real",
        "real, equal steps",
        "pixel average",
        "CutMix as new class",
        "reproductions added",
        "AugGen (.7, .7)",
        "ScoreMix far",
        "ScoreMix random",
        "ScoreMix close",
        "ScoreMix 3-plets, largest minimum distance",
        "coherent ScoreMix far",
        "coherent pixel average",
    ),
}


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def glyph(letter: str, rng: np.random.Generator, size: int = 16, rgb: bool = False) -> np.ndarray:
    """A bright character on dark ground, a little moved and turned."""
    big = PillowImage.new("L", (96, 96))
    at = (48 + float(rng.uniform(-6, 6)), 48 + float(rng.uniform(-6, 6)))
    ImageDraw.Draw(big).text(at, letter, 255, _font(72), anchor="mm")
    turned = big.rotate(float(rng.uniform(-12, 12)), PillowImage.Resampling.BILINEAR)
    small = turned.filter(ImageFilter.GaussianBlur(1.2)).resize((size, size), PillowImage.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    if not rgb:
        return grey.astype(np.uint8)
    tint = np.array([[(ord(letter) * k) % 160 + 60 for k in (37, 59, 83)]]) / 255
    return (grey[..., None] * tint + (255 - grey[..., None]) * 0.12).astype(np.uint8)


def _mix(letters: tuple[str, ...], rng: np.random.Generator, **kind: Any) -> np.ndarray:
    stack = np.stack([glyph(letter, rng, **kind) for letter in letters]).astype(np.float64)
    mixed: np.ndarray = np.clip(stack.max(0) * 0.75 + stack.mean(0) * 0.3, 0, 255)
    return mixed.astype(np.uint8)


def _sheet(rng: np.random.Generator, rows: int, m: int, **kind: Any) -> tuple[SheetRow, ...]:
    made = []
    for i in range(rows):
        letters = tuple(LETTERS[(m * i + j) % len(LETTERS)] for j in range(m))
        made.append(
            SheetRow(
                classes=tuple(f"U+{ord(c):04X} {c}" for c in letters),
                originals=tuple(glyph(c, rng, **kind) for c in letters),
                reproductions=tuple(glyph(c, rng, **kind) for c in letters),
                mixes=tuple(_mix(letters, rng, **kind) for _ in range(10)),
                distance=1.24 - 0.011 * i,
            )
        )
    return tuple(made)


def _grid(size: int, rgb: bool) -> Grid:
    ticks = (0.0, 0.2, 0.5, 0.8, 1.0)
    a, b = (glyph(c, np.random.default_rng(1), size, rgb).astype(float) - 128 for c in "ΩЖ")
    rows = tuple(
        tuple(np.clip(128 + (u * a + v * b) * (1 + 0.8 * max(0, u + v - 1)), 0, 255).astype(np.uint8) for v in ticks)
        for u in ticks
    )
    return Grid(("U+03A9 Ω", "U+0416 Ж"), ticks, ticks, rows)


def _screened(size: int, rgb: bool) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
    drawn = [glyph("Ω", np.random.default_rng(seed), size, rgb) for seed in range(5)]
    return tuple(drawn[:2]), tuple(drawn[2:])


def _errors(arms: tuple[str, ...], size: int, rgb: bool) -> ErrorsSection:
    rng = np.random.default_rng(5)
    bins = [np.histogram(rng.normal(at, 0.15, 2000).clip(-1, 1), EDGES)[0].tolist() for at in (0.7, 0.1)]

    images: list[np.ndarray] = []

    def pair(first: str, second: str, similarity: float) -> WrongPair:
        images.extend(glyph(c, rng, size, rgb) for c in (first, second))
        names = f"U+{ord(first):04X} <b>", f"U+{ord(second):04X} <b>"
        return WrongPair((len(images) - 2, len(images) - 1), names, similarity)

    wrong = (pair("Ω", "Ж", 0.81),), (pair("ß", "ß", -0.02), pair("æ", "æ", 0.11))
    found = ArmErrors((0.42,), 120, 31, bins[0], bins[1], *wrong)
    mended = {arms[0]: MendedErrors(9, 4, 7, 7, wrong[1], wrong[0])}
    return ErrorsSection(ErrorsSummary((0.01,), 0.01, 2000, 2000, dict.fromkeys(arms, found), mended), np.stack(images))


def _way(rng: np.random.Generator, m: int, **kind: Any) -> PicturedPath:
    letters = LETTERS[:m]
    frames = [_mix(tuple(letters), rng, **kind), *(glyph(c, rng, **kind) for c in letters)]
    return PicturedPath(tuple(letters), (80.0, 2.5, 0.0), tuple((frame,) * 3 for frame in frames))


def _by_group(arms: tuple[str, ...], seeds: int) -> ByGroup:
    rng = np.random.default_rng(4)

    def rates(low: float, high: float) -> dict[str, Estimate]:
        drawn = {a: rng.uniform(low, high, seeds) for a in arms}
        return {
            a: Estimate(float(v.mean()), float(v.mean()) - 0.01, float(v.mean()) + 0.02, tuple(v))
            for a, v in drawn.items()
        }

    groups = tuple(
        GroupErrors(name, 6 - k, int(300 - 40 * k), int(9000 - 900 * k), rates(0.4, 0.6), rates(0.01, 0.03))
        for k, name in enumerate(("Cyrillic", "Greek <b>", "Latin"))
    )
    others = {"fdr": rates(0.8, 0.9), "inequity": rates(1.5, 3.0)}
    return ByGroup(0.01, groups, rates(0.1, 0.3), rates(-0.02, 0.02), 0.72, 0.66, others)


def _arm(name: str, shift: float, control: bool, seeds: int, rng: np.random.Generator) -> ArmResult:
    metrics = {}
    for key, level in LEVELS.items():
        sign = -0.4 if key == "eer" else 0.15 if key == "auc" else 1.0
        values = level + sign * shift + 0.007 * rng.standard_normal(seeds)
        mean = float(values.mean())
        metrics[key] = Estimate(mean, mean - 0.016, mean + 0.018, tuple(values.tolist()))
    far = np.geomspace(1e-5, 1, 400)
    tar = np.stack([far ** (0.17 - 0.3 * shift + 0.002 * e) for e in rng.standard_normal(seeds)])
    seen = np.linspace(128, 192_000, 1500)
    loss = 4 + 24 * np.exp(-seen / 40_000) + 1.2 * shift * 10 + 0.4 * rng.standard_normal((seeds, seen.size))
    note = "the training images alone" if control else "136 new classes of 20 images"
    return ArmResult(
        name, note, control, 272 if not control else 136, 5440 if not control else 2720, 1500, metrics,
        Roc(far, tar), (Curve(name, seen, loss),),
    )  # fmt: skip


def _differences(arms: tuple[ArmResult, ...]) -> tuple[Difference, ...]:
    made = []
    controls = [a for a in arms if a.control]
    for arm in (a for a in arms if not a.control):
        for control in controls:
            for key, e in arm.metrics.items():
                each = tuple(x - y for x, y in zip(e.seeds, control.metrics[key].seeds, strict=True))
                mean = float(np.mean(each))
                made.append(Difference(arm.name, control.name, key, Estimate(mean, mean - 0.013, mean + 0.012, each)))
    return tuple(made)


@dataclass(frozen=True)
class Report:
    """What the sections share, and the sections."""

    results: Results
    parts: tuple[Section, ...]

    def part(self, kind: type[S]) -> S:
        found = part(self.parts, kind)
        assert found is not None
        return found

    def having(self, *parts: Section, **results: Any) -> Report:
        """With other sections of the same kind, and other fields of the results."""
        kinds = {type(p): p for p in parts}
        return Report(replace(self.results, **results), tuple(kinds.get(type(p), p) for p in self.parts))

    def only(self, *kinds: type[Section]) -> Report:
        """Without the sections of other kinds."""
        return Report(self.results, tuple(p for p in self.parts if isinstance(p, kinds)))

    @property
    def sentence(self) -> str:
        return verdict.sentence(self.results, self.part(verdict.VerdictSection).gate)

    @property
    def html(self) -> str:
        return pages.render(self.results, self.parts)

    @property
    def csv(self) -> str:
        return pages.to_csv(self.results, self.parts)

    @property
    def json(self) -> str:
        return pages.to_json(self.results, self.parts)

    def text(self, where: str = "") -> str:
        return pages.text_summary(self.results, self.parts, where)


def build(
    kind: Kind = "does not help here",
    arms: int = 3,
    seeds: int = 3,
    m: int = 2,
    rgb: bool = False,
    size: int = 16,
    rows: int = 8,
) -> Report:
    """A full report; arms is 1, 3, 12 or more."""
    rng = np.random.default_rng(7)
    names = NAMES.get(arms) or tuple(NAMES[12][i] if i < 12 else f"arm {i}" for i in range(arms))
    gain = 0.03 if kind == "helps" else 0.004
    shifts = [0.0, 0.006, *(gain + 0.02 * np.sin(i) for i in range(max(0, arms - 2)))]
    made = tuple(_arm(n, float(s), i < 2, seeds, rng) for i, (n, s) in enumerate(zip(names, shifts, strict=False)))
    seen = np.linspace(128, 250_000, 1900)
    curve = 0.35 + 0.9 * np.exp(-seen / 18_000) + 0.03 * rng.standard_normal(seen.size)
    everything = np.clip(rng.normal(0.98, 0.12, 9180), 0.2, 1.4)
    counts, edges = np.histogram(everything, 60)
    far = np.sort(everything)[-136:]
    chosen = {"ScoreMix far": far} if arms > 2 else {"far pairs": far}
    if arms >= 12:
        chosen |= {
            "ScoreMix close": np.sort(everything)[:136],
            "ScoreMix random": rng.choice(everything, 136),
        }
    results = Results(
        "scoremix run demo",
        Verdict(kind, "ScoreMix far" if arms > 2 else names[0], names[:2] if arms > 1 else ()),
        EvaluationProtocol(METRICS, "tar@0.01", 11_400, 1_203_004, 1e-4, tuple(range(seeds)), 0, 1),
        made,
        _differences(made),
    )
    gate = GateResult(0.31 if kind == "generator too weak" else 0.664, 0.861, 0.973, 0.994, 0.5, 136, 2720)
    change = ("Train the generator longer: --set generator.images_seen=500000", "Use more images per class.")
    splits = (("training", 136, 2720, 0), ("validation", 20, 400, 1), ("test", 60, 1200, 2))
    keys = ("name", "classes", "images", "single_image_classes")
    groups = (
        Group("training classes", 2720, 0.93, 0.991, None, 0.95, 0.31, 1.0, 0.01),
        Group("unseen classes", 400, 0.85, 0.962, 0.941),
        Group("reproductions", 2720, 0.79, 0.664, 0.98, 0.72, 0.35, 0.97, 1.2),
        Group("scoremix", 2720, 0.52, 0.41, 0.73, 0.48, 0.36, 0.91, 2.9),
    )
    similarities = {
        "training classes": rng.normal(0.93, 0.03, 2720),
        "unseen classes": rng.normal(0.85, 0.06, 400),
        "reproductions": rng.normal(0.79, 0.1, 2720),
        "scoremix": rng.normal(0.52, 0.14, 2720),
    }
    magnitudes = Magnitudes(
        np.logspace(-2, 1, 8),
        {"scores (0.5, 0.5)": np.linspace(0.8, 1, 8), "scores (1, 1)": np.linspace(1.6, 2, 8)},
    )
    leaks = LeakSummary(0.01, 0.83, "validation", 300, 2720, 31, 1)
    skipped = {"path": "my_images/b/broken.png", "reason": "cannot identify image file"}
    shape = (size, size, 3 if rgb else 1)
    return Report(
        results,
        (
            verdict.VerdictSection(change if kind == "generator too weak" else (), gate),
            ArmsSection(),
            GroupsSection(_by_group(names, seeds)),
            _errors(names, size, rgb),
            ImagesSection(
                _sheet(rng, rows, m, size=size, rgb=rgb), _grid(size, rgb), (), _way(rng, m, size=size, rgb=rgb)
            ),
            GeneratorSection(
                gate,
                GateCurve((75_000, 150_000, 225_000, 300_000), (0.12, 0.4, 0.51, 0.52), 300, 0.02, 500_000, "levelled"),
            ),
            MixesSection(groups, similarities),
            ScreeningSection(
                {"coherent": ScreeningSummary("coherence", 2720, 1088, 0.6, 0.52, 0.61)},
                {"coherent": [_screened(size, rgb)]},
            ),
            LeaksSection({"ScoreMix far": leaks}),
            AgreementSection(
                (
                    Agreement("scoremix", rng.gamma(9, 4, 2720), 20, 1.42),
                    Agreement("agreeing", rng.gamma(9, 2.5, 1088), 8, 1.9),
                )
            ),
            ConvexitySection(magnitudes),
            SearchSection(
                SearchMap(np.linspace(0.1, 1.1, 11), np.add.outer(np.arange(11), np.arange(11)) / 20, (0.7, 0.7))
            ),
            PairsSection(Distances(counts, edges, chosen)),
            training.TrainingSection(training.GeneratorCurves((Curve("training loss", seen, curve),), 37_500)),
            CostSection(
                (
                    StageCost("ingest", 1.4, None, 212 * 2**20, 4320, True),
                    StageCost("recognizer, real (3 seeds)", 41.0, None, 890 * 2**20, 576_000),
                    StageCost("generator", 171.3, 500_000, 1240 * 2**20, 250_000),
                    StageCost("select", 0.3, None, 300 * 2**20, None),
                    StageCost("sample", 88.2, 337_280, 960 * 2**20, 2720),
                    StageCost("recognizer, ScoreMix far (3 seeds)", 44.7, None, 910 * 2**20, 576_000),
                    StageCost("evaluate", 6.2, None, 700 * 2**20, 10_800),
                )
            ),
            DataSection(
                ImageSetSplits(
                    "characters drawn from 38 fonts",
                    tuple(dict(zip(keys, split, strict=True)) for split in splits),
                    shape,
                    (skipped,),
                )
            ),
            SettingsSection(
                {
                    "data": {"path": "demo", "size": size},
                    "generator": {"channels": 32, "mult": (1, 2)},
                    "mixing": {"weights": [0.5, 0.5], "convex": True},
                },
                {"scoremix": "0.1.0", "python": "3.11.2", "torch": "2.9.0", "git commit": "0a1b2c3d"},
                {"data": 0, "generator": 0, "recognizer": tuple(range(seeds))},
                tuple(
                    Manifest(s, f"{i * 7919:012x}", f"store/{s}/{i * 7919:012x}")
                    for i, s in enumerate(
                        ("ingest", "recognizer", "generator", "select", "sample", "combine", "evaluate")
                    )
                ),
                "scoremix run demo",
            ),
            GlossarySection(),
        ),
    )


def bare(report: Report) -> Report:
    """Only what every report has: one arm, one seed, no interval, no optional part."""
    arm = replace(report.results.arms[0], metrics={"tar@0.01": Estimate(0.451, seeds=(0.451,))}, roc=None, training=())
    results = Results(
        report.results.title,
        Verdict("does not help here", arm.name, (), "Nothing to compare with: only one arm was run."),
        replace(report.results.evaluation, recognizer_seeds=(0,)),
        (arm,),
    )
    kept = (DataSection, ArmsSection, GlossarySection)
    empty = [kind() for kind in pages.SECTIONS if kind not in kept]
    return Report(results, (*empty, *(p for p in report.parts if isinstance(p, kept))))
