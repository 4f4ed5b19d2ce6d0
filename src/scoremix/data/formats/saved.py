"""Sets saved by `save_to_disk` of Hugging Face's `datasets`, read where they lie; needs the extra `hf`."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scoremix.data import limits
from scoremix.data.formats.columns import Columned, arrow, columns_of, image_bytes
from scoremix.data.source import DEFAULTS, Opening, readable

DICT, STATE = "dataset_dict.json", "state.json"  # of several parts; of each part


class Saved(Columned):
    """Arrow files, mapped into memory."""

    kind = "save_to_disk"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        pa = arrow(place, "a set saved by `datasets`")
        self.place, self.workers, self.paths = place, opening.workers, list[Path]()
        self._images = Cells()
        labels: list[Any] = []
        parts: list[str] = []
        for name, folder in _parts(place).items():
            for path in arrow_files(folder):
                with readable(path, "a readable arrow file", worded=True):
                    for batch in batches(pa, path):
                        image, label, names = columns_of(batch.schema, path, opening.told)
                        self._images.add(batch.column(image))
                        labels.append(batch.column(label))
                        parts += [name] * len(batch)
                self.paths.append(path)
        if not parts:
            raise ValueError(f"{place} holds no images")
        self.take_labels(labels, names, label, parts)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return any((place / name).is_file() for name in (DICT, STATE))

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((path.relative_to(self.place).as_posix(), path) for path in self.paths)

    def content(self, item: int) -> bytes:
        return self._images[int(item)]

    def where(self, item: int) -> str:
        return f"{self.place}, image {item}"


class Cells:
    """The encoded images of a column of several arrow arrays, which stay mapped until one is asked for."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._at = [0]  # where each begins

    def add(self, chunk: Any) -> None:
        """One more arrow array, behind the others."""
        self._chunks.append(chunk)
        self._at.append(len(self) + len(chunk))

    def __len__(self) -> int:
        return self._at[-1]

    def __getitem__(self, item: int) -> bytes:
        """ValueError where the row has no image, IndexError beyond the last one."""
        if not 0 <= item < len(self):
            raise IndexError(item)
        chunk = bisect_right(self._at, item) - 1
        return image_bytes(self._chunks[chunk][item - self._at[chunk]].as_py())


def batches(pa: Any, path: Path) -> Iterator[Any]:
    """The record batches of an arrow file, whole and none that few bytes stand for; pyarrow's errors, or ValueError."""
    for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
        batch.validate(full=True)  # what lies beyond its buffers would be read like anything else
        limits.refuse_swelling(str(path), path.stat().st_size, batch.nbytes)
        yield batch


def _parts(place: Path) -> dict[str, Path]:
    """The folders of the parts by name; ValueError where the list of them is damaged."""
    if not (place / DICT).is_file():
        return {"": place}
    names = _listed(place / DICT, "splits")
    return {name: place / name for name in names}


def arrow_files(folder: Path) -> list[Path]:
    """The files of one part, in order; ValueError where the list of them is damaged."""
    return [folder / name for name in _listed(folder / STATE, "_data_files", "filename")]


def _listed(path: Path, key: str, of: str | None = None) -> Sequence[str]:
    """Names of what lies beside a file that lists them; ValueError for anything else."""
    with readable(path, "what `datasets` writes"):
        found = limits.parsed_json(limits.text(path))[key]
        names = [entry[of] for entry in found] if of else list(found)
        for name in names:
            if not isinstance(name, str) or not name or Path(name).name != name:
                raise ValueError(f"{key} names {name!r:.80}, must be what lies beside it")
        return names
