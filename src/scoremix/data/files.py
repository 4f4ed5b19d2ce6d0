"""Files and folders that appear whole or not at all: the one way in which this package writes what others read."""

import contextlib
import errno
import fcntl
import functools
import glob
import hashlib
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

RUNS = "scoremix_runs"  # the usual folder of runs


@contextlib.contextmanager
def whole(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A neighbour of `path` to be written; it becomes `path` when the block ends, and vanishes if that is an exception.

    Its name is its own, so that several processes may write at once and the last one stays. An OSError names `path`
    where it names no other file. With `folder` an empty folder is made; `path` must then be absent or an empty folder.
    What a process left that was killed while it wrote the same is removed: nobody holds its lock any more.
    """
    name = ".{}.{}.part" if folder else "{}.{}.partial"
    partial = path.with_name(name.format(path.name, uuid.uuid4().hex))
    remove = shutil.rmtree if folder else os.unlink
    held = contextlib.ExitStack()
    try:
        for left in path.parent.glob(name.format(glob.escape(path.name), "[0-9a-f]" * 32)):
            with contextlib.suppress(OSError), locked(left, make=False):
                remove(left)
        while not partial.exists():  # again where another process removed it before it was locked
            partial.mkdir() if folder else partial.touch()
            with contextlib.suppress(OSError):  # a file system without locks
                held.enter_context(locked(partial, wait=True, make=False))
        yield partial
        if not folder:
            with open(partial, "rb+") as handle:
                os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None and "written" in str(error):  # numpy's words where the system took less than all
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.filename in (None, str(partial)):
            error.filename = str(path)  # what failed to be written, for the message
        raise
    finally:
        held.close()
        if folder:
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(place: Path, wait: bool = False, make: bool = True) -> Iterator[None]:
    """Holds the lock of a folder, or of a file, which is made; OSError where somebody else does, unless that is awaited."""
    handle = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR | make * os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_file(path: Path, content: bytes | str) -> Path:
    """Writes a file whole or not at all; returns its path."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refuse_existing(path: Path) -> None:
    """ValueError where something is at the place of what a command makes; an empty folder is nothing."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} exists already: name another place, or remove it")
    if path.parent.exists() and not path.parent.is_dir():
        raise ValueError(f"{path.parent} is a file: name another place")


def refuse_place(place: Path, *endings: str, option: str = "") -> None:
    """ValueError where a file to be written has another ending than these, or lies in a folder that is not there."""
    called = f"{option} {place}".strip()
    if endings and place.suffix not in endings:
        raise ValueError(f"{called}: must end in {(' or ' if len(endings) == 2 else ', ').join(endings)}")
    if not place.parent.is_dir():
        raise ValueError(f"{called}: the folder {place.parent} does not exist")


def refuse_among(out: Path, images: str) -> None:
    """ValueError where the folder of runs would lie among the images, unless it is the usual one, made where one stands."""
    place = Path(images)
    if out.name != RUNS and place.is_dir() and out.resolve().is_relative_to(place.resolve()):
        other = shlex.quote(str(place.resolve().with_name(RUNS)))
        raise ValueError(f"--out {out}: lies inside the images, {images}; take another place, such as --out {other}")


def write_sealed(path: Path, content: bytes | str) -> Path:
    """Writes a file whole or not at all, with its SHA-256 behind its content."""
    plain = content.encode() if isinstance(content, str) else content
    with whole(path) as partial, open(partial, "wb") as file:
        file.write(plain)
        file.write(hashlib.sha256(plain).digest())
    return path


def read_sealed(path: Path) -> bytes | None:
    """The content of a file of `write_sealed`; None where it is damaged or cannot be read."""
    try:
        with open(path, "rb") as file:
            plain = file.read(max(os.fstat(file.fileno()).st_size - 32, 0))
            seal = file.read()
    except OSError:
        return None
    return plain if hashlib.sha256(plain).digest() == seal else None


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def known_hash(path: Path) -> str:
    """The same, read once by a process as long as the file's time and size stay."""
    stat = path.stat()
    return _hash_at(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1 << 16)
def _hash_at(path: Path, changed: int, size: int) -> str:
    return file_hash(path)
