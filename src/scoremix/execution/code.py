"""The hash of the code a stage runs, which is part of the key of what it makes."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scoremix.data.files import file_hash

KEYLESS = (
    "scoremix",
    "scoremix.data.files",
    "scoremix.execution",
    "scoremix.execution.artifacts",
    "scoremix.execution.code",
    "scoremix.execution.stopping",
    "scoremix.execution.store",
    "scoremix.execution.work",
)


def code_hash(function: Callable[..., Any]) -> str:
    """Hash of the code a stage runs: its module and all scoremix modules it imports, comments and docstrings aside.

    With a module go the templates beside it that have its name or that it names. The config, whose values are part
    of a key themselves, and `KEYLESS` modules are left out.
    """
    return closure_hash(function.__module__)


def closure_hash(module: str) -> str:
    """Hash of a module and all that it imports of the package."""
    hashes: dict[str, str] = {}
    seen, waiting = set(KEYLESS), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and not name.startswith("scoremix.config"):
            seen.add(name)
            of, imports = parsed(name)
            hashes |= of
            waiting.extend(imports)
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


@functools.cache
def parsed(module: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Hashes of a module's code, without docstrings, and of the files beside it; the modules that it imports."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return {}, ()
    tree = ast.parse(Path(spec.origin).read_bytes())
    code = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return {module: code, **_beside(module, Path(spec.origin))}, tuple(_imports(tree))


def _below(node: ast.AST) -> Iterator[ast.AST]:
    """The statements right below one; expressions, which are most of a tree, hold neither imports nor docstrings."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        yield from getattr(node, block, ())


def _imports(node: ast.AST) -> Iterator[str]:
    """Names of scoremix modules imported anywhere in a tree, except for type checking only."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("scoremix"):
        yield node.module
        for alias in node.names:
            with contextlib.suppress(ModuleNotFoundError):
                if importlib.util.find_spec(f"{node.module}.{alias.name}"):
                    yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.startswith("scoremix"))
    for statement in _below(node):
        yield from _imports(statement)


def _beside(module: str, source: Path) -> dict[str, str]:
    """Hashes of the templates and styles beside a module that have its name, or one that it gives a section."""
    files = sorted(file for suffix in ("html", "css", "md") for file in source.parent.glob(f"*.{suffix}"))
    text = source.read_text() if files else ""
    named = (file for file in files if file.stem == source.stem or f'name = "{file.stem}"' in text)
    room = module.rpartition(".")[0]
    return {f"{room}.{file.name}": file_hash(file) for file in named}


def _without_docstrings(node: ast.AST) -> ast.AST:
    """The tree itself, in which the docstrings of modules, classes and functions are left out."""
    if (
        isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and ast.get_docstring(node, clean=False) is not None
    ):
        node.body = node.body[1:]
    for statement in _below(node):
        _without_docstrings(statement)
    return node
