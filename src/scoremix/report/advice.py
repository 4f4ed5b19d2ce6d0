"""What to try next: rules of thumb from our studies (docs/results.md), said where their conditions are met."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scoremix.report.content import Gate, Group, Kind

SHORT = 0.01  # real images that gain more than this with more steps were trained too short
ALIKE = 0.6  # a mix is incoherent below this share of the coherence of real classes


def advice(
    kind: Kind,
    treatment: str,
    arms: Collection[str],
    groups: Collection[Group],
    gate: Gate,
    screened: Collection[str] = (),
    gains: Mapping[str, float] = {},
) -> tuple[str, ...]:
    """Sentences for the verdict `kind` on `treatment`, none where no rule applies.

    `arms` are those of the run, `groups` what their images are, `screened` the arms whose images were chosen among
    more, `gains` each arm's headline metric minus that of the last control.
    """
    if kind == "generator too weak":
        return (
            f"train the generator longer (generator.images_seen) or larger (generator.model_channels): "
            f"{100 * gate.top1:.0f} % of its reproductions are named right, {100 * gate.floor:.0f} % are needed",
            "lower the resolution (data.size) or use fewer classes",
        )
    said = []
    alike = {group.group: group.own_center for group in groups}
    mix, real = alike.get(treatment), alike.get("training classes")
    if treatment not in screened and mix is not None and real is not None and mix < ALIKE * real:
        said.append(
            f"keep the coherent mixes alone (--arms real,equal_steps,scoremix,coherent): images of one mix are {mix:.2f} "
            f"alike, those of a real class {real:.2f}; screened mixes did better in our study"
        )
    cheap = "averages_first" if treatment == "coherent_first" else "averages"
    if cheap not in arms:
        said.append(
            f"hold the mixes against pixel averages of the same classes (arm {cheap}), which need no generator: it is "
            "their difference that mixing scores can claim"
        )
    elif kind == "helps" and gains.get(cheap, -1.0) >= gains.get(treatment, 0.0):
        said.append(f"take pixel averages instead (arm {cheap}): they gain as much here and need no generator")
    if kind == "does not help here":
        if (more := -gains.get("real", 0.0)) > SHORT:
            said.append(
                f"train the recognizer longer first (recognizer.epochs): the real images alone gain {100 * more:.1f} points "
                "with as many steps as the mixes take, and new classes were no substitute for that in our study"
            )
        if "coherent_first" not in arms:
            said.append(
                "let coherent mixes come first and end the training on real images alone (--arms "
                "real,equal_steps,scoremix,coherent_first): in our studies that did best, and was never worse than real "
                "images beyond doubt, also where mixes throughout did harm"
            )
        said.append(
            "mix other classes, chosen on validation classes (--arms "
            "real,equal_steps,scoremix,scoremix_close,scoremix_random --set evaluation.classes=validation): in our study "
            "far pairs were best on one kind of characters and close ones on another"
        )
    return tuple(said)
