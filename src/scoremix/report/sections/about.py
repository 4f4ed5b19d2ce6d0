"""How a page begins and ends: what it is about or found, its words, its settings and what it was made of."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Self

from scoremix.report.geometry import Measured
from scoremix.report.page import Manifest, Section
from scoremix.report.results import Run


class AboutStudy(Section):
    title = "About the study"
    name = "about_study"
    bare = True


class Found(Section):
    title = "What was found"
    name = "found"
    bare = True


GLOSSARY = (
    ("class", "identity", "what images are labelled with; the test classes were never trained on"),
    ("recognizer", "discriminator, FR model", "network that maps an image to an embedding"),
    ("class center", "class prototype, weight of the head", "a class's direction in the recognizer's space"),
    ("generator", "class-conditional EDM2", "diffusion network trained on the same images as the recognizer"),
    ("condition", "condition embedding", "the generator's vector for one class"),
    ("denoiser", "D(x; σ)", "anything that estimates the clean image from a noisy one"),
    ("pair, m-plet", "class mixture", "the source classes of one mix"),
    ("mix", "ScoreMix sample", "image drawn with a weighted sum of its source classes' denoisers"),
    ("mixing weights α, β", "λ and 1 − λ", "weights of the sum; convex where they add up to 1"),
    ("reproduction", "D_repro", "image drawn for one original class"),
    ("guide", "weaker model of autoguidance", "earlier generator snapshot; sampling moves away from it"),
    ("arm", "row of Tables 1 and 2", "one way of making the training set; everything else is equal"),
    ("coherence", "–", "similarity of an image to the others of its class: is a mixed class one class?"),
    ("gate", "–", "check that reproductions are recognised as their class"),
    ("TAR at FAR", "TAR@FAR", "genuine pairs accepted while at most that share of impostor pairs is"),
    ("EER, AUC", "EER, AUC", "error where both kinds are equally frequent; area under the verification ROC"),
    ("accuracy, top-5", "–", "held-out images of training classes named rightly, or among five; classes count the same"),
    ("rank-1, rank-5", "TR1, TR5", "own class found first, or among five; one enrolled image a class"),
)  # fmt: skip


class Glossary(Section):
    title = "Glossary"
    name = "glossary"


class Settings(Section):
    title = "Settings and origin"
    name = "settings"
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    command: str = ""

    @classmethod
    def load(cls, run: Run) -> Self:
        config = run.config
        seeds = {
            "recognizers": list(config.seeds),
            "generator": config.generator.seed,
            "data": config.data.seed,
            "sampling": config.sampling.seed,
            "selection": config.selection.seed,
            "bootstrap": config.evaluation.seed,
        }
        versions = run.chain["results"].manifest["versions"]
        artifacts = [*run.chain.values(), *run.added.values(), *run.recognizers.values()]
        return cls(config.model_dump(mode="json"), versions, seeds, tuple(map(Manifest.of, artifacts)))


class Origin(Section):
    title = "Settings and origin"
    name = "origin"
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    manifests: tuple[Manifest, ...] = ()

    @classmethod
    def load(cls, source: Measured) -> Self:
        versions = source.measured["alignment"].manifest["versions"]
        manifests = tuple(map(Manifest.of, source.artifacts))
        return cls(source.config.analysis.model_dump(mode="json"), versions, manifests)

    def json(self) -> dict[str, Any]:
        return {"settings": self.settings, "versions": self.versions}
