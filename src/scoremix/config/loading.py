"""An experiment from files and `a.b=c` settings, every mistake said at once."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scoremix.config.base import ConfigError, annotation, error_lines
from scoremix.config.experiment import Arm, Experiment, choice_fits
from scoremix.data import limits
from scoremix.data.limits import parsed_json, parsed_yaml
from scoremix.data.lists import refuse_repeated


class _Yaml(yaml.SafeLoader):
    """YAML in which 1e6 and 1e-2 are numbers, as in YAML 1.2 (PyYAML wants 1.0e+6), and in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        refuse_repeated([str(key.value) for key, _ in node.value], f"the table from line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


Named = Callable[[Iterable[str], Mapping[str, Arm], Iterable[str]], dict[str, Arm]]

PAPERS = "scoremix"  # the arm that is the papers' own method
MIXES_FIRST = {
    "coherent_75": "averages_75",
    "coherent_first": "averages_first",
}  # and pixel averages used in the same way


def load(
    base: Experiment,
    files: Iterable[Path | Mapping[str, Any]] = (),
    settings: Iterable[str] = (),
    named: Named | None = None,
) -> Experiment:
    """`base` changed by files (YAML, TOML, JSON or what they hold), then by `a.b=c`; ConfigError lists every mistake.

    `named` finds the arms of a list of names, `arms: [real, auggen]`, given the base's own and those of the verdict. Where
    the base's judged arm is not among them, nor another set, one that mixes first like it is judged, or its `scoremix`. Where arms are named, or what is
    judged is set, the base's choice among its arms is not made.
    """
    tree = base.model_dump(mode="json")
    treatment, choice = tree["evaluation"].pop("treatment"), tree.pop("choice")
    for file in files:
        change = file if isinstance(file, Mapping) else read_settings(file)
        if set(change) >= set(Experiment.model_fields):  # all of a run: nothing else is left
            tree = dict(change)
        else:
            _merge(tree, change)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {setting!r}: expected a.b=c")
        nested: Any = _value(tuple(path.split(".")), text)
        for part in reversed(path.split(".")):
            nested = {part: nested}
        _merge(tree, nested)
    names: list[str] | None = None
    if named is not None and isinstance(tree["arms"], (list, str)):
        names = tree["arms"].split(",") if isinstance(tree["arms"], str) else [str(name) for name in tree["arms"]]
        asked = named(names, base.arms, ())
        alike = MIXES_FIRST if treatment in MIXES_FIRST else ()
        others = PAPERS if PAPERS in base.arms else treatment
        treatment = next((name for name in (treatment, *alike) if name in asked), others)
    if isinstance(tree["evaluation"], dict):
        fixed = names is not None or "treatment" in tree["evaluation"] or not choice_fits(tree["evaluation"])
        tree.setdefault("choice", None if fixed else choice)
        tree["evaluation"].setdefault("treatment", treatment)
    if names is not None and named is not None:
        arms = named(names, base.arms, _judged(tree["evaluation"]))
        tree["arms"] = {name: arm.model_dump(mode="json") for name, arm in arms.items()}
    try:
        return Experiment.model_validate_json(json.dumps(tree, default=str))  # YAML has dates
    except ValidationError as error:
        raise ConfigError("\n".join(error_lines(error.errors(), Experiment))) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def load_below(
    part: str, run: Experiment, files: Iterable[Path | Mapping[str, Any]], settings: Iterable[str]
) -> Experiment:
    """`load` of a finished run's experiment; ConfigError where more than the settings below `part` would change."""
    exp = load(run, files, settings)
    if exp.model_copy(update={part: getattr(run, part)}) != run:
        raise ConfigError(f"{part}: only settings below `{part}` can change here; others need another run")
    return exp


def _value(path: tuple[str, ...], text: str) -> Any:
    """What a text means for a setting: itself where only text is allowed, however much it looks like a number."""
    try:
        value = parsed_yaml(text, _Yaml)
    except ValueError:
        return text
    return text if annotation(Experiment, path) is str and not isinstance(value, str) else value


def _judged(evaluation: Any) -> list[str]:
    """The arms of the verdict, controls first; none where these settings are wrong, which is said later."""
    match evaluation:
        case {"treatment": str(treatment), "controls": list(controls)}:
            return [*map(str, controls), treatment]
    return []


def read_settings(file: Path) -> dict[str, Any]:
    """The table in a YAML, TOML or JSON file, or a run's settings in its record; ConfigError names the file."""
    try:
        text = limits.text(file, limits.TEXT_BYTES if file.suffix == ".json" else limits.SETTINGS_BYTES)  # also records
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        match file.suffix:
            case ".toml":
                tree: Any = tomllib.loads(text)
            case ".json":
                tree = parsed_json(text)
            case _:
                tree = parsed_yaml(text, _Yaml)
    except RecursionError:
        raise ConfigError(f"{file}: nested too deep") from None
    except ValueError as error:  # also tomllib's
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from None
    if tree is None:
        raise ConfigError(f"{file}: is empty, expected a table of settings")
    if isinstance(tree, dict) and set(tree) == {"experiment", "steps"}:
        tree = tree["experiment"]  # the record of a run
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a table of settings, got {type(tree).__name__}")
    return tree


def _merge(tree: dict[str, Any], change: Mapping[str, Any]) -> None:
    for name, value in change.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
