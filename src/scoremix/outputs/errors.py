"""What finding errors hands over, errors.json: the pairs of unseen images that each arm gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoremix.outputs.record import Entry, Record


class WrongPair(Entry):
    """Two images, rows of images.npy, their classes, and their similarity to an arm."""

    images: tuple[int, int]
    classes: tuple[str, str]
    similarity: float

    @property
    def words(self) -> str:
        """The classes, one where they are the same."""
        return " and ".join(dict.fromkeys(self.classes))


class ArmErrors(Entry):
    """What the first seed of an arm gets wrong at the headline FAR; pairs between `evaluation.errors.EDGES` of similarity."""

    thresholds: Sequence[float]  # one per FAR
    accepted: int  # impostor pairs
    refused: int  # genuine pairs
    genuine: Sequence[int]
    impostor: Sequence[int]
    false_accepts: Sequence[WrongPair]
    false_rejects: Sequence[WrongPair]


class MendedErrors(Entry):
    """What a control gets wrong and the judged arm does not, and the reverse, by numbers; the plainest of the first."""

    rejects_mended: int
    rejects_broken: int
    accepts_mended: int
    accepts_broken: int
    genuine: Sequence[WrongPair]
    impostor: Sequence[WrongPair]


class ErrorsSummary(Record):
    """The errors of every arm at `far`, one of `fars`, and what the judged arm mended of each control's."""

    FILE = "errors.json"
    fars: Sequence[float]
    far: float
    genuine_pairs: int
    impostor_pairs: int
    arms: Mapping[str, ArmErrors]
    mended: Mapping[str, MendedErrors]  # by control

    def threshold(self, arm: str) -> float:
        """Above which the arm accepts a pair, at `far`."""
        return self.arms[arm].thresholds[self.fars.index(self.far)]
