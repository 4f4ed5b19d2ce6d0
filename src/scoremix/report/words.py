"""A run in three sentences for somebody without statistics: what was chosen and why, what it gains, what it cost."""

from collections.abc import Iterable, Mapping

from scoremix.evaluation.estimate import FEW, Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.choice import Choosing
from scoremix.report.numbers import decimals, direction, duration, interval, mean, noun, percent, written

REST = "the rest"
MORE_CLASSES = "take more classes, or give validation more of them (data.fractions, split_list)"
PLAIN = {
    "real": "real images alone",
    "equal_steps": "real images alone, trained longer",
    "scoremix": "real images and mixes",
    "coherent_75": "real images with the most alike mixes, until the last quarter of the training",
    "averages_75": "real images with averages of two of them, until the last quarter of the training",
    "cutmixes": "real images with patchworks of two of them",
}  # the candidates of a run


def called(arm: str, notes: Mapping[str, str] = {}) -> str:
    """An arm in words, with its name."""
    words = PLAIN.get(arm) or notes.get(arm)
    return f"{words} ({arm})" if words else arm


def weak(top1: float, floor: float) -> str:
    """That the candidates whose images the generator makes are left out."""
    return f"candidates whose images the generator makes are left out, it is too weak: {_gate(top1, floor)}"


def too_weak(top1: float | None = None, floor: float = 0.0, real: float = 1.0) -> str:
    """That nothing can be said of mixing; `real`: the share of real training images recognized as their own class."""
    if top1 is None:
        return "The generator is too weak to judge mixing."
    if real < floor:
        return (
            f"The recognizer is too weak to judge the generator: the baseline puts {percent(real)} of the real training "
            f"images in their own class, at least {percent(floor)} are needed."
        )
    return f"The generator is too weak to judge mixing: {_gate(top1, floor)}."


def ungated(top1: float) -> str:
    """That the generator was held against no gate."""
    return (
        f"No gate (gate.floor 0): the baseline recognizer puts {percent(top1)} of the reproductions in their own class."
    )


def _gate(top1: float, floor: float) -> str:
    return (
        f"the baseline recognizer puts {percent(top1)} of the reproductions in their own class, "
        f"at least {percent(floor)} are needed"
    )


def where(choosing: Choosing) -> str:
    """The classes that chose."""
    if choosing.folds == 1:
        return f"the {noun(choosing.classes, 'validation class', 'validation classes')}"
    return f"the {choosing.classes} training and validation classes, each while it was left out of training"


def too_few(classes: int) -> str:
    """That a choice on so few validation classes takes a control, whatever the other candidates do."""
    few = noun(classes, "validation class is", "validation classes are")
    return f"{few} too few to tell a lead from chance: with fewer than {FEW} only a control, real images alone, can be chosen"


def chosen(choosing: Choosing, notes: Mapping[str, str] = {}) -> str:
    """What was chosen among how many, and why."""
    choice, metric = choosing.choice, choosing.metric
    start = f"Chosen among {noun(len(choice.means), 'candidate')}: {called(choice.chosen, notes)}."
    if choosing.too_few:
        return f"{start} {too_few(choosing.classes)}."
    on = f"on {where(choosing)}"
    if choice.lead is None:
        return f"{start} No other candidate did better {on}."
    by, around = difference(choice.lead, metric).removesuffix(" more"), interval(choice.lead, metric, True)
    lead = f"{by} ({level_of(choosing.level)} {around})"
    if choice.chosen == choice.best:
        return f"{start} It led {called(choice.safe, notes)} by {lead} {on}."
    return f"{start} The best one, {called(choice.best, notes)}, led by {lead} {on}: that may be chance."


def gained(
    kind: str, metric: Metric, value: Estimate, against: Mapping[str, Estimate], classes: int | None, level: float
) -> str:
    """What the judged arm gains on classes that no recognizer has seen; no number where none can be told from chance.

    `value`: its own, `against`: its differences to the controls.
    """
    where = (
        "On images it never saw of its own classes"
        if metric.closed
        else f"On {_classes(classes)} it never saw in training"
    )
    if kind == "real images were chosen":
        around = f"{level_of(level)} {interval(value, metric)}"
        return f"{where}, {_rate(value, metric)} ({around}). No gain of mixing was told from chance."
    if kind == "helps":
        more = [
            f"{difference(e, metric)} than {called(control)} ({interval(e, metric, True)})"
            for control, e in against.items()
        ]
        return f"{where}, it recognizes better in every seed: {' and '.join(more)}; in brackets the {level_of(level)}."
    if classes is not None and classes < FEW and not metric.closed:
        return f"{where}, too few to tell a gain from chance: at least {FEW} classes are needed."
    if losing := [called(control) for control, e in against.items() if direction(e, metric) == "worse"]:
        return f"{where}, it recognizes worse than {' and '.join(losing)}: do not use it."
    unsure = [called(control) for control, e in against.items() if not e.beyond_doubt]
    return f"{where}, no gain over {' and '.join(unsure) or 'a control'} can be told from chance."


def spent(seconds: Mapping[str, float], more_images: float | None) -> str:
    """What the run cost, by what it was spent on, the largest first, and how much more the judged arm trains on."""
    parts = [
        f"{name} {duration(s)}" for name, s in sorted(seconds.items(), key=lambda p: (p[0] == REST, -p[1])) if s >= 1
    ]
    text = f"It took {duration(sum(seconds.values()))} of computing here" + (f": {', '.join(parts)}." if parts else ".")
    more = (
        "" if more_images is None or more_images <= 1 else f" The recipe trains on {more_images:.1f} times the images."
    )
    return text + more


def difference(e: Estimate, metric: Metric) -> str:
    """A difference in words: `2.1 more of 100 pairs`, `0.4 points less`."""
    places, more = decimals(e, metric), "more" if e.value >= 0 else "less"
    amount = written(abs(e.value), places, metric)
    if metric.key.startswith("tar@"):
        return f"{amount} of 100 pairs {more}"
    return f"{amount} {'points ' if metric.percent else ''}of {metric.label} {more}"


def explained(metric: Metric) -> str:
    """What a pair is that counts, for the metric that decides."""
    name, _, far = metric.key.partition("@")
    if name != "tar":
        return f"Judged by {metric.label}."
    return (
        f"Counted are pairs of images of one class that the recognizer accepts, at the threshold where it also accepts "
        f"1 in {1 / float(far):,.0f} pairs of two classes ({metric.label})."
    )


def _classes(number: int | None) -> str:
    return "classes" if number is None else noun(number, "class", "classes")


def _rate(estimate: Estimate, metric: Metric) -> str:
    if metric.key.startswith("tar@"):
        return f"{mean(estimate, metric)} of 100 pairs are recognized"
    return f"its {metric.label} is {mean(estimate, metric)}{' %' if metric.percent else ''}"


def level_of(share: float) -> str:
    """What an interval is called."""
    return f"{100 * share:g}\u202f% interval"


def seconds_of(artifacts: Iterable[Artifact]) -> dict[str, float]:
    """Seconds by what they were spent on, every artifact once."""
    names = {"recognizer": "recognizers", "generator": "generator", "guide": "generator", "sample": "mixes"}
    spent: dict[str, float] = {}
    for artifact in {artifact.key: artifact for artifact in artifacts}.values():
        name = names.get(artifact.stage, REST)
        spent[name] = spent.get(name, 0) + artifact.manifest["cost"]["seconds"]
    return spent
