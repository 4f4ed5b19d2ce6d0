"""What a public set of faces is once it is read: pairs, templates, or probes and a gallery (paper 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64

from scoremix.data.faceimages import FaceImages

EXPECTED: dict[str, dict[str, int]] = {
    "lfw": {"pairs": 6000},
    "cfp_fp": {"pairs": 7000},
    "cplfw": {"pairs": 6000},
    "calfw": {"pairs": 6000},
    "agedb_30": {"pairs": 6000},
    "ijbb": {"images": 227_630, "templates": 12_115, "pairs": 8_010_270, "genuine": 10_270},
    "ijbc": {
        "images": 469_375,
        "templates": 23_124,
        "pairs": 15_658_489,
        "genuine": 19_557,
        "gallery templates": 3_531,
        "probe templates": 19_593,
    },
    "tinyface": {"probes": 3_728, "mates": 4_443, "distractors": 153_428},
}
Array = np.ndarray


@dataclass(frozen=True)
class PairSet:
    """Pair i compares images `first[i]` and `second[i]`."""

    name: str
    images: FaceImages
    first: Int64[Array, " p"]
    second: Int64[Array, " p"]
    same: Bool[Array, " p"]
    unlike: str = ""


@dataclass(frozen=True)
class Gallery:
    """Templates (or images) of known subjects, one or more of each."""

    name: str
    templates: Int64[Array, " g"]
    subjects: Int64[Array, " g"]


@dataclass(frozen=True)
class TemplateSet:
    """Images in templates, template pairs (1:1) and galleries with probes (1:N); either may be absent."""

    name: str
    images: FaceImages
    templates: Int64[Array, " n"]
    media: Int64[Array, " n"]
    detector: Float[Array, " n"] | None
    pairs: Int64[Array, "p 2"] | None = None
    same: Bool[Array, " p"] | None = None
    galleries: tuple[Gallery, ...] = ()
    probes: Gallery | None = None
    unlike: str = ""


@dataclass(frozen=True)
class RankSet:
    """Closed-set identification: probes, their mates, and distractors (subject -100), as image indices."""

    name: str
    images: FaceImages
    gallery: Int64[Array, " g"]
    gallery_subjects: Int64[Array, " g"]
    probes: Int64[Array, " q"]
    probe_subjects: Int64[Array, " q"]
    unlike: str = ""


FaceSet = PairSet | TemplateSet | RankSet


def unlike(name: str, counts: Mapping[str, int]) -> str:
    """How the counts differ from the published set's, or nothing; what is absent is not counted."""
    expected = EXPECTED.get(name, {})
    wrong = [f"{counts[k]:,} {k} instead of {v:,}" for k, v in expected.items() if counts.get(k, v) != v]
    return f"not the published set: {', '.join(wrong)}" if wrong else ""


def subject_of(folder: Path, name: str) -> int:
    """The number before the first underscore of a TinyFace image's name; ValueError where there is none."""
    text = name.rpartition("/")[2].partition("_")[0]
    if not text.isdecimal():
        raise ValueError(f"{folder / name}: the name must start with the subject's number and an underscore")
    return int(text)
