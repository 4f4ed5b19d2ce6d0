"""The formats of sets of labelled images: one table, through which everything that reads images goes."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scoremix.data.files import file_hash
from scoremix.data.formats.archives import Archive, Shards
from scoremix.data.formats.cifar import Cifar
from scoremix.data.formats.folders import Folders, Loose
from scoremix.data.formats.fonts import Fonts, Glyphs
from scoremix.data.formats.listed import Listed
from scoremix.data.formats.npz import Npz
from scoremix.data.formats.packed import Packed
from scoremix.data.formats.parquet import Parquet
from scoremix.data.formats.records import Records
from scoremix.data.formats.saved import Saved
from scoremix.data.source import DEFAULTS, Opening, Source, Told, readable, windowed

# A new format is one file in `formats` and one word here; the first that lies at a place reads it.
FORMATS: tuple[type[Source], ...] = (
    *(Glyphs, Npz, Saved, Parquet, Packed, Records, Cifar, Shards, Archive, Fonts, Listed, Loose, Folders),
)


def format_of(place: str | Path, every: bool = False) -> type[Source]:
    """The reader of what lies at `place`, found by looking; ValueError if nothing readable does (`every`: see Opening)."""
    path = Path(place)
    if not path.exists() and not Glyphs.lies_at(path, every):
        raise ValueError(f"data source {path} does not exist")
    for reader in FORMATS:
        if reader.lies_at(path, every):
            return reader
    raise ValueError(
        f"data source {path} is none of: folder of class folders, .zip or .tar of them, WebDataset shards, RecordIO, parquet, "
        "save_to_disk, packed set, CIFAR, folder of fonts, .npz, table of path,label, 'glyphs'"
    )


def open_source(place: str | Path, opening: Opening = DEFAULTS) -> Source:
    """The source at `place`; ValueError of one line where it cannot be read."""
    reader = format_of(place, opening.every)
    with readable(Path(place), f"readable {reader.kind}", worded=True):
        return reader(Path(place), opening)


def fingerprint(place: str | Path, told: Told = DEFAULTS.told) -> str:
    """SHA-256 (hex) of what would be read from `place`: names relative to it and contents, in order of name.

    Independent of where `place` lies, of times and of files that are passed over.
    """
    total = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, content in windowed(pool, _digest, open_source(place, Opening(told=told)).files()):
            total.update(len(name).to_bytes(8, "big") + name + content)
    return total.hexdigest()


def _digest(named: tuple[str, Path]) -> tuple[bytes, bytes]:
    name, path = named
    return os.fsencode(name), bytes.fromhex(file_hash(path)) if path.is_file() else b"not a regular file"
