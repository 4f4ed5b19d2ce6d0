"""The third story: from a finished run to a recognizer of all its classes, ready to use.

A run keeps classes back to judge by; who uses the result wants a recognizer that was trained on every image. The recipe
is the run's, each step one of the first story's: what differs is the training set. How far the result can be trusted is
what the run's own recognizers showed on the classes kept back: nothing measures a network on classes it was trained on.
"""

from collections.abc import Mapping
from typing import Any

from scoremix.config import Experiment
from scoremix.config.choice import by_generator
from scoremix.config.delivery import AllClasses, Delivery, Operating
from scoremix.execution.artifacts import Artifact
from scoremix.making import Base, Stage, added_images, base_of, guided_generator, seeded, trained, training_set
from scoremix.outputs.networks import RecognizerSummary
from scoremix.stages.deliver.everything import everything
from scoremix.stages.deliver.model import model
from scoremix.stages.deliver.thresholds import thresholds


def delivery(
    exp: Experiment,
    config: Delivery,
    chain: Mapping[str, Artifact],
    recognizers: Mapping[str, Artifact],
    added: Mapping[str, Artifact],
    evaluated: Mapping[str, Artifact],
    stage: Stage,
) -> Artifact:
    """The model of a finished run: `chain`, `recognizers` ("arm/seed") and `added` are what its report was made of.

    `evaluated`: by seed the embeddings of classes kept back, by the run's own recognizers of the recipe.
    """
    name, arm = config.recipe, exp.arms[config.recipe]
    every = stage(everything, AllClasses(), chain["real"])
    base = Base(stage, every, chain["baseline"], chain.get("generator"))
    mixes: Artifact | None = None
    of_generator = by_generator(exp, arm) or (arm.selected_by is not None and exp.arms[arm.selected_by].generated)
    if of_generator and not config.retrained:
        mixes = added[name]
    elif arm.images != "real":
        baseline = trained(stage, seeded(exp, exp.seeds[0]), every, every, "baseline of all classes")
        base = Base(stage, every, baseline, chain.get("generator"))
        if config.retrained:
            base = Base(stage, every, baseline, guided_generator(exp, stage, every, baseline))
        base = base_of(exp, name, base, frozenset())
        mixes = added_images(exp, arm, base)
    images = training_set(exp, arm, mixes, base)
    lasting = arm.model_copy(update={"recognizer": {**arm.recognizer, **as_long(exp, name, recognizers)}})
    final = {
        str(seed): trained(stage, seeded(exp, seed, lasting), images, images, f"final recognizer {seed}")
        for seed in config.seeds
    }
    operating = stage(thresholds, Operating.of(exp, len(config.seeds) > 1), evaluated)
    return stage(model, config, chain["real"], chain["results"], operating, images, final)


def as_long(exp: Experiment, name: str, recognizers: Mapping[str, Artifact]) -> dict[str, Any]:
    """The epochs that an arm with another one's steps was trained for; nothing for an arm of its own length."""
    arm = exp.arms[name]
    if arm.steps_of is None:
        return {}
    settings = exp.changed_by(arm).recognizer
    summary = RecognizerSummary.load(recognizers[f"{name}/{exp.seeds[0]}"])
    epochs = summary.steps * settings.batch / summary.images
    return {"epochs": epochs, "milestones": [m * epochs / settings.epochs for m in settings.milestones]}
