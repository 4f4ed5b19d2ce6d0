"""A delivered recognizer in use: are two images of one class, and of which enrolled class is an image? Without PyTorch.

model = scoremix.load_model("scoremix_runs/demo/model")
print(model.verify("a.png", "b.png").same)
print([found.name for found in model.identify("gallery", "probes")])
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoremix.data import limits
from scoremix.data.csv_text import in_line
from scoremix.data.decode import decode, refuse_other_arrays, resize_area, size_of, with_channels
from scoremix.data.files import file_hash
from scoremix.data.source import Advance, SourceHints
from scoremix.data.sources import Listing, open_listing
from scoremix.use.gallery import UNKNOWN, Gallery, Identified, Match, Source, Unit, nearest

ONNX = "recognizer.onnx"
RUNS = Path("scoremix_runs")
ROWS = 64  # images per forward
ENLARGED = 4  # an image is not enlarged more than so many times
STRANGERS = 0.1  # bound on the chance that a stranger is taken for somebody, where the thresholds reach that far

Images = NDArray[np.uint8]


def silent(done: int, total: int) -> None:
    """Nobody waits."""


class Threshold(NamedTuple):
    """A pair is accepted above the similarity `value`; so is the share `far` of pairs of two classes."""

    far: float
    value: float
    low: float | None  # interval of the value
    high: float | None
    tar: float  # share of pairs of one class that are accepted


class Verified(NamedTuple):
    """Two images compared; without a threshold `same` is None."""

    similarity: float
    same: bool | None
    threshold: Threshold | None


@dataclass(frozen=True)
class Model:
    """A recognizer in an ONNX file, with what its input must be and the thresholds measured with it."""

    session: Any
    key: str  # SHA-256 of the file
    size: int
    channels: int
    colour: str
    scaling: str
    thresholds: tuple[Threshold, ...]  # from the laxest FAR to the strictest
    unsupported: Mapping[str, str]  # FAR -> why it has no threshold
    headline: float

    def embed(self, images: Images | Source | Sequence[Source]) -> Unit:
        """Unit embeddings (n, d) of an array (n, h, w, 1 or 3) of 8-bit values, or of what lies in a file or folder, or in
        a list of files.

        ValueError, one line, for wrong arrays and for what cannot be read or is too small.
        """
        if isinstance(images, str | Path):
            return self._read(Path(images))[1]
        if isinstance(images, np.ndarray):
            fitted = self._fitted(images)
            return self._computed(fitted[i : i + ROWS] for i in range(0, len(fitted), ROWS))
        files = iter(images)
        parts = iter(lambda: list(itertools.islice(files, ROWS)), [])
        return self._computed(np.stack([self._file(Path(file)) for file in part]) for part in parts)

    def verify(self, a: Images | Source, b: Images | Source, far: float | None = None) -> Verified:
        """Whether two images, files or arrays (h, w, 1 or 3), are of one class, at a FAR that has a threshold."""
        one, other = (self.embed(of[None] if isinstance(of, np.ndarray) else [of])[0] for of in (a, b))
        similarity = float(one @ other)
        if far is None and not self.thresholds:
            return Verified(similarity, None, None)
        known = {point.far for point in self.thresholds}
        usual = self.headline if self.headline in known else min(known, default=self.headline)
        point = self.threshold(usual if far is None else far)
        return Verified(similarity, similarity > point.value, point)

    def enroll(self, place: Source, advance: Advance = silent, class_level: int | None = None) -> Gallery:
        """The gallery of a folder of class folders (so many steps down), or of images that are a class each by name."""
        listing, unit = self._read(Path(place), advance, class_level)
        if listing.labels is None:
            named = [Path(name).stem for name in listing.names]
            names = listing.names if len(set(named)) < len(named) else tuple(named)
            labels = np.arange(len(names))
        else:
            names, labels = listing.class_names, listing.labels.astype(np.int64)
        order = np.argsort(labels, kind="stable")
        images = tuple(listing.names[i] for i in order)
        gallery = Gallery(unit[order], images, labels[order], tuple(names), self.key, str(Path(place).absolute()))
        if wrong := gallery.wrong():
            raise ValueError(f"{place}: {wrong}")
        return gallery

    def identify(
        self,
        gallery: Gallery | Source,
        probes: Images | Source | Sequence[Source],
        k: int = 5,
        far: float | None = None,
        advance: Advance = silent,
    ) -> list[Identified]:
        """For every probe the `k` enrolled classes most alike; the best is its name where it is above the threshold.

        `gallery`: what `enroll` returned or saved, or a folder to enroll. By default the FAR is the largest at which a
        stranger is taken for somebody in at most one of ten cases, or the smallest that has a threshold.
        """
        if k < 1:
            raise ValueError(f"k {k}: must be at least 1")
        gallery = self.gallery(gallery)
        if isinstance(probes, str | Path):
            listing, unit = self._read(Path(probes), advance)
            names: Sequence[str] = listing.names
        else:
            unit = self.embed(probes)
            names = [str(i) for i in range(len(unit))] if isinstance(probes, np.ndarray) else [str(p) for p in probes]
        point = self.for_gallery(len(gallery), far)
        if unit.shape[1] != gallery.embeddings.shape[1]:
            raise ValueError(
                f"gallery of {in_line(gallery.place)}: damaged, {gallery.embeddings.shape[1]} numbers per image, not {unit.shape[1]}"
            )
        held = len(np.unique(gallery.labels))  # a folder may be without images
        classes, rows, similarity = nearest(gallery.embeddings, gallery.labels, unit, min(k, held))
        identified = []
        for name, of_class, of_row, alike in zip(names, classes, rows, similarity, strict=True):
            matches = tuple(
                Match(gallery.class_names[c], float(s), gallery.names[r])
                for c, r, s in zip(of_class, of_row, alike, strict=True)
            )
            known = point is None or matches[0].similarity > point.value
            identified.append(Identified(name, matches[0].name if known else UNKNOWN, matches))
        return identified

    def gallery(self, gallery: Gallery | Source, advance: Advance = silent) -> Gallery:
        """A gallery of this model: as given, opened, or enrolled from a folder; ValueError for another model's."""
        if not isinstance(gallery, Gallery):
            place = Path(gallery)
            gallery = Gallery.load(place) if place.suffix == ".npz" else self.enroll(place, advance)
        if gallery.model != self.key:
            raise ValueError(
                f"gallery of {in_line(gallery.place)}: enrolled with another model ({in_line(gallery.model[:12])}, this one is "
                f"{self.key[:12]}); enroll its images again"
            )
        return gallery

    def threshold(self, far: float) -> Threshold:
        """The threshold at that FAR; ValueError, one line, where none was measured."""
        for point in self.thresholds:
            if abs(point.far - far) <= 1e-9 * far:
                return point
        allowed = ", ".join(f"{point.far:g}" for point in self.thresholds) or "none"
        why = self.unsupported.get(f"{far:g}", "not measured")
        raise ValueError(f"far {far:g}: {why} (allowed: {allowed})")

    def for_gallery(self, enrolled: int, far: float | None = None) -> Threshold | None:
        """The threshold for that many enrolled images; None for a model without thresholds, all are then named."""
        if far is not None:
            return self.threshold(far)
        strict = (point for point in self.thresholds if point.far * enrolled <= STRANGERS)
        return next(strict, self.thresholds[-1] if self.thresholds else None)

    # ---- from images to embeddings

    def _read(self, place: Path, advance: Advance = silent, class_level: int | None = None) -> tuple[Listing, Unit]:
        """The listing of all images at a place, and their embeddings; ValueError names the first that is unusable."""
        listing = open_listing(place, SourceHints(class_level))
        for where, width, height in listing.sides():
            self._refuse_enlarged(where, width, height)
        bad: list[tuple[str, str]] = []

        def blocks() -> Iterator[Images]:
            for pixels, rows in listing.blocks(self.size, self.channels, ROWS, bad):
                yield pixels
                advance(int(rows[-1]) + 1, len(listing))
            if bad:
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                raise ValueError(f"{bad[0][0]}: {bad[0][1]}{more}")

        return listing, self._computed(blocks())

    def _file(self, file: Path) -> Images:
        """One image (size, size, channels)."""
        if not file.is_file():  # opening a pipe would wait for what it is sent
            raise ValueError(f"{file}: {'not a regular file' if file.exists() else 'no such file'}")
        try:
            sides, pixels = size_of(file), decode(file, self.size)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        self._refuse_enlarged(str(file), *sides)
        return np.asarray(with_channels(pixels[None], self.channels)[0])

    def _refuse_enlarged(self, what: str, width: int, height: int) -> None:
        if min(width, height) * ENLARGED < self.size:
            raise ValueError(
                f"{what}: {width} x {height} pixels, the recognizer takes {self.size} x {self.size}; at least "
                f"{-(-self.size // ENLARGED)} on each side are needed"
            )

    def _fitted(self, images: Images) -> Images:
        refuse_other_arrays(images)
        self._refuse_enlarged("images", images.shape[2], images.shape[1])
        return with_channels(resize_area(images, self.size), self.channels)

    def _computed(self, blocks: Iterable[Images]) -> Unit:
        """Embeddings of blocks (at most ROWS, size, size, channels)."""
        if not (rows := list(map(self._forward, blocks))):
            raise ValueError("no images")
        return np.concatenate(rows)

    def _forward(self, pixels: Images) -> Unit:
        ordered = pixels[..., ::-1] if self.colour == "bgr" else pixels
        x: Unit = ordered.transpose(0, 3, 1, 2).astype(np.float32)
        x = x / np.float32(127.5) - 1 if self.scaling == "-1..1" else x / np.float32(255)
        (unit,) = self.session.run(["embeddings"], {"images": np.ascontiguousarray(x)})
        if not np.isfinite(unit).all():
            raise ValueError("the model's embeddings are not finite")
        return np.asarray(unit, np.float32)


def load_model(model: Source) -> Model:
    """A delivered recognizer: the folder of `scoremix fit`, its .onnx file alone, or the name of a run in ./scoremix_runs.

    ValueError, one line, where there is none, its bytes are not those that were written, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("a model needs onnxruntime: pip install 'scoremix[use]'") from None

    file = _file_of(Path(model))
    content = file.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    _refuse_changed(file, key)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        described = _described(session.get_modelmeta().custom_metadata_map)
    except Exception:  # onnxruntime raises its own kinds
        raise ValueError(f"model {file}: not an ONNX file of `scoremix fit` or `scoremix export`") from None
    return Model(session, key, **described)


def _refuse_changed(file: Path, key: str) -> None:
    """ValueError where the manifest beside a delivered file says that it, or the thresholds beside it, had other bytes."""
    try:
        manifest = limits.parsed_json(limits.text(file.with_name("manifest.json"), limits.TEXT_BYTES))
        written = (
            {name: of["sha256"] for name, of in manifest["outputs"].items()} if manifest["stage"] == "model" else {}
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # the file alone is enough
    found = {file.name: key}
    if (thresholds := file.with_name("thresholds.json")).is_file():
        found[thresholds.name] = file_hash(thresholds)
    if changed := [name for name in found if found[name] != written.get(name, found[name])]:
        raise ValueError(
            f"model {file.parent}: {changed[0]} is not what `scoremix fit` wrote (manifest.json has its SHA-256); "
            "the same `scoremix fit` writes it again"
        )


def _described(facts: Mapping[str, str]) -> dict[str, Any]:
    """What a file's metadata says of its input and its thresholds; any exception where it says something else."""
    description = json.loads(facts["description"])
    kind = {name: description[name] for name in ("size", "channels", "colour", "scaling")}
    known = kind["colour"] in ("rgb", "bgr", "grey") and kind["scaling"] in ("-1..1", "0..1")
    if not known or kind["channels"] not in (1, 3) or not 1 <= int(kind["size"]) == kind["size"]:
        raise ValueError(f"{kind}: no input of a recognizer")
    measured = json.loads(facts.get("thresholds", '{"points": [], "unsupported": {}, "headline": 0.01}'))
    points = [
        Threshold(p["far"], p["threshold"]["value"], p["threshold"]["low"], p["threshold"]["high"], p["tar"]["value"])
        for p in measured["points"]
    ]
    if not all(0 < p.far < 1 and math.isfinite(p.value) and math.isfinite(p.tar) for p in points):
        raise ValueError("thresholds: not numbers")
    ordered = tuple(sorted(points, key=lambda point: -point.far))
    return {
        **kind,
        "thresholds": ordered,
        "unsupported": dict(measured["unsupported"]),
        "headline": float(measured["headline"]),
    }


def _file_of(model: Path) -> Path:
    """The ONNX file of a folder, a file, or a run in ./scoremix_runs; ValueError where there is none."""
    if model.is_file():
        return model
    for folder in (
        model,
        model / "model",
        RUNS / model / "model",
    ):  # the model itself, the folder of its run, the run's name
        if (folder / ONNX).is_file():
            return folder / ONNX
    if (RUNS / "runs" / f"{model}.json").exists():
        raise ValueError(
            f"model {model}: this run has none yet; `scoremix fit {model}` makes it once the run is finished"
        )
    raise ValueError(f"model {model}: neither a folder with {ONNX}, nor such a file, nor a run in {RUNS} with a model")
