"""Presets: functions that return an experiment, a starting point for `--set`, not another code path.

Among them are published recipes of face recognition, the paper's experiment on WebFace160K, and generators of EDM2's
published sizes (Karras et al. 2024). A recipe says where its numbers come from, what it costs on named hardware, and
what to expect of it. Costs marked as estimates are arithmetic on published ones; nothing here was run by us unless a
stored result says so (docs/tables.md).
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from scoremix.config import (
    Arm,
    Choice,
    ConfigError,
    Data,
    Evaluation,
    Experiment,
    Generator,
    Network,
    Recognizer,
    Sampling,
    Selection,
    load,
)
from scoremix.config.arms import auggen, named
from scoremix.config.base import LONGEST_NAME, RESERVED
from scoremix.config.choice import chosen_by_conditions, without_generator
from scoremix.config.places import located

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".onnx")
FIRST = "coherent_75"  # the arm that did best in docs/results.md: judged where its candidates are not chosen among
AS_LONG = Arm(images="real", steps_of="averages_75")  # which are as many as mixes, and wait for no generator
CANDIDATES = {
    "arms": named(["real", "equal_steps", "averages_75", "cutmixes", "scoremix", FIRST], own={"equal_steps": AS_LONG}),
    "choice": Choice(),
    "evaluation": Evaluation(treatment=FIRST, controls=("real", "equal_steps")),
}
# what let generators know their classes soonest, on photographs of people and on characters (docs/generator.md)
SOON: dict[str, Any] = {"conditions": "rms", "batch": 32, "lr": 0.007}
GUIDED: dict[str, Any] = {"solver": "dpm2m", "guidance": 2.0, "guide": "condition"}


def folder() -> Experiment:
    """Any folder of class folders: 32 px, small networks; the best of the candidates is chosen and judged."""
    base = small()
    generator = base.generator.model_copy(update={"images_seen": "auto", "until": "gate", **SOON})
    return base.model_copy(update={**CANDIDATES, "generator": generator, "sampling": Sampling(steps=12, **GUIDED)})


def small() -> Experiment:
    """Networks and augmentations for folders of class folders at 32 px."""
    return Experiment(
        data=Data(size=32), recognizer=Recognizer(augment="face"), generator=Generator(channel_mult=(1, 2, 2))
    )


def triples(strategy: Literal["far", "close"]) -> Experiment:
    """The paper's 3-Plet Sum Max (far) or Sum Min (close; Table 2) on any folder of class folders."""
    return small().model_copy(update={"selection": Selection(strategy=strategy, m=3)})


def repro_aligned() -> Experiment:
    """The paper's Repro Aligned (Table 2) on any folder: reproductions alone, by a plain and by an aligned generator."""
    plain, aligned = "reproduction_alone", "reproduction_aligned_alone"
    judged = Evaluation(treatment=aligned, controls=("real", plain))
    return small().model_copy(update={"arms": named(["real", plain, aligned]), "evaluation": judged})


def demo() -> Experiment:
    """Characters rendered from fonts: candidates, choice and confirmation in minutes on two CPU cores."""
    return Experiment(
        name="demo",
        source="glyphs",
        data=Data(size=16, channels=1, classes=120, images_per_class=20, fractions=(0.4, 0.3, 0.3)),
        recognizer=Recognizer(epochs=10),
        generator=Generator(model_channels=24, images_seen=26_000, **SOON),
        sampling=Sampling(steps=8, images_per_mplet=8, **GUIDED),
        seeds=(0, 1),
    ).model_copy(update=CANDIDATES)


def omniglot() -> Experiment:
    """Omniglot's handwritten characters (an .npz of them): under an hour on two CPU cores."""
    return Experiment(
        name="omniglot",
        source="omniglot.npz",
        data=Data(size=16, channels=1, classes=400),
        generator=Generator(images_seen=300_000),
        sampling=Sampling(steps=12),
    )


def edm2(size: str) -> Experiment:
    """Folders of classes at 64 px with a generator of a published size, judged as `folder`."""
    exp = Experiment(data=Data(size=64), recognizer=Recognizer(augment="face"), generator=edm2_generator(size))
    return exp.model_copy(update=CANDIDATES)


def run_name(data: Path) -> str:
    """The name of a run on the images at a place, from that of the place; `of-` before one that no run may have."""
    place = data.resolve()
    named = place.name if place.is_dir() else place.stem
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", named).strip("-._")[:LONGEST_NAME].strip("-._")
    return f"of-{stem}" if stem.lower() in RESERVED else stem or "run"


EDM2_SIZES: dict[str, tuple[int, float, float, int]] = {
    # channels, learning rate, dropout, length at 64 px in 2^20 images; xxs and xxl have no published length at 64 px:
    # that of the neighbour (xs, xl) is taken
    "xxs": (64, 0.0170, 0.0, 1024),
    "xs": (128, 0.0120, 0.0, 1024),
    "s": (192, 0.0100, 0.0, 1024),
    "m": (256, 0.0090, 0.1, 2048),
    "l": (320, 0.0080, 0.1, 1024),
    "xl": (384, 0.0070, 0.1, 640),
    "xxl": (448, 0.0065, 0.1, 640),
}


def edm2_generator(size: str) -> Generator:
    """EDM2's network of that size and its training for pixels at 64 px; attention at the two deepest levels.

    Published runs decay the rate from 35,000 batches of 2048 on, after a rise over 10M images.
    """
    if size not in EDM2_SIZES:
        raise ValueError(f"EDM2 size {size!r}: must be one of {', '.join(EDM2_SIZES)}")
    channels, lr, dropout, mebi_images = EDM2_SIZES[size]
    total = mebi_images * 2**20
    return Generator(
        model_channels=channels,
        channel_mult=(1, 2, 3, 4),
        num_blocks=3,
        attention=True,
        dropout=dropout,
        images_seen=total,
        batch=2048,
        lr=lr,
        rampup=10_000_000 / total,
        decay_start=35_000 * 2048 / total,
        noise_mean=-0.8,
        noise_std=1.6,
        snapshots=32,
        shift=0,
    )


FACES = Data(size=112, channels=3, fractions=(0.9998, 0.0001, 0.0001))  # published recipes train on all identities


def adaface(network: Network = "adaface_ir50") -> Recognizer:
    """AdaFace's scripts: 26 epochs, batch 512, rate 0.1 falling tenfold after 12, 20 and 24, no warm-up, no clipping."""
    return Recognizer(
        network=network,
        head="adaface",
        scale=64.0,
        margin=0.4,
        epochs=26,
        batch=512,
        lr=0.1,
        weight_decay=5e-4,
        warmup=0.0,
        schedule="steps",
        milestones=(12, 20, 24),
        clip=None,
        augment="face",
        precision="bfloat16",
    )


def arcface_torch(network: Network = "iresnet50", head: str = "arcface") -> Recognizer:
    """arcface_torch's configs on 8 GPUs: 20 epochs, batch 1024, rate 0.1 falling linearly to 0, clipping at 5, flips only.

    ArcFace (margin 0.5) for MS1M, CosFace (0.4) for WebFace and Glint360K. The margin's gradient is exact, as in their
    code at the date of their published logs.
    """
    return Recognizer(
        network=network,
        head="cosface" if head == "cosface" else "arcface",
        scale=64.0,
        margin=0.4 if head == "cosface" else 0.5,
        gradient="exact",
        epochs=20,
        batch=1024,
        lr=0.1,
        weight_decay=5e-4,
        warmup=0.0,
        schedule="polynomial",
        decay_power=1.0,
        clip=5.0,
        augment="flip",
        precision="bfloat16",
    )


def recognizer_only(recognizer: Recognizer, name: str) -> Experiment:
    """Any face set under a published recipe, but for two identities in ten thousand that validation and test take
    (at least two each); `--arms real` trains nothing but the recognizers.
    """
    return webface160k().model_copy(update={"name": name, "data": FACES, "recognizer": recognizer})


def webface160k(network: Network = "iresnet50", name: str = "webface160k") -> Experiment:
    """The paper's experiment: 10,000 identities of 11 to 24 images train, 100 choose, 100 test (paper 4.1, 4.2).

    Generator EDM2-S on pixels at 112 px, until the 46 million images where the paper's curves end; mixes of the 10,000
    most distant pairs with weights one half, 20 images each. The paper's text names the backbone (IR50), the head (ArcFace)
    and the augmentations; batch, rate and epochs are in its Table 5, of which our copy lacks the content: AdaFace's are taken.
    """
    generator = edm2_generator("s").model_copy(
        update={
            "images_seen": 46_000_000,
            "rampup": 10 / 46,
            "decay_start": 35_000 * 2048 / 46_000_000,
            "snapshots": 22,
            "flip": True,
        }
    )
    recognizer = adaface(network).model_copy(update={"head": "arcface", "margin": 0.5})
    return Experiment(
        name=name,
        source="webface160k",
        data=FACES.model_copy(update={"classes": 10_200, "fractions": (10_000 / 10_200, 100 / 10_200, 100 / 10_200)}),
        recognizer=recognizer,
        generator=generator,
        selection=Selection(strategy="far", count=10_000),
        sampling=Sampling(images_per_mplet=20, steps=32, guidance=1.3),
    )


@dataclass(frozen=True)
class PublishedRecipe:
    """An experiment with its source, its cost and the numbers to expect."""

    make: Callable[[], Experiment]
    source: str
    cost: str
    expect: str


RECIPES: dict[str, PublishedRecipe] = {
    "adaface-ir50": PublishedRecipe(
        partial(recognizer_only, adaface(), "adaface-ir50"),
        "AdaFace's scripts and README",
        "MS1MV2 (5.8 M images): 2 GPUs as published; about 40 h on one RTX 3090 (estimate: 151 M images at the published "
        "fp16 rate of arcface_torch's R50 on 8 of them, 3,790 / s)",
        "MS1MV2: LFW 99.82, CFP-FP 97.86, CPLFW 92.83, CALFW 96.07, AgeDB-30 97.85, IJB-B 94.82 and IJB-C 96.27 at 1e-4",
    ),
    "adaface-ir101": PublishedRecipe(
        partial(recognizer_only, adaface("adaface_ir101"), "adaface-ir101"),
        "AdaFace's scripts and README",
        "WebFace4M (4.2 M images): 2 GPUs as published; about 1.9 times adaface-ir50 per image (estimate: operations)",
        "WebFace4M: TinyFace rank-1 72.02, rank-5 74.52",
    ),
    "arcface-r50": PublishedRecipe(
        partial(recognizer_only, arcface_torch(), "arcface-r50"),
        "arcface_torch's ms1mv3_r50 config, log and README",
        "MS1MV3 (5.2 M images): 6.45 h on 8 GPUs (published log, GPU not named), of which 1.19 h validation",
        "MS1MV3: LFW 99.83, CFP-FP 98.54, AgeDB-30 98.45 (best of the run, not the last), IJB-C 96.37 at 1e-4 and 94.47 at 1e-5",
    ),
    "arcface-r100": PublishedRecipe(
        partial(recognizer_only, arcface_torch("iresnet100"), "arcface-r100"),
        "arcface_torch's configs; insightface issue 1263",
        "MS1MV3 (5.2 M images): about 8.3 h on 8 GPUs (estimate: 104 M images at the published 3,460 / s)",
        "MS1MV2: IJB-B 42.75, 90.76, 94.75 and IJB-C 89.91, 94.47, 96.28 at 1e-6, 1e-5, 1e-4",
    ),
    "cosface-r50": PublishedRecipe(
        partial(recognizer_only, arcface_torch(head="cosface"), "cosface-r50"),
        "arcface_torch's wf4m_r50 and glint360k_r50 configs (Glint360K: weight decay 1e-4)",
        "WebFace4M (4.2 M images): about 4.2 h on 8 GPUs (estimate: 85 M images at arcface-r50's published 5,552 / s)",
        "no number under this protocol is recorded here",
    ),
    "webface160k": PublishedRecipe(
        webface160k,
        "the paper, sections 4.1 and 4.2, appendices I to K; what it does not state is named in the preset",
        "generator 42 H100-hours (published); 200,000 mixes about 15 H100-hours (estimate: 63 evaluations of 4 networks at "
        "three times the published training rate); a recognizer of 200,000 images 8 RTX 3090 Ti-hours (published), of "
        "real and mixed images together about 14 (estimate: by images)",
        "Tables 1 and 2 above",
    ),
    "webface160k-ir101": PublishedRecipe(
        partial(webface160k, "iresnet100", "webface160k-ir101"),
        "the paper, Table 1, rows marked with a dagger",
        "a recognizer of 200,000 images 10.8 RTX 3090 Ti-hours (published); the generator is shared with webface160k",
        "Table 1 above",
    ),
}

PRESETS: dict[str, Callable[[], Experiment]] = {
    "folder": folder,
    "3-plet-sum-max": partial(triples, "far"),
    "3-plet-sum-min": partial(triples, "close"),
    "repro-aligned": repro_aligned,
    "demo": demo,
    "omniglot": omniglot,
}
PRESETS |= {f"edm2-{size}": partial(edm2, size) for size in EDM2_SIZES}
PRESETS |= {name: recipe.make for name, recipe in RECIPES.items()}


# arms that a preset's data make other ones than `arms.ARMS`
OWN_ARMS: dict[str, dict[str, Arm]] = dict.fromkeys(("webface160k", "webface160k-ir101"), auggen(0.8))


def arms_of(
    preset: str, names: Iterable[str], own: Mapping[str, Arm], needed: Iterable[str], say: Callable[[str], None]
) -> dict[str, Arm]:
    """`arms.named` with the preset's own arms, which come after `own` ones."""
    return named(names, {**OWN_ARMS.get(preset, {}), **own}, needed, say)


def experiment(
    preset: str | None,
    files: Sequence[Mapping[str, Any]] = (),
    data: str | None = None,
    arms: str | None = None,
    settings: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    quick: bool = False,
    kind: str = "",
) -> Experiment:
    """The preset (by default `folder`), changed by what files hold, then by `a.b=c`; named after its data and its `kind`.

    With `quick` a first look at it: few images, two seeds, short trainings, and no generator where a recipe is chosen.
    Arms that the verdict needs and nobody named are added, and said. ConfigError with every mistake, also where it has
    no images and none are given.
    """
    chosen = preset or ("folder" if data or files else None)
    if chosen is None:
        raise ConfigError("nothing to run: give --data FOLDER, or a preset (demo)")
    if chosen not in PRESETS:
        known = f" (allowed: {', '.join(PRESETS)})"
        if Path(chosen).suffix in CHECKPOINTS:
            known = "; a recognizer is measured by `scoremix benchmark`"
        elif os.sep in chosen or Path(chosen).exists():
            known = f"; for the images there, say --data {chosen}"
        raise ConfigError(f"preset {chosen!r}: no such preset{known}")
    data = os.path.expanduser(data) if data else data
    given = {"source": data, "arms": arms}
    changes = [*(f"{name}={json.dumps(value)}" for name, value in given.items() if value), *settings]
    base = smaller(PRESETS[chosen]()) if quick else PRESETS[chosen]()
    named_here = any("source" in file for file in files) or any(s.partition("=")[0] == "source" for s in changes)
    if "source" not in base.model_fields_set and not named_here:
        raise ConfigError(
            f"preset {chosen!r}: has no images of its own; give --data FOLDER, or `source:` in a --config file"
        )
    exp = load(base, files, changes, partial(arms_of, chosen, say=say or (lambda line: None)))
    name = run_name(Path(data)) if data and exp.name == "run" else exp.name
    if kind and not any(change.startswith("name=") for change in changes) and not any("name" in f for f in files):
        name = f"{name[: LONGEST_NAME - len(kind) - 1]}-{kind}"
    if quick and exp.choice is not None:
        exp = without_generator(exp, [arm for arm, of in exp.arms.items() if of.generated])
        for arm, of in exp.arms.items():
            if chosen_by_conditions(exp, of):
                chosen_by = exp.changed_by(of).selection
                raise ConfigError(
                    f"--quick trains no generator, by whose conditions the m-plets of arm {arm!r} are chosen (selection.strategy "
                    f"{chosen_by.strategy!r}, selection.space {chosen_by.space!r}); leave one of them out"
                )
    return located(exp.model_copy(update={"name": name}))


def smaller(exp: Experiment) -> Experiment:
    """A first look at an experiment: at most 100 classes of 10 images, two seeds, 10 epochs, a short training of the
    generator; its choice is made on 5 validation classes already.
    """
    few = {"classes": min(exp.data.classes or 100, 100), "images_per_class": min(exp.data.images_per_class or 10, 10)}
    images = exp.generator.images_seen
    parts = {
        "data": few,
        "recognizer": {"epochs": min(exp.recognizer.epochs, 10)},
        "generator": {"images_seen": 50_000 if images == "auto" else min(images, 50_000)},
    }
    update: dict[str, Any] = {name: getattr(exp, name).model_copy(update=of) for name, of in parts.items()}
    if exp.choice is not None:
        update["choice"] = exp.choice.model_copy(update={"enough": min(exp.choice.enough, 5)})
    return exp.model_copy(update={**update, "seeds": exp.seeds[:2]})
