"""Writes docs/settings.md: every setting of an experiment with its type, default and meaning, from `scoremix.config`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scoremix.config import Experiment

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
WORDS = {"integer": "integer", "number": "number", "boolean": "`true`, `false`", "string": "text", "null": "`null`"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
Schema = dict[str, Any]  # of a setting or of a group of them, as pydantic's JSON schema has it

HEAD = """# Settings

Written by `make results` from `scoremix.config`. `a.b` is set by `--set a.b=VALUE`, or in a file given with `--config`
(YAML, TOML or JSON):

    a:
      b: VALUE

Defaults are those of the code; a preset changes some of them, and `scoremix_runs/runs/NAME.json` holds those that a
run was made with. Values are YAML: `null` for none, `[1, 2]` for a list. What does not fit is refused with one line that
says what is allowed. An empty meaning is one that the name tells."""


def allowed(schema: Schema) -> str:
    """The values a setting takes."""
    if "$ref" in schema:
        return f"settings of `{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(allowed(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}: {allowed(schema['prefixItems'][0])}"
        return f"list: {allowed(schema['items'])}"
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"names with {allowed(values)}" if isinstance(values, dict) else "settings"
    limits = [f"{sign} {number(schema[name])}" for name, sign in LIMITS.items() if name in schema]
    return " ".join([WORDS[schema["type"]], ", ".join(limits)]).strip()


def number(limit: float) -> str:
    """In full where it is a whole number that a person can read, 65,536; else short, 1.845e+19."""
    return f"{limit:,.0f}" if limit == int(limit) and abs(limit) < 1e9 else f"{limit:.4g}"


def groups(schema: Schema, known: dict[str, Schema], path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every group of settings with its dotted path, outer ones first; a group that comes twice only where it is first."""
    yield path, schema
    for name, one in schema["properties"].items():
        values = one.get("additionalProperties")
        named = isinstance(values, dict) and "$ref" in values
        for part in (one, *one.get("anyOf", ()), values if named else {}):
            if (group := known.pop(part.get("$ref", "").rpartition("/")[2], None)) is not None:
                yield from groups(group, known, f"{path}{name}." + ("NAME." if named else ""))


def table(path: str, schema: Schema) -> str:
    lines = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for name, one in schema["properties"].items():
        default = one.get("default")
        text = "below" if isinstance(default, dict) and default else f"`{json.dumps(default, ensure_ascii=False)}`"
        lines.append(
            f"| `{path}{name}` | {allowed(one)} | {text} | {one.get('description', '')} |".replace("|  |", "| |")
        )
    return "\n".join(lines)


def page() -> str:
    schema = Experiment.model_json_schema()
    parts = [HEAD]
    for path, group in groups(schema, schema["$defs"]):
        about = " ".join(group["description"].split())
        parts += [f"## {group['title']}: `{path[:-1]}`" if path else "## The experiment", about, table(path, group)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
