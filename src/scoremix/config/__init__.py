"""The experiment as one frozen tree, in parts by what reads them; where and on what it runs is `Runtime`."""

from scoremix.config.analysis import Measures, Order, Paths, Spaces
from scoremix.config.base import Changes, ConfigError, Network, Slice, changed, error_lines
from scoremix.config.data import Data
from scoremix.config.evaluation import Choice, Evaluation, Fold, MixDiagnostics, OpenSet, Quality
from scoremix.config.experiment import DEFAULT_ARMS, Arm, Experiment, Runtime
from scoremix.config.generator import Gate, Generator
from scoremix.config.loading import load, read_settings
from scoremix.config.recognizer import Embedding, RealClasses, Recognizer
from scoremix.config.sampling import (
    LeakGate,
    Mixing,
    PixelKind,
    PixelMixing,
    Sampling,
    SamplingPlan,
    Screening,
    Search,
    Weighting,
)
from scoremix.config.selection import Selection

__all__ = [
    "DEFAULT_ARMS",
    "Arm",
    "Changes",
    "Choice",
    "ConfigError",
    "Data",
    "Embedding",
    "Evaluation",
    "Experiment",
    "Fold",
    "Gate",
    "Generator",
    "LeakGate",
    "Measures",
    "MixDiagnostics",
    "Mixing",
    "Network",
    "OpenSet",
    "Order",
    "Paths",
    "PixelKind",
    "PixelMixing",
    "Quality",
    "RealClasses",
    "Recognizer",
    "Runtime",
    "Sampling",
    "SamplingPlan",
    "Screening",
    "Search",
    "Selection",
    "Slice",
    "Spaces",
    "Weighting",
    "changed",
    "error_lines",
    "load",
    "read_settings",
]
