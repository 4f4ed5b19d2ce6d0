"""Characters drawn from font files: one class per character, images by `glyphs.render`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from scoremix.data import glyphs
from scoremix.data.formats.folders import is_of_runs
from scoremix.data.source import DEFAULTS, Choose, ImageBlock, Opening, Source


class Fonts(Source):
    """The fonts in a folder: some file under it has a font's suffix and none an image's."""

    kind, size, channels = "fonts", glyphs.SIZE, 1
    least_faces = glyphs.LEAST_FACES

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.opening, self.fonts = place, opening, glyphs.font_files(place)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        images, fonts = set(Image.registered_extensions()), False
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(name for name in folders if not is_of_runs(os.path.join(folder, name)))
            suffixes = {os.path.splitext(name)[1].lower() for name in files if not name.startswith(".")}
            if suffixes & images:
                return False
            fonts = fonts or bool(suffixes & glyphs.FONT_SUFFIXES)
        return fonts

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((path.name, path) for path in self.fonts)

    # which characters the fonts have takes seconds to find: found where it is asked for

    @cached_property
    def alphabet(self) -> glyphs.Alphabet:
        return glyphs.alphabet(self.fonts, least_faces=self.least_faces)

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.alphabet.names

    @cached_property
    def groups(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.alphabet.scripts

    @cached_property
    def ignored(self) -> int:  # type: ignore[override]
        return len(self.alphabet.left_out)

    @cached_property
    def counts(self) -> Int64[np.ndarray, " c"]:  # type: ignore[override]
        return np.full(len(self.class_names), self.opening.images_per_class or glyphs.IMAGES_PER_CLASS, np.int64)

    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        for k in map(int, kept):
            images = glyphs.render(self.alphabet, k, len(choose(k)), size=size, seed=self.opening.seed)
            yield ImageBlock(images, np.full(len(images), k))


class Glyphs(Fonts):
    """The fonts that matplotlib ships, for the place 'glyphs'."""

    least_faces = glyphs.BUILTIN_LEAST_FACES

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return str(place) == glyphs.BUILTIN
