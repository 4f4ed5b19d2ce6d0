"""The files and folders that an experiment names, written otherwise: absolute, or without those of this machine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scoremix.config.experiment import SLICES, Arm, Experiment

# settings that name files and folders, and their values that are none
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "": {"source": ("glyphs",), "split_list": (), "groups": ("name",)},
    "recognizer": {"start": ()},
    "selector": {"start": ()},
    "generator": {"diffusers": ()},
    "guide": {"diffusers": ()},
    "selection": {"file": (), "groups": ("name", "data")},
}


def with_places(exp: Experiment, written: Callable[[str], str]) -> Experiment:
    """The same with every path in it written otherwise."""

    def placed(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        given = {field: settings.get(field) for field in PLACES[part]}
        return {field: written(at) for field, at in given.items() if at is not None and at not in PLACES[part][field]}

    def of_arm(arm: Arm) -> Arm:
        changes = {part: getattr(arm, part) for part in PLACES if part in SLICES}
        return arm.model_copy(update={part: {**given, **placed(part, given)} for part, given in changes.items()})

    update = placed("", vars(exp))
    for part in ("recognizer", "generator", "guide", "selection"):
        if (of := getattr(exp, part)) is not None:
            update[part] = of.model_copy(update=placed(part, vars(of)))
    update["arms"] = {name: of_arm(arm) for name, arm in exp.arms.items()}
    others = {name: {**of, **placed("recognizer", of)} for name, of in exp.analysis.recognizers.items()}
    update["analysis"] = exp.analysis.model_copy(update={"recognizers": others})
    return exp.model_copy(update=update)


def located(exp: Experiment) -> Experiment:
    """The same with absolute paths of what is there: it then means the same wherever one stands."""
    return with_places(exp, lambda place: str(Path(place).absolute()) if Path(place).exists() else place)
