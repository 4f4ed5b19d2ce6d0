"""ScoreMix: class mixing in diffusion models, from a folder of classes to a report."""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it, without the time that importing `typing` takes

if TYPE_CHECKING:
    from scoremix.analysis.alignment import cka
    from scoremix.config import Experiment, Sampling, SamplingPlan
    from scoremix.data.images import LabeledImages
    from scoremix.diffusion.denoisers import autoguide, condition, mix, mix_conditions, within
    from scoremix.diffusion.feynman_kac import Weighing
    from scoremix.diffusion.solvers import UnitNoise, dpm2m, euler, heun, karras_sigmas
    from scoremix.diffusion.unet import EDM2
    from scoremix.evaluation.metrics import kfold_accuracy, tar_at_far
    from scoremix.evaluation.quality import frechet_distance, prdc
    from scoremix.execution.trained import load_generator, load_recognizer, run
    from scoremix.execution.training_set import load_training_set
    from scoremix.selection.mplets import top_mplets
    from scoremix.use.model import load_model

__version__ = "0.2.0"

_HOMES = {  # name: the module that is imported when it is first asked for
    **dict.fromkeys(("autoguide", "condition", "mix", "mix_conditions", "within"), "diffusion.denoisers"),
    **dict.fromkeys(("UnitNoise", "dpm2m", "euler", "heun", "karras_sigmas"), "diffusion.solvers"),
    **dict.fromkeys(("Experiment", "Sampling", "SamplingPlan"), "config"),
    **dict.fromkeys(("load_generator", "load_recognizer", "run"), "execution.trained"),
    **dict.fromkeys(("kfold_accuracy", "tar_at_far"), "evaluation.metrics"),
    **dict.fromkeys(("frechet_distance", "prdc"), "evaluation.quality"),
    "EDM2": "diffusion.unet",
    "LabeledImages": "data.images",
    "Weighing": "diffusion.feynman_kac",
    "cka": "analysis.alignment",
    "load_model": "use.model",
    "load_training_set": "execution.training_set",
    "top_mplets": "selection.mplets",
}

__all__ = [
    "EDM2",
    "Experiment",
    "LabeledImages",
    "Sampling",
    "SamplingPlan",
    "UnitNoise",
    "Weighing",
    "autoguide",
    "cka",
    "condition",
    "dpm2m",
    "euler",
    "frechet_distance",
    "heun",
    "karras_sigmas",
    "kfold_accuracy",
    "load_generator",
    "load_model",
    "load_recognizer",
    "load_training_set",
    "mix",
    "mix_conditions",
    "prdc",
    "run",
    "tar_at_far",
    "top_mplets",
    "within",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'scoremix' has no attribute {name!r}")
    return getattr(import_module(f"scoremix.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
