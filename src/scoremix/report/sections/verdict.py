"""The verdict: one sentence, what it rests on, what it does not cover, and what to try next."""

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any, Self

from scoremix.config.loading import MIXES_FIRST
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import AUC
from scoremix.outputs.choice import Choosing
from scoremix.outputs.comparison import Kind
from scoremix.outputs.diagnosis import Diagnosis, Group
from scoremix.outputs.networks import GateResult
from scoremix.report import words
from scoremix.report.numbers import MISSING, count
from scoremix.report.page import Section
from scoremix.report.results import EvaluationProtocol, ReportedRun, Results
from scoremix.report.sections.cost import with_inputs
from scoremix.report.sections.generator import gate_of

TONES = {
    "helps": "good",
    "does not help here": "neutral",
    "generator too weak": "bad",
    "real images were chosen": "neutral",
}
SHORT = 0.01  # real images that gain more than this with more steps were trained too short
ALIKE = 0.6  # a mix is incoherent below this share of the coherence of real classes


class VerdictSection(Section):
    title = "Verdict"
    bare = True
    change: tuple[str, ...] = ()  # what to try
    gate: GateResult | None = None
    choosing: Choosing | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)  # by what they were spent on

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        choosing = Choosing.load(run.chain["choice"]) if "choice" in run.chain else None
        few = choosing is not None and choosing.too_few
        return cls(
            (*([words.MORE_CLASSES] if few else []), *_advice(run)),
            gate_of(run),
            choosing,
            words.seconds_of(with_inputs(run.artifacts)),
        )

    def shown(self, shared: Any) -> bool:
        return True

    def json(self) -> dict[str, Any]:
        return {}  # its entry is that of the results


def told(results: Results, head: VerdictSection) -> list[str]:
    """The run in plain words: what was chosen or judged, what it gains, what that costs."""
    notes, arm = {arm.name: arm.note for arm in results.arms if arm.note}, results.verdict.arm
    if head.choosing is not None:
        first = words.chosen(head.choosing, notes)
        if left_out := head.gate is not None and not head.gate.passed and words.weak(head.gate.top1, head.gate.floor):
            first += f" {left_out[0].upper()}{left_out[1:]}."
    else:
        first = f"Judged: {words.called(arm, notes)}, named before the run."
    if head.gate is not None and not head.gate.floor:
        first += f" {words.ungated(head.gate.top1)}"
    images = {of.name: of.images for of in results.arms}
    real, of_arm = images.get(results.verdict.controls[0]) if results.verdict.controls else None, images.get(arm)
    return [first, sentence(results, head.gate), words.spent(head.seconds, of_arm / real if of_arm and real else None)]


def judged(results: Results) -> list[Estimate]:
    """The judged arm's difference to each of its controls."""
    verdict, key = results.verdict, results.headline.key
    return [results.difference(verdict.arm, control, key) for control in verdict.controls]


def sentence(results: Results, gate: GateResult | None) -> str:
    """What the judged arm gains, in plain words: the given sentence, or one written from the kind and the numbers."""
    verdict, metric = results.verdict, results.headline
    if verdict.sentence:
        return verdict.sentence
    if verdict.kind == "generator too weak":
        return words.too_weak(*((gate.top1, gate.floor, gate.real_top1) if gate else ()))
    of_arm = next(arm for arm in results.arms if arm.name == verdict.arm).metrics.get(metric.key, MISSING)
    against = {control: results.difference(verdict.arm, control, metric.key) for control in verdict.controls}
    return words.gained(
        verdict.kind, metric, of_arm, against, results.evaluation.classes, results.evaluation.confidence
    )


def caveats(evaluation: EvaluationProtocol) -> list[str]:
    """What the intervals do and do not cover, one sentence each."""
    n, names = len(evaluation.recognizer_seeds), ", ".join(map(str, evaluation.recognizer_seeds))
    of_generators = {
        "trained": f"The generator was trained once (seed {evaluation.generator_seed}, fixed): no interval here covers "
        "chance in its training.",
        "adopted": "The generator was trained elsewhere. Whether it has seen the classes that measure here is unknown: if so, "
        "the gain of its images is too large.",
    }
    lines = [
        f"One recognizer seed ({names}): no interval here covers chance in the recognizer's training."
        if n == 1
        else f"{n} recognizer seeds ({names}), each shown.",
        *([of_generators[evaluation.generator]] if evaluation.generator in of_generators else []),
        _looks(evaluation.test_looks),
    ]
    if evaluation.started:
        lines.append(
            f"All recognizers started from one file (SHA-256 {evaluation.started[:16]}). What that one was trained on is "
            "unknown here: it may have seen the classes that these recognizers have not."
        )
    if evaluation.images is not None and evaluation.images != evaluation.images_of:
        drawn, of = count(evaluation.images), count(evaluation.images_of)
        lines.append(f"{drawn} of {of} images were evaluated, drawn evenly by class.")
    if evaluation.headline == AUC.key:
        lines.append("The verdict is on AUC: the pairs are too few for TAR at the FAR asked for.")
    return lines


def _looks(looks: int) -> str:
    """How often the test classes were evaluated, and what follows."""
    if looks == 0:
        return "These are validation classes, for choosing settings: the test classes were not evaluated."
    if looks == 1:
        return "Test classes evaluated once, as far as this store knows."
    return (
        f"Test classes evaluated {looks} times with these images: settings chosen by their results look better than they "
        "are; choose on validation classes (evaluation.classes)."
    )


# ---- what to try next: rules of thumb from our studies (docs/results.md), said where their conditions are met


def _advice(run: ReportedRun) -> tuple[str, ...]:
    verdict, headline = run.results.verdict, run.results.headline
    gate = gate_of(run)
    if run.config.generator.diffusers is not None and gate is not None and not gate.passed:
        return (f"train that generator longer on these classes: {_weakness(gate)}",)
    control = verdict.controls[-1]
    measured = (d for d in run.results.differences if (d.control, d.metric) == (control, headline))
    return advice(
        verdict.kind,
        verdict.arm,
        {*run.config.arms, *(Choosing.load(run.chain["choice"]).choice.means if "choice" in run.chain else ())},
        Diagnosis.load(run.chain["diagnostics"]).groups,
        gate,
        [arm for arm, artifact in run.added.items() if (artifact / "screening.json").exists()],
        {d.arm: d.estimate.value for d in measured if not d.estimate.missing},
        run.config.generator.conditions,
        run.config.arms[verdict.arm].generated,
    )


def _weakness(gate: GateResult) -> str:
    return f"{100 * gate.top1:.0f} % of its reproductions are named right, {100 * gate.floor:.0f} % are needed"


def advice(
    kind: Kind,
    treatment: str,
    arms: Collection[str],
    groups: Collection[Group],
    gate: GateResult | None,
    screened: Collection[str] = (),
    gains: Mapping[str, float] = {},
    conditions: str = "learned",
    generated: bool = True,
) -> tuple[str, ...]:
    """Sentences for the verdict `kind` on `treatment`, none where no rule applies.

    `arms` are those of the run, `groups` what their images are, `screened` the arms whose images were chosen among
    more, `gains` each arm's headline metric minus that of the last control, `conditions` what the generator's are,
    `generated` whether the treatment's images come from it.
    """
    real = kind == "real images were chosen"
    if real and (gate is None or gate.passed):
        return ()
    if gate is not None and (real or kind == "generator too weak"):
        if gate.real_top1 < gate.floor:
            return (
                "train the recognizer longer first (recognizer.epochs): even of the real training images it names "
                f"{100 * gate.real_top1:.0f} % right, so it cannot tell how good the generator is",
            )
        weak = _weakness(gate)
        sooner = (
            "give it the recognizer's class centers as conditions and small batches (--set generator.conditions=rms --set "
            "generator.batch=32 --set generator.lr=0.007 --set sampling.guidance=2): in our studies of people and characters it "
            "then knew its classes after a fraction of the images"
        )
        return (
            *([sooner] if conditions == "learned" else []),
            f"train the generator longer (generator.images_seen) or larger (generator.model_channels): {weak}",
            "lower the resolution (data.size) or use fewer classes",
        )
    said = []
    alike = {group.group: group.own_center for group in groups}
    mix, class_ = alike.get(treatment), alike.get("training classes")
    if treatment not in screened and mix is not None and class_ is not None and mix < ALIKE * class_:
        said.append(
            f"keep the coherent mixes alone (--arms real,equal_steps,scoremix,coherent): images of one mix are {mix:.2f} "
            f"alike, those of a real class {class_:.2f}; screened mixes did better in our study"
        )
    cheap = MIXES_FIRST.get(treatment, "averages")
    if generated and {cheap, "averages", *MIXES_FIRST.values()}.isdisjoint(arms):
        said.append(
            f"hold the mixes against pixel averages of the same classes (arm {cheap}), which need no generator: it is "
            "their difference that mixing scores can claim"
        )
    elif generated and kind == "helps" and gains.get(cheap, -1.0) >= gains.get(treatment, 0.0):
        said.append(f"take pixel averages instead (arm {cheap}): they gain as much here and need no generator")
    if kind == "does not help here":
        if (more := -gains.get("real", 0.0)) > SHORT:
            said.append(
                f"train the recognizer longer first (recognizer.epochs): the real images alone gain {100 * more:.1f} points "
                "with as many steps as the mixes take, and new classes were no substitute for that in our study"
            )
        if MIXES_FIRST.keys().isdisjoint(arms):
            said.append(
                "let coherent mixes come first and end the training on real images alone (--arms "
                "real,equal_steps,scoremix,coherent_75): in our studies that did best, and was never worse than real "
                "images beyond doubt, also where mixes throughout did harm"
            )
        said.append(
            "mix other classes, chosen on validation classes (--arms "
            "real,equal_steps,scoremix,scoremix_close,scoremix_random --set evaluation.classes=validation): in our study "
            "far pairs were best on one kind of characters and close ones on another"
        )
    return tuple(said)
