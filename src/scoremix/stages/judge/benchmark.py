"""A recognizer on the public face benchmarks: embeddings once, every protocol from them (paper 4.2, Tables 1 and 2)."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import Embedding, Runtime
from scoremix.data.faces import LABELS
from scoremix.data.facesets import FaceSet, PairSet, RankSet, TemplateSet
from scoremix.data.files import file_hash
from scoremix.evaluation.benchmarks import (
    Measure,
    open_set_measures,
    pair_measures,
    pair_notes,
    rank_measures,
    template_draws,
    template_pair_measures,
)
from scoremix.evaluation.templates import PROTOCOLS, Protocol, pair_similarities, template_features
from scoremix.execution.code import code_hash
from scoremix.execution.store import Call, Step, Store
from scoremix.outputs.benchmarks import FollowedProtocol, Kind, MeasuredSet, RecognizerFile
from scoremix.recognition import published
from scoremix.recognition.checkpoints import Colour, Description
from scoremix.stages.judge.embed import embed_images

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OpenedRecognizer:
    """A network ready to embed, and what is known about it."""

    net: torch.nn.Module
    description: Description
    sha256: str

    def called(self, name: str) -> RecognizerFile:
        """Its file under that name, as results say it."""
        d = self.description
        return RecognizerFile(name, self.sha256, d.network, d.size, d.colour, d.scaling, d.provenance)


def open_recognizer(path: Path, colour: Colour | None) -> OpenedRecognizer:
    """Our checkpoint or a published one; ValueError says what else it looks like."""
    net, description = published.load(path, colour)
    return OpenedRecognizer(net, description, file_hash(path))


def embedding(recognizer: OpenedRecognizer, faces: FaceSet, config: Embedding) -> Call:
    """The step that embeds a set's images, with what makes it; its key knows the network, every image and the settings."""
    keys = {"recognizer": recognizer.sha256, "images": faces.images.key}
    described = {**config.model_dump(mode="json"), "colour": recognizer.description.colour}
    step = Step("embed", f"embed {faces.name}", described, keys, code_hash(embed_images))
    return Call(step, embed_images, config, (recognizer.net, recognizer.description, faces.images))


def embeddings(
    recognizer: OpenedRecognizer, faces: FaceSet, config: Embedding, store: Store, runtime: Runtime
) -> Floats:
    """(N, D) raw embeddings of a set's images, memory-mapped from the store; made where they are not there yet."""
    artifact = store.run(*embedding(recognizer, faces, config), runtime)
    rows: Floats = np.load(artifact / "embeddings.npy", mmap_mode="r")
    return rows


def flips(faces: FaceSet, protocols: Sequence[Protocol]) -> list[bool]:
    """Whether a set's embeddings have the mirrored image's added; both where protocols differ."""
    if isinstance(faces, TemplateSet):
        return sorted({p.flip for p in possible(protocols, faces)}, reverse=True)
    return [True]


def evaluated(
    faces: FaceSet, protocols: Sequence[Protocol], embedded: Callable[[bool], Floats], draws: int
) -> list[MeasuredSet]:
    """Results of one set: one for each kind of comparison and protocol; `embedded` gives its embeddings, with the
    mirrored images' added or without.
    """
    match faces:
        case PairSet():
            x = embedded(True)
            counts = {"images": len(x), "pairs": len(faces.same), "genuine": int(faces.same.sum())}
            measures = pair_measures(x[faces.first], x[faces.second], faces.same, draws)
            return [_measured(faces, "pairs", counts, None, measures, pair_notes(faces.same))]
        case RankSet():
            x = embedded(True)
            counts = {
                "probes": len(faces.probes),
                "mates": int((faces.gallery_subjects >= 0).sum()),
                "distractors": int((faces.gallery_subjects < 0).sum()),
            }
            gallery, probes = x[faces.gallery], x[faces.probes]
            measures = rank_measures(gallery, faces.gallery_subjects, probes, faces.probe_subjects, draws)
            return [_measured(faces, "identification", counts, None, measures)]
        case TemplateSet():
            entries = []
            wanted = possible(protocols, faces)
            for flip in flips(faces, protocols):
                entries += _templates(faces, embedded(flip), [p for p in wanted if p.flip == flip], draws)
            return sorted(entries, key=lambda one: one.kind)


def possible(protocols: Sequence[Protocol], faces: TemplateSet) -> list[Protocol]:
    """The distinct protocols a set allows: without detector scores, those that do without."""
    if faces.detector is not None:
        return list(protocols)
    known = {tuple(p.switches().items()): p for p in PROTOCOLS.values()}
    changed = [dataclasses.replace(p, detector=False, name=f"{p.name.split(',')[0]},detector=off") for p in protocols]
    return list({s: known.get(s, p) for p in changed for s in [tuple(p.switches().items())]}.values())


def _templates(faces: TemplateSet, x: Floats, protocols: Sequence[Protocol], draws: int) -> list[MeasuredSet]:
    ids, features = template_features(x, faces.templates, faces.media, faces.detector, protocols)
    counts = {"images": len(x), "templates": len(ids)}
    entries = []
    if faces.pairs is not None and faces.same is not None:
        rows = np.searchsorted(ids, faces.pairs).astype(np.int32)
        people = template_draws(rows, faces.same, len(ids), draws) if draws else None
        counts_1_1 = {**counts, "pairs": len(rows), "genuine": int(faces.same.sum())}
        similarities = pair_similarities(features, rows[:, 0], rows[:, 1])
        for p, similarity in zip(protocols, similarities, strict=True):
            entries.append(
                _measured(faces, "1:1", counts_1_1, p, template_pair_measures(similarity, faces.same, people))
            )
    if faces.galleries and faces.probes is not None:
        at = np.searchsorted(ids, faces.probes.templates)
        members = [(g.name, np.searchsorted(ids, g.templates), g.subjects) for g in faces.galleries]
        counts_1_n = {**counts, "probes": len(at), **{name: len(rows) for name, rows, _ in members}}
        for p, f in zip(protocols, features, strict=True):
            galleries = [(name, f[rows], subjects) for name, rows, subjects in members]
            measures = open_set_measures(galleries, f[at], faces.probes.subjects, min(draws, 200) or 1)
            entries.append(_measured(faces, "1:N", counts_1_n, p, measures))
    return entries


def _measured(
    faces: FaceSet,
    kind: Kind,
    counts: dict[str, int],
    protocol: Protocol | None,
    measures: Sequence[Measure],
    notes: Sequence[str] = (),
) -> MeasuredSet:
    followed = (
        FollowedProtocol(protocol.name, **protocol.switches()) if protocol else FollowedProtocol("common", flip="on")
    )
    label = LABELS.get(faces.name, faces.name)
    return MeasuredSet(faces.name, label, kind, counts, faces.unlike, notes, followed, measures)
