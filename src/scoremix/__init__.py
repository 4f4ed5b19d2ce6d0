"""ScoreMix: class mixing in diffusion models, from a folder of classes to a report."""

__version__ = "0.1.0"
