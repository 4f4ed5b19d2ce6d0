"""What is left of an experiment once its candidates are narrowed down: fewer arms, of one length as before."""

from collections.abc import Iterable

from scoremix.config.experiment import Arm, Experiment


def needs_generator(exp: Experiment) -> bool:
    """Whether the generator has a part in an arm's images."""
    return any(by_generator(exp, arm) for arm in exp.arms.values())


def by_generator(exp: Experiment, arm: Arm) -> bool:
    """Whether the generator makes an arm's images, or its conditions choose their m-plets."""
    return arm.generated or chosen_by_conditions(exp, arm)


def chosen_by_conditions(exp: Experiment, arm: Arm) -> bool:
    """Whether the generator has a say in which classes an arm mixes."""
    return arm.images != "real" and exp.changed_by(arm).selection.needs_conditions


def narrowed(exp: Experiment, names: Iterable[str]) -> Experiment:
    """The experiment with those arms alone; arms that one of them leans on stay, but are not measured."""
    kept = {name: arm for name, arm in exp.arms.items() if name in set(names)}
    while lacking := [name for arm in kept.values() for name in arm.leans_on if name not in kept]:
        kept[lacking[0]] = exp.arms[lacking[0]].model_copy(update={"measured": False})
    return exp.model_copy(update={"arms": {name: kept[name] for name in exp.arms if name in kept}})


def without_generator(exp: Experiment, weak: Iterable[str]) -> Experiment:
    """The experiment without arms whose generator is too weak, or whose m-plets one of them would choose.

    Where another arm trains as long as one of them, pixel averages of the same m-plets give that length: they are as many.
    """
    weak = set(weak)
    while selected := {n for n, arm in exp.arms.items() if arm.selected_by in weak} - weak:
        weak |= selected
    arms = {n: arm.model_copy(update=_AVERAGES) if n in weak else arm for n, arm in exp.arms.items()}
    return narrowed(exp.model_copy(update={"arms": arms}), [n for n, arm in arms.items() if arm.measured])


_AVERAGES = {"images": "averages", "search": False, "generator": {}, "selected_by": None, "measured": False}


def waiting_for_no_generator(exp: Experiment) -> Experiment:
    """The same, but what trains as long as an arm of generated images has its length from pixel averages of that arm's
    m-plets, which are as many; not where the generator has a say in which m-plets or images there are.
    """

    def known(arm: Arm) -> bool:
        return arm.generated and not chosen_by_conditions(exp, arm) and not exp.changed_by(arm).sampling.leak_gate

    lengths = {arm.steps_of for arm in measured(exp).values() if arm.steps_of and known(exp.arms[arm.steps_of])}
    selecting = {arm.selected_by for arm in exp.arms.values()}
    others = {n: arm for n, arm in exp.arms.items() if arm.measured or n not in lengths - selecting}
    renamed = {name: f"as many as {name}" for name in exp.arms if name in lengths}
    arms = {
        n: arm.model_copy(update={"steps_of": renamed.get(arm.steps_of or "", arm.steps_of)})
        for n, arm in others.items()
    }
    stand_ins = {new: exp.arms[name].model_copy(update=_AVERAGES) for name, new in renamed.items()}
    return exp.model_copy(update={"arms": arms | stand_ins})


def confirming(exp: Experiment, chosen: str) -> Experiment:
    """The experiment that judges the chosen arm against its controls, the choice being made: no other arm is trained."""
    controls = tuple(name for name in exp.evaluation.controls if name != chosen)
    judged = exp.evaluation.model_copy(update={"treatment": chosen, "controls": controls})
    return narrowed(exp, [*controls, chosen]).model_copy(update={"evaluation": judged, "choice": None})


def costliest(exp: Experiment) -> str:
    """The candidate that costs most to judge, for plans made before the choice: one that a generator makes."""
    by_cost = sorted(measured(exp).items(), key=lambda item: (item[1].generated, item[1].images != "real"))
    return by_cost[-1][0]


def measured(exp: Experiment) -> dict[str, Arm]:
    """The arms that recognizers are trained on."""
    return {name: arm for name, arm in exp.arms.items() if arm.measured}
