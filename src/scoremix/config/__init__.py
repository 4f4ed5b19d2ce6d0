"""The experiment as one frozen tree, in parts by what reads them; where and on what it runs is `Runtime`."""

from scoremix.config.analysis import Measures, Order, Paths, Spaces
from scoremix.config.base import Changes, ConfigError, Network, Slice, changed, error_line
from scoremix.config.experiment import DEFAULT_ARMS, Arm, Experiment, Runtime
from scoremix.config.loading import load, read_settings
from scoremix.config.slices import (
    Data,
    Embedding,
    Evaluation,
    Gate,
    Generator,
    MixDiagnostics,
    Mixing,
    OpenSet,
    PixelMixing,
    Quality,
    Recognizer,
    Sampling,
    Screening,
    Search,
    Selection,
)

__all__ = [
    "DEFAULT_ARMS",
    "Arm",
    "Changes",
    "ConfigError",
    "Data",
    "Embedding",
    "Evaluation",
    "Experiment",
    "Gate",
    "Generator",
    "Measures",
    "MixDiagnostics",
    "Mixing",
    "Network",
    "OpenSet",
    "Order",
    "Paths",
    "PixelMixing",
    "Quality",
    "Recognizer",
    "Runtime",
    "Sampling",
    "Screening",
    "Search",
    "Selection",
    "Slice",
    "Spaces",
    "changed",
    "error_line",
    "load",
    "read_settings",
]
