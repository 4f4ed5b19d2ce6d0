"""Artifacts: finished folders with a manifest, whose files are read by type and held against their hashes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoremix.data.files import known_hash, read_sealed

DISOWNED = "manifest.damaged"  # of an artifact whose bytes are no longer those that were written
SPENT = "spent.json"  # progress of an unfinished one: what it cost until now, how much of it is done


class StoreError(RuntimeError):
    """The store cannot be used: another version, another writer, or damaged."""


class StoreBusy(StoreError):
    """Another process is working on that artifact."""


@dataclass(frozen=True)
class External:
    """Data from outside: a place, and the hash of its content as its key."""

    place: str
    key: str
    split_list: str | None = None
    groups: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A finished folder `store/<stage>/<key12>/`; `artifact / name` is the path of one of its files."""

    stage: str
    key: str
    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def done(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; StoreError where it is damaged."""
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest

    def json(self, name: str) -> Any:
        return read_json(self.folder / name)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """All arrays of an .npz file; StoreError where it is damaged."""
        try:
            with np.load(self.folder / name) as file:
                return dict(file)
        except Exception as error:  # damaged archives raise almost anything
            raise StoreError(f"{self.folder / name}: damaged or unreadable ({error})") from None

    @property
    def share_done(self) -> float:
        """How much of it is there, 0 to 1, as its process last said."""
        if self.done:
            return 1.0
        spent = read_sealed(self.folder / "progress" / SPENT)
        parts = (self.folder / "progress").glob(f"part-*-{SPENT}")
        shares = [json.loads(text).get("done", 0.0) for text in (spent, *map(read_sealed, parts)) if text]
        return float(min(shares, default=0.0))

    def damaged(self) -> list[str]:
        """Outputs whose bytes are not those that the manifest lists, each with what is wrong; read once by a process."""
        try:
            listed = self.manifest["outputs"].items()
            return [f"{name} {wrong}" for name, entry in listed if (wrong := _wrong(self.folder / name, entry))]
        except (StoreError, AttributeError, KeyError, TypeError):
            return ["manifest.json is damaged"]

    def disown(self) -> None:
        """From now on a damaged artifact is not done: what needs it makes it again."""
        os.replace(self.folder / "manifest.json", self.folder / DISOWNED)


def refuse_damaged(inputs: Iterable[Any]) -> None:
    """StoreError where an input's bytes are not those of its manifest; the next run makes that artifact again."""
    for value in inputs:
        for artifact in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(artifact, Artifact) and artifact.done and (wrong := artifact.damaged()):
                artifact.disown()
                raise StoreError(f"{artifact.folder}: {'; '.join(wrong)}; the next run makes it again")


def _wrong(path: Path, entry: Mapping[str, Any]) -> str:
    """What is wrong with an output, in words; empty where nothing is."""
    try:
        if (size := path.stat().st_size) != entry["bytes"]:
            return f"has {size:,} bytes, not {entry['bytes']:,}"
        return "" if known_hash(path) == entry["sha256"] else "has other bytes than were written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def read_json(path: Path) -> Any:
    """The content of a JSON file; StoreError where it is damaged or gone."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged or unreadable ({error})") from None
