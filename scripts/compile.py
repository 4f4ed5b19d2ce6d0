"""Imports every module of scoremix, with what they import of others: Python writes their bytecode, which later starts read."""

import importlib
import pkgutil
from contextlib import suppress

import scoremix

for module in pkgutil.walk_packages(scoremix.__path__, "scoremix."):
    if not module.name.endswith("__main__"):
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(module.name)
for name in (
    "onnxruntime",
    "onnxscript",
    "matplotlib.pyplot",
    "scipy.stats",
    "pytest",
    "mypy.main",
):  # imported in functions
    with suppress(ImportError):
        importlib.import_module(name)
