"""Are all groups of unseen classes served alike: error rates within each group, and how unequal they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scoremix.evaluation import fairness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scoremix.artifacts import Artifact, Work
    from scoremix.evaluation.metrics import Pairs


def write_rates(pairs: Pairs, groups: Sequence[str] | None, far: float, *, work: Work) -> None:
    """groups.json: FMR, FNMR and numbers of pairs within every group, at one threshold for all; null without groups."""
    found = None if groups is None else fairness.within_groups(pairs, groups, far)
    if found is None:
        work.write_json("groups.json", None)
        return
    named = {name: getattr(found, name).tolist() for name in ("groups", "fmr", "fnmr", "impostor", "genuine")}
    work.write_json("groups.json", {"far": far, **named})


def compare_groups(by_arm: Mapping[str, Sequence[Artifact]]) -> dict[str, Any] | None:
    """The groups with their pairs, and for every arm and seed their rates and the inequality of these; None without."""
    found = {arm: [a.json("groups.json") for a in artifacts] for arm, artifacts in by_arm.items()}
    first = next(iter(found.values()))[0]
    if first is None:
        return None
    return {
        **{name: first[name] for name in ("far", "groups", "impostor", "genuine")},
        "arms": {
            arm: {
                "fmr": [r["fmr"] for r in rates],
                "fnmr": [r["fnmr"] for r in rates],
                "garbe": [fairness.garbe(r["fmr"], r["fnmr"]) for r in rates],
            }
            for arm, rates in found.items()
        },
    }
