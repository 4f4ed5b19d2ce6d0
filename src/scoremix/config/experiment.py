"""The experiment as one frozen tree: every field changes results; where and on what it runs is `Runtime`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from scoremix.config.analysis import Analysis
from scoremix.config.base import ArmName, Changes, Network, RunName, Seed, Slice, changed, error_lines
from scoremix.config.data import Data
from scoremix.config.evaluation import Choice, Evaluation, Quality
from scoremix.config.generator import Gate, Generator
from scoremix.config.recognizer import Recognizer
from scoremix.config.sampling import Mixing, Sampling, Search
from scoremix.config.selection import Selection

CHANGED: dict[str, type[Slice]] = {
    "generator": Generator,
    "selection": Selection,
    "sampling": Sampling,
    "mixing": Mixing,
    "recognizer": Recognizer,
}
SLICES: dict[str, type[Slice]] = {**CHANGED, "selector": Recognizer}


class Arm(Slice):
    """One row of the results: what is added to the real images, and how long training lasts.

    `generator`, `selection`, `sampling`, `mixing` and `recognizer` hold what differs from the experiment's own.
    """

    images: Literal["real", "mixes", "relabelled", "averages", "cutmixes", "repeated"] = Field(
        "mixes",
        description="real: nothing is added; mixes: by the generator; relabelled: reproductions of the sources as "
        "images of the mix's class; averages, cutmixes: of real images, pixel by pixel or patch by patch; "
        "repeated: real images of the sources once more, with mixing.labels 'soft' in their own classes",
    )
    steps_of: str | None = Field(None, description="train for as many steps as this arm does")
    search: bool = Field(False, description="mix with the weights that the search finds")
    selector: Changes = Field(
        {}, description="what differs from the experiment's recognizer in the one that selects and screens"
    )
    selected_by: str | None = Field(
        None, description="the recognizer that this arm trained, of the first seed, selects and screens"
    )
    generator: Changes = Field({}, description="what differs from the experiment's")
    selection: Changes = Field({}, description="what differs from the experiment's")
    sampling: Changes = Field({}, description="what differs from the experiment's")
    mixing: Changes = Field({}, description="what differs from the experiment's")
    recognizer: Changes = Field({}, description="what differs from the experiment's")
    measured: bool = Field(
        True, description="false: nothing is trained on it, it is there for another arm's `steps_of`"
    )
    note: str = ""

    @property
    def leans_on(self) -> tuple[str, ...]:
        """The arms that it cannot be without: the one it trains as long as, the one that selects for it."""
        return tuple(name for name in (self.steps_of, self.selected_by) if name)

    @property
    def generated(self) -> bool:
        """Whether a generator makes what the arm adds."""
        return self.images in ("mixes", "relabelled")

    @field_validator(*SLICES)
    @classmethod
    def _known(cls, changes: Changes, info: ValidationInfo) -> Changes:
        name = str(info.field_name)
        try:
            SLICES[name].model_validate(changes)
        except ValidationError as error:
            lines = error_lines([e for e in error.errors() if e["loc"]], SLICES[name])
            if lines:  # what is wrong with the whole is known only beside the experiment's other settings
                raise ValueError("; ".join(f".{line}" for line in lines)) from None
        return changes


DEFAULT_ARMS: dict[str, Arm] = {
    "real": Arm(images="real"),
    "equal_steps": Arm(images="real", steps_of="scoremix"),
    "scoremix": Arm(),
}


def choice_fits(evaluation: Mapping[str, Any]) -> bool:
    """Whether an arm can be chosen on validation classes before such an evaluation."""
    kind = evaluation.get("task", "open"), evaluation.get("classes", "test")
    return kind == ("open", "test") and len(evaluation.get("controls", ("real", "equal_steps"))) > 1


TRAINED = "trained"  # the context in which the settings of a run are read again that an earlier version allowed


class Experiment(Slice):
    """Everything that decides the numbers of one run."""

    name: RunName = "run"
    source: str = Field("glyphs", description="a folder of classes, a folder of fonts, an .npz, or 'glyphs'")
    split_list: str | None = Field(None, description="JSON or CSV file that puts classes in train, validation, test")
    groups: str | None = Field(
        None,
        description="groups of classes: 'name' (what stands before '/'), or a CSV or JSON file; else the data's own",
    )
    data: Data = Data()
    recognizer: Recognizer = Recognizer()
    generator: Generator = Generator()
    guide: Generator | None = Field(None, description="another network as guide: smaller, or trained without classes")
    gate: Gate = Gate()
    selection: Selection = Selection()
    sampling: Sampling = Sampling()
    mixing: Mixing = Mixing()
    search: Search = Search()
    arms: dict[ArmName, Arm] = DEFAULT_ARMS
    seeds: tuple[Seed, ...] = Field((0, 1, 2), description="recognizer seeds of every arm")
    evaluation: Evaluation = Evaluation()
    choice: Choice | None = Field(
        None,
        description="the arms are candidates: one is chosen on validation classes and judged, in place of "
        "evaluation.treatment",
    )
    quality: Quality = Quality()
    analysis: Analysis = Analysis()

    def changed_by(self, arm: Arm) -> Experiment:
        """The same with what an arm says of the generator, selection, sampling, mixing and recognizer."""
        return self.model_copy(update={part: changed(getattr(self, part), getattr(arm, part)) for part in CHANGED})

    def _guide_fits(self, path: str) -> None:
        """ValueError unless the generator and its guide keep the averages that the sampling reads."""
        generator, sampling = self.generator, self.sampling
        if generator.diffusers is not None:
            self._adopted_fits(path)
            return
        for field, of in (("ema", generator), ("guide_ema", self.guide or generator)):
            std, kept = getattr(sampling, field), ", ".join(f"{e:g}" for e in of.ema)
            if std not in of.ema and (of.snapshots < 2 or not min(of.ema) < std < max(of.ema)):
                raise ValueError(
                    f"{path}sampling.{field} {std:g} is not kept by the generator (generator.ema: {kept}); only lengths "
                    "between two kept ones are reconstructed, from generator.snapshots 2 or more"
                )
        possible = (self.guide or generator).guides
        if sampling.guide not in possible and sampling.guidance != 1:
            raise ValueError(
                f"{path}sampling.guide {sampling.guide!r}: the guide can be {', '.join(map(repr, possible))}; "
                "'unconditional' goes with guide.conditional false or with generator.label_dropout, 'each' and 'condition' "
                "with classes"
            )

    def _adopted_fits(self, path: str) -> None:
        """ValueError for what cannot be done with a model of diffusers: it has no weaker self, its conditions are inside."""
        start, sampling = f"{path}generator.diffusers:", self.sampling
        if self.guide is not None or (sampling.guidance != 1 and sampling.guide != "unconditional"):
            raise ValueError(
                f"{start} there is no weaker network to guide it; set sampling.guidance=1, or sampling.guide=unconditional "
                "where it was trained without classes, too (DiT)"
            )
        if sampling.mixture == "conditions" or sampling.mixing_interval is not None:
            raise ValueError(
                f"{start} its conditions are inside it and cannot be mixed; sampling.mixture 'scores' everywhere"
            )

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Experiment:
        self._mixes("")
        self._guide_fits("")
        if any(arm.generated for arm in self.arms.values()):
            for network in filter(None, (self.generator, self.guide)):
                network.check_side(self.data.size)
        for name, arm in self.arms.items():
            self._leans(name, arm)
            for part in SLICES:
                settings = getattr(self, "recognizer" if part == "selector" else part)
                changed(settings, getattr(arm, part), f"arms.{name}.{part}.")
            of_arm = self.changed_by(arm)
            if arm.images != "real":
                of_arm._mixes(f"arms.{name}.")
                of_arm._mixed_classes(f"arms.{name}.")
            if arm.images == "repeated" and (
                own := [n for n in ("weights", "weights_end", "draw") if n in arm.sampling]
            ):
                raise ValueError(
                    f"arms.{name}.sampling.{own[0]}: images is 'repeated', one real image each: none is mixed"
                )
            soft = arm.images == "mixes" and of_arm.mixing.labels != "new_class"
            if soft and of_arm.sampling.weights_end is not None and not arm.search:
                raise ValueError(
                    f"arms.{name}: soft labels are the weights, and sampling.weights_end makes these change with sigma"
                )
            if arm.images in ("averages", "cutmixes", "mixes") and not arm.search:
                of_arm._labelled(f"arms.{name}: ")
            if arm.images == "cutmixes" and of_arm.selection.mixed != 2:
                raise ValueError(
                    f"arms.{name}.images 'cutmixes': a box of one class in another, and selection.m is {of_arm.selection.mixed}; "
                    "leave the arm out (--arms)"
                )
            if arm.search:
                of_arm._searchable(f"arms.{name}.search:", arm.images)
            if arm.generated:
                of_arm._guide_fits(f"arms.{name}.")
                of_arm.generator.check_side(self.data.size)
        for name, arm in self.arms.items():
            if arm.steps_of is not None and info.context != TRAINED:
                self._as_long(name, arm)
        for field, names in (
            ("treatment", [] if self.choice else [self.evaluation.treatment]),  # a choice names another
            ("controls", self.evaluation.controls),
        ):
            self._known(f"evaluation.{field}", names)
            if unmeasured := [name for name in names if not self.arms[name].measured]:
                raise ValueError(f"evaluation.{field}: arm {unmeasured[0]!r} is not measured")
        if self.choice is not None and not choice_fits(self.evaluation.model_dump()):
            raise ValueError(
                "choice: an arm is chosen on validation classes and judged on test classes, against two controls of real "
                "images; it needs evaluation.task 'open', evaluation.classes 'test' and two evaluation.controls, or choice null"
            )
        if len(self.seeds) != len(set(self.seeds)) or not self.seeds:
            raise ValueError(f"seeds {list(self.seeds)} must be distinct and at least one")
        if self.evaluation.task == "closed":
            self._closed_set()
        if self.evaluation.treatment in self.evaluation.controls:
            raise ValueError(f"evaluation.controls: {self.evaluation.treatment!r} is the arm that is judged")
        if self.evaluation.headline not in self.evaluation.fars:
            raise ValueError(f"evaluation.headline {self.evaluation.headline:g} must be one of evaluation.fars")
        for name in self.analysis.recognizers:
            self.other_recognizer(name)
        return self

    def _known(self, where: str, names: Iterable[str]) -> None:
        """ValueError where one of the names is no arm's."""
        if unknown := [name for name in names if name not in self.arms]:
            raise ValueError(f"{where}: no arm is called {unknown[0]!r} (arms: {', '.join(self.arms)})")

    def _leans(self, name: str, arm: Arm) -> None:
        """ValueError where an arm that this one leans on is not there, or cannot select for it."""
        for field in ("steps_of", "selected_by"):
            self._known(f"arms.{name}.{field}", filter(None, [getattr(arm, field)]))
        if arm.selected_by is None:
            return
        start, other = f"arms.{name}.selected_by {arm.selected_by!r}:", self.arms[arm.selected_by]
        if other.selected_by is not None or other.steps_of is not None:
            raise ValueError(f"{start} takes an arm of its own length that the baseline selects for")
        if not self.changed_by(other).mixing.real:
            raise ValueError(f"{start} takes an arm that trains on real images, too (mixing.real)")
        if arm.images == "real":
            raise ValueError(f"{start} images is 'real', for which nothing is selected")
        if arm.selector:
            raise ValueError(f"{start} its recognizer is that arm's, so selector must be empty")

    def _as_long(self, name: str, arm: Arm) -> None:
        """ValueError where an arm cannot have the number of steps of another by training on as many images."""
        start, other = f"arms.{name}.steps_of {arm.steps_of!r}:", self.arms[str(arm.steps_of)]
        if other.steps_of is not None:
            raise ValueError(f"{start} that arm has the steps of {other.steps_of!r}; name this one")
        mine, its = (self.changed_by(of).recognizer for of in (arm, other))
        for field in ("epochs", "batch"):
            if getattr(mine, field) != getattr(its, field):
                raise ValueError(
                    f"{start} its recognizer.{field} is {getattr(its, field):g} and this arm's {getattr(mine, field):g}; "
                    f"for as many steps set arms.{name}.recognizer.{field} to the same"
                )

    def _searchable(self, start: str, images: str) -> None:
        """ValueError where the two weights that a search finds are not those of mixes."""
        if self.generator.diffusers is not None:
            raise ValueError(f"{start} mixes conditions, those of generator.diffusers are inside the model")
        if images != "mixes":
            raise ValueError(f"{start} finds the weights of mixes, and images is {images!r}")
        m, sampling = self.selection.mixed, self.sampling
        if m != 2:
            raise ValueError(f"{start} finds the weights of two classes, and {m} are mixed (selection.m)")
        if (
            sampling.mixture not in ("scores", "conditions")
            or sampling.draw != "fixed"
            or sampling.resample is not None
        ):
            raise ValueError(
                f"{start} finds two weights of any sum; it needs sampling.mixture 'scores' or 'conditions', sampling.draw "
                "'fixed' and no sampling.resample"
            )
        if sampling.keeps_by_log_weight:
            raise ValueError(
                f"{start} finds weights of any sum, and sampling.keep_by {sampling.keep_by!r} needs a log-weight, of those with sum 1"
            )

    def _labelled(self, path: str) -> None:
        """ValueError where the weights cannot be the labels of the mixes."""
        if self.mixing.labels != "new_class" and min(weights := self.sampling.named, default=0) < 0:
            raise ValueError(
                f"{path}soft labels are the weights, and sampling.weights {list(weights)} are not all >= 0"
            )

    def _closed_set(self) -> None:
        """ValueError where no verdict on held-out images is possible."""
        if not self.data.held_out:
            raise ValueError(
                "evaluation.task 'closed': needs held-out images of the training classes, set data.held_out (such as 0.2)"
            )
        for name in (self.evaluation.treatment, *self.evaluation.controls):
            arm = self.arms[name]
            mixing = self.changed_by(arm).mixing
            if arm.images != "real" and not mixing.real and mixing.labels == "new_class":
                raise ValueError(f"evaluation.task 'closed': arm {name!r} knows no real class that it could name")

    def _mixes(self, path: str) -> None:
        """ValueError unless the m-plets can be chosen by the generator, and mixed with the weights."""
        generator, selection = self.generator, self.selection
        if not generator.conditional:
            raise ValueError(f"{path}generator.conditional: false is for the guide; the generator needs classes to mix")
        try:
            self.sampling.check_weights(selection.mixed)
        except ValueError as error:
            raise ValueError(f"{path}sampling.{error}") from None
        if selection.needs_conditions and generator.diffusers is not None:
            raise ValueError(
                f"{path}generator.diffusers: its conditions are inside it; selection.space must be 'embedding'"
            )
        if selection.needs_conditions and selection.ema not in generator.ema:
            raise ValueError(
                f"{path}selection.ema {selection.ema:g} is not kept by the generator "
                f"(generator.ema: {', '.join(f'{e:g}' for e in generator.ema)})"
            )

    def _mixed_classes(self, path: str) -> None:
        """ValueError where the recognizer's loss cannot treat mixed classes as `mixing` says."""
        special = self.mixing.of_classes
        if special and self.recognizer.blend != "none":
            raise ValueError(
                f"{path}mixing.{special[0]} with recognizer.blend {self.recognizer.blend!r}: it is for images of one class"
            )
        if self.mixing.source_margin and self.recognizer.head == "softmax":
            raise ValueError(
                f"{path}mixing.source_margin with recognizer.head 'softmax': it is a margin of the cosine, which that head has not"
            )

    def other_recognizer(self, name: str) -> Recognizer:
        """The run's recognizer with the changes of `analysis.recognizers[name]`; ValueError for wrong ones."""
        return changed(self.recognizer, self.analysis.recognizers[name], f"analysis.recognizers.{name}.")

    @model_validator(mode="after")
    def _faces_fit(self) -> Experiment:
        arms = {f"arms.{n}.recognizer": self.changed_by(a).recognizer for n, a in self.arms.items()}
        for name, recognizer in {"recognizer": self.recognizer, **arms}.items():
            faces = recognizer.network in get_args(Network) and recognizer.network != "small"
            if faces and (self.data.size != 112 or self.data.channels == 1):
                raise ValueError(
                    f"{name}.network {recognizer.network!r} takes 112 px RGB images: set data.size to 112 "
                    f"(is {self.data.size}) and data.channels to 3 (is {self.data.channels})"
                )
        return self


class Runtime(BaseModel):
    """Where and on what to run; nothing here changes a result beyond the stated promise, nothing is hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path = Path("scoremix_runs")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(1, description="steps that run side by side")
    threads: Annotated[int, Field(gt=0)] | None = Field(None, description="of each worker; bytes depend on it")
    compile: bool = Field(False, description="the generator is trained through torch.compile")
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    quiet: bool = False
