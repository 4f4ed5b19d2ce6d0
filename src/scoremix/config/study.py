"""What a study file says: arms, data sets, seeds, and the experiment of each data set and generator seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from scoremix.config.arms import named
from scoremix.config.base import Changes, ConfigError, Seed, Slice, error_lines
from scoremix.config.choice import waiting_for_no_generator
from scoremix.config.experiment import Arm, Experiment
from scoremix.config.loading import load, read_settings
from scoremix.config.presets import PRESETS, arms_of

Say = Callable[[str], None]


class DataSet(Slice):
    """One data set of a study: a preset, where its images are, and what differs from the study's settings."""

    preset: str = "folder"
    source: str
    settings: Changes = Field({}, description="what differs from the study's settings")


class StudyConfig(Slice):
    """What a study file says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "study"
    data: dict[str, DataSet]
    arms: tuple[str, ...] = Field(description="names and groups of arms, run in this order")
    own: dict[str, Arm] = Field({}, description="arms of the study's own by name, as in a config file")
    headline: tuple[str, ...] = Field((), description="arms that are repeated with every generator seed")
    against: dict[str, str] = Field({}, description="arm -> another arm it is held against, besides the controls")
    generator_seeds: tuple[Seed, ...] = (0,)
    seeds: tuple[Seed, ...] = Field((0, 1, 2, 3, 4), description="recognizer seeds of every arm")
    settings: Changes = Field({}, description="experiment settings for all data sets, as in a config file")
    budget_hours: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if not self.data:
            raise ValueError("data: name at least one data set")
        known = named(self.arms, self.own)
        if unknown := [arm for arm in self.headline if arm not in known]:
            raise ValueError(f"headline: {unknown[0]!r} is not among the arms ({', '.join(known)})")
        for arm in (*self.against, *self.against.values()):
            if arm not in known:
                raise ValueError(f"against: {arm!r} is not among the arms ({', '.join(known)})")
        _without_seeds("settings", self.settings)
        for name, of in self.data.items():
            _without_seeds(f"data.{name}.settings", of.settings)
        if len(set(self.generator_seeds)) < len(self.generator_seeds) or not self.generator_seeds:
            raise ValueError(f"generator_seeds {list(self.generator_seeds)} must be distinct and at least one")
        return self

    def experiments(self, say: Say = lambda line: None) -> list[tuple[str, int, Experiment]]:
        """(data set, generator seed, experiment); ConfigError names the data set whose settings are wrong.

        `say` is told which arms were added.
        """
        return [
            (name, seed, self.experiment(name, seed, say))
            for seed, name in itertools.product(self.generator_seeds, self.data)
        ]

    def experiment(self, data: str, generator_seed: int, say: Say = lambda line: None) -> Experiment:
        of = self.data[data]
        if of.preset not in PRESETS:
            raise ConfigError(f"data.{data}.preset {of.preset!r}: no such preset (allowed: {', '.join(PRESETS)})")
        tree = {
            "name": f"{self.name}.{data}.g{generator_seed}",
            "source": of.source,
            "seeds": list(self.seeds),
            "generator": {"seed": generator_seed},
        }
        try:
            changes = [self.settings, of.settings, tree, {"arms": list(self.arms)}]
            first = load(
                PRESETS[of.preset](),
                changes,
                (),
                lambda names, known, needed: arms_of(of.preset, names, {**known, **self.own}, needed, say),
            )
        except ConfigError as error:
            raise ConfigError("\n".join(f"data.{data}: {line}" for line in str(error).splitlines())) from None
        first = waiting_for_no_generator(first)  # so a control is trained once, not for every generator seed
        if first.guide is not None:
            guide = first.guide.model_copy(update={"seed": generator_seed})
            first = first.model_copy(update={"guide": guide})
        if generator_seed == self.generator_seeds[0]:
            return first
        kept = {*self.headline, first.evaluation.treatment, *first.evaluation.controls}
        kept |= {other for name in kept for other in first.arms[name].leans_on}
        arms = {name: arm for name, arm in first.arms.items() if name in kept}
        return first.model_copy(update={"arms": arms})


def _without_seeds(where: str, settings: Changes) -> None:
    """ValueError for seeds that the study itself decides."""
    for part in ("generator", "guide"):
        if "seed" in (settings.get(part) or {}):
            raise ValueError(
                f"{where}.{part}.seed {settings[part]['seed']}: generators take the study's generator_seeds"
            )
    if "seeds" in settings:
        raise ValueError(f"{where}.seeds {settings['seeds']}: recognizers take the study's seeds")


def read_study(file: Path) -> StudyConfig:
    """The study of a file; ConfigError lists every mistake."""
    try:
        return StudyConfig.model_validate_json(json.dumps(read_settings(file)))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {line}" for line in error_lines(error.errors(), StudyConfig))) from None
