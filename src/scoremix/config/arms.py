"""The arms by name: every row of the papers' Tables 1 and 2, the controls they lack, and what studies showed to matter.

An arm is data: what is added to the real images and what differs in training. `--arms table2,controls` or a
config's `arms: [real, equal_steps, auggen]` takes them from here, with those that the verdict needs; a config or a
study describes others of its own (studies/factors.yaml has many).
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scoremix.config import DEFAULT_ARMS, Arm, ConfigError

MATCHED = "scoremix"  # the arm whose number of steps the controls on real images are given
EQUAL: dict[str, Any] = {"weights": None, "weights_end": None}  # whatever the experiment says
SINGLE = {"strategy": "each"}
ALIGNED: dict[str, Any] = {"align": {}}  # Appendix D at its defaults


def auggen(weight: float = 0.7) -> dict[str, Arm]:
    """AugGen's arms at its two equal weights, which its authors chose for each set: .7 for CASIA, .8 for WebFace160K."""
    sampling = {**EQUAL, "mixture": "conditions", "weights": [weight, weight], "convex": False}
    mixed = f"conditions mixed ({weight:g}, {weight:g}), random pairs".replace("0.", ".")
    return {
        "auggen": Arm(selection={"strategy": "random"}, sampling=sampling, note=mixed),
        "auggen_alone": Arm(
            selection={"strategy": "random"},
            sampling=sampling,
            mixing={"real": False},
            note="AugGen without real images",
        ),
    }


ARMS: dict[str, Arm] = {
    **DEFAULT_ARMS,
    # Table 1
    **auggen(),
    "auggen_searched": Arm(
        selection={"strategy": "random"},
        sampling={**EQUAL, "mixture": "conditions", "convex": False},
        search=True,
        note="conditions mixed with searched weights, random pairs",
    ),
    "scoremix_alone": Arm(mixing={"real": False}, note="mixes without real images"),
    "reproduction": Arm(
        selection=SINGLE,
        sampling=EQUAL,
        mixing={"labels": "soft"},
        note="reproductions added to their classes",
    ),
    "reproduction_alone": Arm(
        selection=SINGLE,
        sampling=EQUAL,
        mixing={"labels": "soft", "real": False},
        note="reproductions without real images",
    ),
    "reproduction_aligned_alone": Arm(
        generator=ALIGNED,
        selection=SINGLE,
        sampling=EQUAL,
        mixing={"labels": "soft", "real": False},
        note="reproductions by an aligned generator, without real images",
    ),
    "deeper": Arm(
        images="real", steps_of=MATCHED, recognizer={"depth": 2}, note="a deeper recognizer on the real images"
    ),
    "scoremix_deeper": Arm(recognizer={"depth": 2}, note="a deeper recognizer with mixes"),
    # Table 2: which classes are mixed
    "scoremix_random": Arm(selection={"strategy": "random"}, note="random pairs"),
    "scoremix_close": Arm(selection={"strategy": "close"}, note="close pairs of class centers"),
    "scoremix_condition_far": Arm(
        selection={"strategy": "far", "space": "condition"}, note="far conditions of the generator, cosine"
    ),
    "scoremix_condition_close": Arm(
        selection={"strategy": "close", "space": "condition"}, note="close conditions, cosine"
    ),
    "scoremix_condition_far_l2": Arm(
        selection={"strategy": "far", "space": "condition", "metric": "l2"}, note="far conditions, L2"
    ),
    "scoremix_condition_close_l2": Arm(
        selection={"strategy": "close", "space": "condition", "metric": "l2"}, note="close conditions, L2"
    ),
    "scoremix_joint_top": Arm(selection={"strategy": "joint_top"}, note="close conditions, far centers: the best"),
    "scoremix_joint_worst": Arm(selection={"strategy": "joint_worst"}, note="the same criterion: the worst"),
    "scoremix_3": Arm(selection={"m": 3}, sampling=EQUAL, note="three classes, largest sum of distances"),
    "scoremix_3_close": Arm(
        selection={"m": 3, "strategy": "close"}, sampling=EQUAL, note="three classes, smallest sum"
    ),
    # what studies showed to matter: coherence, mixes that come first
    "coherent": Arm(sampling={"candidates": 2.5}, note="the most coherent 40 % of the mixes drawn"),
    "coherent_first": Arm(
        sampling={"candidates": 2.5},
        mixing={"finish": 0.5},
        note="the most coherent 40 % of the mixes, in the first half of the training only",
    ),
    "coherent_75": Arm(
        sampling={"candidates": 2.5},
        mixing={"finish": 0.25},
        note="the most coherent 40 % of the mixes, in the first three quarters of the training only",
    ),
    # controls: what do the new classes do without the generator's mixing?
    "relabelled": Arm(images="relabelled", note="reproductions of the two sources as one new class"),
    "averages": Arm(images="averages", note="pixel averages of real images as new classes"),
    "averages_first": Arm(
        images="averages",
        sampling={"candidates": 2.5},
        mixing={"finish": 0.5},
        note="coherent pixel averages, in the first half of the training only",
    ),
    "averages_75": Arm(
        images="averages",
        sampling={"candidates": 2.5},
        mixing={"finish": 0.25},
        note="coherent pixel averages, in the first three quarters of the training only",
    ),
    "cutmixes": Arm(images="cutmixes", note="real images with a patch of the other class as new classes"),
    # controls: cheap augmentation of the real images, as many steps as the mixed arm
    "mixup": Arm(images="real", steps_of=MATCHED, recognizer={"blend": "mixup"}, note="MixUp with soft labels"),
    "cutmix": Arm(images="real", steps_of=MATCHED, recognizer={"blend": "cutmix"}, note="CutMix with soft labels"),
    "strong_augmentation": Arm(
        images="real", steps_of=MATCHED, recognizer={"augment": "strong"}, note="stronger classic augmentation"
    ),
}

GROUPS: dict[str, tuple[str, ...]] = {
    "table1": (
        *("scoremix_alone", "auggen_alone", "reproduction_alone", "real", "deeper"),
        *("auggen", "auggen_searched", "reproduction", "scoremix", "scoremix_deeper"),
    ),
    "table2": (
        *("real", "scoremix_random", "scoremix_close", "scoremix"),
        *("scoremix_condition_close", "scoremix_condition_far"),
        *("scoremix_condition_close_l2", "scoremix_condition_far_l2"),
        *("scoremix_joint_top", "scoremix_joint_worst", "scoremix_3", "scoremix_3_close"),
        *("reproduction_alone", "reproduction_aligned_alone"),
    ),
    "controls": (
        *("real", "equal_steps", "relabelled", "averages", "cutmixes"),
        *("mixup", "cutmix", "strong_augmentation"),
    ),
    "first": ("coherent_75", "averages_75", "coherent_first", "averages_first"),
}


def named(
    names: Iterable[str],
    own: Mapping[str, Arm] = {},
    needed: Iterable[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Arm]:
    """The arms of those names and groups, each once, in order; `own` ones come before ours of the same name, but for those
    that lean on an arm that is not named.

    In front of them the `needed` ones that are not among them, and arms that another leans on; `say` is told.
    ConfigError for a name that is neither, and for no name at all.
    """
    names = list(names)
    known = {**ARMS, **{n: arm for n, arm in own.items() if n not in ARMS or {*arm.leans_on} <= {*names}}}
    chosen: dict[str, Arm] = {}
    for name in names:
        if name not in known and name not in GROUPS:
            close = difflib.get_close_matches(name, [*known, *GROUPS], n=1)
            hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join([*known, *GROUPS])}"
            raise ConfigError(f"arms: no arm or group is called {name!r} ({hint})")
        for arm in [name] if name in known else GROUPS[name]:
            chosen.setdefault(arm, known[arm])
    if not chosen:
        raise ConfigError(f"arms: none is named (allowed: {', '.join([*known, *GROUPS])})")
    added = _lacking(chosen, known, needed) if needed else {}
    if added:
        some = ("arms", "are", "them") if len(added) > 1 else ("arm", "is", "it")
        say("{} {names} {} added: the verdict needs {}".format(*some, names=", ".join(added)))
    return {**added, **chosen}


def _lacking(chosen: Mapping[str, Arm], known: Mapping[str, Arm], needed: Iterable[str]) -> dict[str, Arm]:
    """The needed arms that are not there, and those that one of them all leans on."""
    added: dict[str, Arm] = {}
    waiting = [*needed, *(name for arm in chosen.values() for name in arm.leans_on)]
    while waiting:
        name = waiting.pop(0)
        if name in known and name not in chosen and name not in added:
            added[name] = known[name]
            waiting += known[name].leans_on
    return added
