"""What every part of the config is made of: frozen slices, and errors of one line each."""

import difflib
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator


def _on_grid(length: float) -> float:
    if length != round(length, 3):
        raise ValueError(f"length {length!r}: averages are kept by lengths of three decimals, such as 0.05 or 0.125")
    return length


RESERVED = ("runs", "store")  # folders beside those that carry the names of runs
LARGEST = (1 << 63) - 1
LONGEST_NAME = 100  # characters; file names of 255 bytes have it in them


def _free(name: str) -> str:
    if name.lower() in RESERVED:
        raise ValueError(f"{name!r} is a folder of every --out; take another name")
    return name


def _plain_text(name: str) -> str:
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"name {name[:LONGEST_NAME]!r}: must be 1 to {LONGEST_NAME} characters that can be printed")
    return name


RunName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME), AfterValidator(_free)
]  # also the name of a folder
ArmName = Annotated[str, AfterValidator(_plain_text)]
Positive = Annotated[int, Field(gt=0)]
Width = Annotated[int, Field(gt=0, le=2**16)]  # of a network; more would be a slip of the hand
Batch = Annotated[int, Field(gt=0, le=2**20)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=100)]  # of learning
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

ONE_KIND = re.compile(r"constrained-\w+|literal\[.*\]")  # of the values of a setting, in pydantic's errors
TIMM = re.compile(r"timm/[A-Za-z0-9_]+")


def _known_network(name: str) -> str:
    if name not in get_args(Network) and not TIMM.fullmatch(name):
        raise ValueError(f"{name!r} must be one of {', '.join(get_args(Network))}, or timm/NAME")
    return name


AnyNetwork = Annotated[
    str, AfterValidator(_known_network), Field(json_schema_extra={"enum": [*get_args(Network), "timm/NAME"]})
]

Changes = dict[str, Any]  # fields of a slice that differ


class ConfigError(ValueError):
    """A wrong experiment file or option; the message has one line per mistake."""


UNHASHED: dict[str, Any] = {"hashed": False}  # of a field that changes results by rounding alone, or what follows


class Slice(BaseModel):
    """A part of the tree; its fields are hashed into the key of the stage that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """True and false are no numbers, and a number is one that can be computed with."""
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        for number in _leaves(value):
            if isinstance(number, bool):
                if bool not in kinds and kinds & {int, float}:
                    raise ValueError(f"must be a number (got {number})")
            elif abs(number) > (LARGEST if isinstance(number, int) else 1e15):
                raise ValueError(
                    f"too large (got {number:g})" if isinstance(number, float) else f"too large (above {LARGEST:.3g})"
                )
        return value

    def hashed(self) -> dict[str, Any]:
        """The settings that decide results, JSON-able: all but those marked `UNHASHED`, of nested slices too."""
        tree = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == UNHASHED:
                del tree[name]
            elif isinstance(value := getattr(self, name), Slice):
                tree[name] = value.hashed()
        return tree


def _kinds(annotation: Any) -> set[Any]:
    """The types in an annotation."""
    if typing.get_origin(annotation) is Literal:
        return {type(value) for value in typing.get_args(annotation)}
    parts = typing.get_args(annotation)
    return {kind for part in parts for kind in _kinds(part)} if parts else {annotation}


def _leaves(value: Any) -> Iterator[int | float]:
    """The numbers and truth values of a setting, those in lists as well."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, (int, float)):
        yield value


S = TypeVar("S", bound=Slice)


def changed(settings: S, changes: Changes, where: str = "") -> S:
    """That slice with some fields changed; ConfigError, one line that names the place below `where`, for wrong ones."""
    try:
        return type(settings).model_validate({**settings.model_dump(), **changes}) if changes else settings
    except ValidationError as error:
        raise ConfigError("; ".join(where + line for line in error_lines(error.errors(), type(settings)))) from None


def error_lines(errors: Iterable[Any], model: type[Slice]) -> list[str]:
    """One line for each setting that is wrong, with all that it may be where it takes values of several kinds."""
    by_place: dict[tuple[Any, ...], list[Any]] = {}
    for one in errors:
        place = one["loc"]
        of_kinds = place and ONE_KIND.fullmatch(str(place[-1]))
        by_place.setdefault(place[:-1] if of_kinds else place, []).append(one)
    lines = []
    for place, (first, *others) in by_place.items():
        allowed = [first["msg"], *(other["msg"].removeprefix("Input should be ") for other in others)]
        lines.append(error_line({**first, "loc": place, "msg": " or ".join(allowed)}, model))
    return lines


def error_line(error: Any, model: type[Slice]) -> str:
    """One line for one of pydantic's errors about `model`: where, what, and what is allowed."""
    location = ".".join(str(part) for part in error["loc"]) or "experiment"
    message = error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "missing" if isinstance(error["loc"][-1], int):
            return f"{location.rpartition('.')[0]}: {_count_of(model, error['loc'][:-1])} (got {error['input']!r})"
        case "missing":
            return f"{location}: missing{_about(model, error['loc'])}"
        case "too_short":
            return f"{location}: needs at least {error['ctx']['min_length']} (got {error['input']!r})"
        case "too_long":
            return f"{location}: {_count_of(model, error['loc'])} (got {error['input']!r})"
        case "string_pattern_mismatch":
            return f"{location}: must be letters from A to Z, digits, _ . or -, first a letter or a digit (got {error['input']!r})"
        case "list_type" | "tuple_type":
            return f"{location}: must be a list (got {error['input']!r})"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{location}: must be a table{_table_like(model, error['loc'])} (got {error['input']!r})"
        case "extra_forbidden":
            allowed = list(_fields(model, error["loc"][:-1]))
            close = difflib.get_close_matches(str(error["loc"][-1]), allowed, n=1)
            known = f" (allowed: {', '.join(allowed)})" if allowed else ""
            hint = f"; did you mean {close[0]}?" if close else known
            return f"{location}: no such setting{hint}"
        case "value_error" if not error["loc"] and not message.startswith("."):
            return str(message)  # of settings that do not go together: it names them
        case "value_error":
            return f"{location}{message}" if message.startswith(".") else f"{location}: {message}"
        case _:
            return f"{location}: {message[0].lower()}{message[1:]} (got {error['input']!r})"


def _count_of(model: Any, path: tuple[Any, ...]) -> str:
    """How many values a setting of fixed length takes."""
    values = typing.get_args(annotation(model, path))
    return f"needs {len(values)} values" if values else "has the wrong number of values"


def _about(model: Any, path: tuple[Any, ...]) -> str:
    field = _fields(model, path[:-1]).get(path[-1])
    return f", expected {field.description}" if field is not None and field.description else ""


def _table_like(model: Any, path: tuple[Any, ...]) -> str:
    """An example of what the table at that place holds."""
    kind, example = annotation(model, path), "{}"
    if typing.get_origin(kind) is dict:
        kind, example = typing.get_args(kind)[1], "{{name: {}}}"
    fields = getattr(kind, "model_fields", {}).items()
    first = next((f"{n}: {f.default}" for n, f in fields if isinstance(f.default, (str, int, float))), None)
    return " such as " + example.format(f"{{{first}}}") if first else " of settings"


def _fields(model: Any, path: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of the slice at that place of a tree, none where no slice is."""
    return getattr(annotation(model, path), "model_fields", {})


def annotation(model: Any, path: tuple[Any, ...]) -> Any:
    """The type of what is at that place of a tree, without `| None`; None where nothing is."""
    for part in path:
        if typing.get_origin(model) is dict:
            model = typing.get_args(model)[1]
        else:
            field = getattr(model, "model_fields", {}).get(part)
            model = field.annotation if field is not None else None
        of = [kind for kind in typing.get_args(model) if kind is not type(None)]
        if type(None) in typing.get_args(model) and len(of) == 1:
            model = of[0]
    return model


def undecided(tree: Any) -> bool:
    """Whether some `precision` in a tree of settings is "auto"."""
    if isinstance(tree, list):
        return any(map(undecided, tree))
    return isinstance(tree, dict) and (tree.get("precision") == "auto" or any(map(undecided, tree.values())))
