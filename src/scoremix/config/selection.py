"""Which classes are mixed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scoremix.config.base import EmaLength, Positive, Seed, Share, Slice

Metric = Literal["cosine", "l2", "sqeuclidean"]


class Selection(Slice):
    """Which classes are mixed (paper 4.2 to 4.4); far and close are exact, of every m-plet there is."""

    strategy: Literal["far", "close", "random", "window", "joint_top", "joint_worst", "each", "list"] = Field(
        "far",
        description="far, close: largest or smallest objective; window: random ones whose distances lie in `window`; "
        "joint_top, joint_worst: close conditions with far embeddings, and the reverse; each: every class alone; "
        "list: those in `file`",
    )
    m: Annotated[int, Field(ge=1, le=6)] = Field(2, description="classes of a mix; 5 and 6 only for few classes")
    count: Positive | None = Field(None, description="m-plets; by default as many as there are training classes")
    space: Literal["embedding", "condition"] = Field(
        "embedding", description="whose distances: the recognizer's class centers or the generator's condition matrix"
    )
    metric: Metric = "cosine"
    condition_metric: Metric = Field("cosine", description="of the joint strategies")
    ema: EmaLength = Field(0.05, description="EMA length of the condition matrix")
    objective: Literal["sum", "mean", "min", "max", "range", "std"] = Field(
        "sum", description="of the distances of an m-plet's pairs; range and std only for few classes"
    )
    window: tuple[Share, Share] = Field((0.05, 0.25), description="quantiles of all pairs' distances")
    groups: str | None = Field(
        None, description="'name' (what stands before '/' in a class name), 'data', or a CSV or JSON file"
    )
    across: bool = Field(True, description="the classes of an m-plet are of different groups; false: of one group")
    file: str | None = Field(None, description="CSV or JSON file with the class names of an m-plet per row")
    max_degree: Positive | None = Field(
        None, description="m-plets a class may be in; taken greedily, without a certificate"
    )
    min_degree: Positive | None = Field(
        None, description="m-plets every class is in at least; taken greedily, without a certificate"
    )
    seed: Seed = 0

    @property
    def mixed(self) -> int:
        """How many classes a mix has."""
        return 1 if self.strategy == "each" else self.m

    @property
    def needs_conditions(self) -> bool:
        """Whether the generator's condition matrix is read."""
        return self.strategy != "each" and (self.space == "condition" or self.strategy.startswith("joint"))

    @model_validator(mode="after")
    def _possible(self) -> Selection:
        ordered = self.strategy not in ("random", "window", "each", "list")
        if self.m == 1 and self.strategy != "each":
            raise ValueError(f"m 1 with strategy {self.strategy!r}: a mix has at least 2 classes (each: one alone)")
        if self.space == "condition" and self.strategy.startswith("joint"):
            raise ValueError(f"strategy {self.strategy!r} compares both spaces: leave space at 'embedding'")
        degenerate = "max" if self.strategy in ("far", "joint_top") else "min"
        if self.m > 2 and ordered and self.objective == degenerate:
            raise ValueError(
                f"objective {self.objective!r} with strategy {self.strategy!r} is degenerate: one extreme pair with "
                f"any {self.m - 2} others; take {'min' if degenerate == 'max' else 'max'!r}, sum or mean"
            )
        if self.m == 2 and self.objective in ("range", "std"):
            raise ValueError(f"objective {self.objective!r} is 0 for every pair, it needs m of at least 3")
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window {list(self.window)} must be two quantiles, the lower one first")
        if self.groups is None and not self.across:
            raise ValueError("across false needs groups")
        if (self.strategy == "list") != (self.file is not None):
            raise ValueError("strategy 'list' and a `file` of m-plets go together")
        if self.max_degree is not None and self.min_degree is not None:
            raise ValueError("max_degree and min_degree exclude each other")
        if self.min_degree is not None and not (ordered and self.objective in ("sum", "mean")):
            raise ValueError(
                "min_degree needs strategy far, close, joint_top or joint_worst with objective sum or mean"
            )
        return self
