"""What every part of the config is made of: frozen slices, and errors of one line each."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _on_grid(length: float) -> float:
    if length != round(length, 3):
        raise ValueError(f"length {length!r}: averages are kept by lengths of three decimals, such as 0.05 or 0.125")
    return length


Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Precision = Literal["float32", "bfloat16"]
AutoPrecision = Literal["auto", "float32", "bfloat16"]  # auto: the device's own, decided before a run is planned
EmaLength = Annotated[float, Field(gt=0, lt=0.289), AfterValidator(_on_grid)]  # files are named by its three decimals
KeepBy = Literal["coherence", "log_weight", "agreement", "hardest", "easiest"]
Interval = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]  # of sigma
Network = Literal[
    "small",
    "iresnet18",
    "iresnet34",
    "iresnet50",
    "iresnet100",
    "iresnet200",
    "adaface_ir18",
    "adaface_ir34",
    "adaface_ir50",
    "adaface_ir101",
    "adaface_irse18",
    "adaface_irse34",
    "adaface_irse50",
    "adaface_irse101",
]


Changes = dict[str, Any]  # fields of a slice that differ


class ConfigError(ValueError):
    """A wrong experiment file or option; the message has one line per mistake."""


class Slice(BaseModel):
    """A part of the tree; its fields are hashed into the key of the stage that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


S = TypeVar("S", bound=Slice)


def changed(own: S, changes: Changes) -> S:
    """That slice with some fields changed; pydantic's ValidationError for wrong ones."""
    return type(own).model_validate({**own.model_dump(), **changes}) if changes else own


def error_line(error: Any, model: type[Slice]) -> str:
    """One line for one of pydantic's errors about `model`: where, what, and what is allowed."""
    location = ".".join(str(part) for part in error["loc"]) or "experiment"
    message = error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            allowed = _fields(model, error["loc"][:-1])
            close = difflib.get_close_matches(str(error["loc"][-1]), allowed, n=1)
            hint = f"; did you mean {close[0]}?" if close else f" (allowed: {', '.join(allowed)})" if allowed else ""
            return f"{location}: no such setting{hint}"
        case "value_error":
            return f"{location}{message}" if message.startswith(".") else f"{location}: {message}"
        case _:
            return f"{location}: {message[0].lower()}{message[1:]} (got {error['input']!r})"


def _fields(model: Any, path: tuple[Any, ...]) -> list[str]:
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        model = _model_in(field.annotation) if field is not None else _model_in(model) or model
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """The Slice inside an annotation such as `Sampling | None` or `dict[str, Arm]`, else None."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    return next(
        (m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None and hasattr(m, "model_fields")),
        None,
    )
