"""A made-up but realistic report: characters as classes, their overlays as mixes, numbers with noise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter, ImageFont

from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.report import content
from scoremix.report.content import Arm, Difference, Report

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


def _sheet(rng: np.random.Generator, rows: int, m: int, **kind: Any) -> tuple[content.SheetRow, ...]:
    made = []
    for i in range(rows):
        letters = tuple(LETTERS[(m * i + j) % len(LETTERS)] for j in range(m))
        made.append(
            content.SheetRow(
                classes=tuple(f"U+{ord(c):04X} {c}" for c in letters),
                originals=tuple(glyph(c, rng, **kind) for c in letters),
                reproductions=tuple(glyph(c, rng, **kind) for c in letters),
                mixes=tuple(_mix(letters, rng, **kind) for _ in range(10)),
                distance=1.24 - 0.011 * i,
            )
        )
    return tuple(made)


def _grid(size: int, rgb: bool) -> content.Grid:
    ticks = (0.0, 0.2, 0.5, 0.8, 1.0)
    a, b = (glyph(c, np.random.default_rng(1), size, rgb).astype(float) - 128 for c in "ΩЖ")
    rows = tuple(
        tuple(np.clip(128 + (u * a + v * b) * (1 + 0.8 * max(0, u + v - 1)), 0, 255).astype(np.uint8) for v in ticks)
        for u in ticks
    )
    return content.Grid(("U+03A9 Ω", "U+0416 Ж"), ticks, ticks, rows)


def _screened(size: int, rgb: bool) -> tuple[tuple[content.Image, ...], tuple[content.Image, ...]]:
    drawn = [glyph("Ω", np.random.default_rng(seed), size, rgb) for seed in range(5)]
    return tuple(drawn[:2]), tuple(drawn[2:])


def _by_group(arms: tuple[str, ...], seeds: int) -> content.ByGroup:
    rng = np.random.default_rng(4)

    def rates(low: float, high: float) -> dict[str, Estimate]:
        drawn = {a: rng.uniform(low, high, seeds) for a in arms}
        return {
            a: Estimate(float(v.mean()), float(v.mean()) - 0.01, float(v.mean()) + 0.02, tuple(v))
            for a, v in drawn.items()
        }

    groups = tuple(
        content.GroupErrors(name, 6 - k, int(300 - 40 * k), int(9000 - 900 * k), rates(0.4, 0.6), rates(0.01, 0.03))
        for k, name in enumerate(("Cyrillic", "Greek <b>", "Latin"))
    )
    others = {"fdr": rates(0.8, 0.9), "inequity": rates(1.5, 3.0)}
    return content.ByGroup(0.01, groups, rates(0.1, 0.3), rates(-0.02, 0.02), 0.72, 0.66, others)


def _arm(name: str, shift: float, control: bool, seeds: int, rng: np.random.Generator) -> Arm:
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
    return Arm(
        name, note, control, 272 if not control else 136, 5440 if not control else 2720, 1500, metrics,
        content.Roc(far, tar), (content.Curve(name, seen, loss),),
    )  # fmt: skip


def _differences(arms: tuple[Arm, ...]) -> tuple[Difference, ...]:
    made = []
    controls = [a for a in arms if a.control]
    for arm in (a for a in arms if not a.control):
        for control in controls:
            for key, e in arm.metrics.items():
                each = tuple(x - y for x, y in zip(e.seeds, control.metrics[key].seeds, strict=True))
                mean = float(np.mean(each))
                made.append(Difference(arm.name, control.name, key, Estimate(mean, mean - 0.013, mean + 0.012, each)))
    return tuple(made)


def build(
    kind: content.Kind = "does not help here",
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
    return Report(
        title="scoremix run demo",
        verdict=content.Verdict(
            kind,
            "ScoreMix far" if arms > 2 else names[0],
            names[:2] if arms > 1 else (),
            change=(
                "Train the generator longer: --set generator.images_seen=500000",
                "Use more images per class.",
            )
            if kind == "generator too weak"
            else (),
        ),
        data=content.Data(
            "characters drawn from 38 fonts",
            (
                content.Split("training", 136, 2720, 0),
                content.Split("validation", 20, 400, 1),
                content.Split("test", 60, 1200, 2),
            ),
            (size, size, 3 if rgb else 1),
            (content.Skipped("my_images/b/broken.png", "cannot identify image file"),),
        ),
        evaluation=content.Evaluation(METRICS, "tar@0.01", 11_400, 1_203_004, 1e-4, tuple(range(seeds)), 0, 1),
        arms=made,
        differences=_differences(made),
        gate=content.Gate(0.31 if kind == "generator too weak" else 0.664, 0.5, 136, 2720, 0.861, 0.973, 0.994),
        generator=content.Generator((content.Curve("training loss", seen, curve),), 37_500),
        sheet=_sheet(rng, rows, m, size=size, rgb=rgb),
        grid=_grid(size, rgb),
        distances=content.Distances(counts, edges, chosen),
        similarities={
            "training classes": rng.normal(0.93, 0.03, 2720),
            "unseen classes": rng.normal(0.85, 0.06, 400),
            "reproductions": rng.normal(0.79, 0.1, 2720),
            "scoremix": rng.normal(0.52, 0.14, 2720),
        },
        groups=(
            content.Group("training classes", 2720, 0.93, 0.991, None, 0.95, 0.31, 1.0, 0.01),
            content.Group("unseen classes", 400, 0.85, 0.962, 0.941),
            content.Group("reproductions", 2720, 0.79, 0.664, 0.98, 0.72, 0.35, 0.97, 1.2),
            content.Group("scoremix", 2720, 0.52, 0.41, 0.73, 0.48, 0.36, 0.91, 2.9),
        ),
        screened=(content.Screened("coherent", 2720, 1088, 0.52, 0.61, (_screened(size, rgb),)),),
        agreements=(
            content.Agreement("scoremix", rng.gamma(9, 4, 2720), 20, 1.42),
            content.Agreement("agreeing", rng.gamma(9, 2.5, 1088), 8, 1.9),
        ),
        by_group=_by_group(names, seeds),
        magnitudes=content.Magnitudes(
            np.logspace(-2, 1, 8),
            {"scores (0.5, 0.5)": np.linspace(0.8, 1, 8), "scores (1, 1)": np.linspace(1.6, 2, 8)},
        ),
        search=content.SearchMap(
            np.linspace(0.1, 1.1, 11), np.add.outer(np.arange(11), np.arange(11)) / 20, (0.7, 0.7)
        ),
        costs=(
            content.Cost("ingest", 1.4, None, 212 * 2**20, 4320, True),
            content.Cost("recognizer, real (3 seeds)", 41.0, None, 890 * 2**20, 576_000),
            content.Cost("generator", 171.3, 500_000, 1240 * 2**20, 250_000),
            content.Cost("select", 0.3, None, 300 * 2**20, None),
            content.Cost("sample", 88.2, 337_280, 960 * 2**20, 2720),
            content.Cost("recognizer, ScoreMix far (3 seeds)", 44.7, None, 910 * 2**20, 576_000),
            content.Cost("evaluate", 6.2, None, 700 * 2**20, 10_800),
        ),
        config={
            "data": {"path": "demo", "size": size},
            "generator": {"channels": 32, "mult": (1, 2)},
            "mixing": {"weights": [0.5, 0.5], "convex": True},
        },
        versions={"scoremix": "0.1.0", "python": "3.11.2", "torch": "2.9.0", "git commit": "0a1b2c3d"},
        seeds={"data": 0, "generator": 0, "recognizer": tuple(range(seeds))},
        manifests=tuple(
            content.Manifest(s, f"{i * 7919:012x}", f"store/{s}/{i * 7919:012x}")
            for i, s in enumerate(("ingest", "recognizer", "generator", "select", "sample", "combine", "evaluate"))
        ),
        command="scoremix run demo",
    )


def bare(report: Report) -> Report:
    """Only what every report has: one arm, one seed, no interval, no optional part."""
    arm = replace(report.arms[0], metrics={"tar@0.01": Estimate(0.451, seeds=(0.451,))}, roc=None, training=())
    return Report(
        report.title,
        content.Verdict("does not help here", arm.name, (), "Nothing to compare with: only one arm was run."),
        report.data,
        replace(report.evaluation, recognizer_seeds=(0,)),
        (arm,),
    )
