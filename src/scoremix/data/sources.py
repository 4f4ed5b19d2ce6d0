"""The formats of sets of labelled images: one table, through which everything that reads images goes."""

from __future__ import annotations

import hashlib
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scoremix.data.files import file_hash
from scoremix.data.formats.folders import Folders, Loose
from scoremix.data.formats.fonts import Fonts, Glyphs
from scoremix.data.formats.listed import Listed
from scoremix.data.formats.npz import Npz
from scoremix.data.formats.packed import Packed
from scoremix.data.formats.parquet import Parquet
from scoremix.data.formats.records import Records
from scoremix.data.source import DEFAULTS, Opening, Source, Told, readable, windowed

# A new format is one file in `formats` and one word here; the first that lies at a place reads it.
FORMATS: tuple[type[Source], ...] = (Glyphs, Npz, Parquet, Packed, Records, Fonts, Listed, Loose, Folders)


def format_of(place: str | Path, every: bool = False) -> type[Source]:
    """The reader of what lies at `place`, found by looking; ValueError if nothing readable does (`every`: see Opening)."""
    path = Path(place)
    if not path.exists() and not Glyphs.lies_at(path, every):
        raise ValueError(f"data source {path} does not exist")
    refuse_archives(path)
    for reader in FORMATS:
        if reader.lies_at(path, every):
            return reader
    raise ValueError(
        f"data source {path} is none of: folder of class folders, RecordIO, parquet, packed set, folder of fonts, .npz, table of path,label, 'glyphs'"
    )


def refuse_archives(path: Path) -> None:
    """ValueError with the command that makes an archive, shards or a set of `datasets` readable."""
    folder = path.with_name(path.name.partition(".")[0])
    quoted, out = (
        shlex.quote(str(path)),
        shlex.quote(str(folder if not path.is_dir() else path.with_name(path.name + "_read"))),
    )
    named = path.name.lower()
    if path.is_file() and named.endswith(".zip"):
        raise ValueError(f"{path} is an archive: python -m zipfile -e {quoted} {out}")
    if path.is_file() and named.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        raise ValueError(f"{path} is an archive: python -m tarfile -e {quoted} {out}")
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        save = "d.to_parquet(f'{o}/{n}.parquet')"
        code = f"import os,sys,datasets as h; i,o=sys.argv[1:]; os.makedirs(o); s=h.load_from_disk(i); [{save} for n,d in (s.items() if hasattr(s,'items') else [('all',s)])]"
        raise ValueError(f'{path} is a set saved by `datasets`: python -c "{code}" {quoted} {out}')


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
