"""Names of classes and files that other systems read otherwise: what to say of them."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10))}
FORBIDDEN = re.compile(r'[<>:"|?*\\]|[. ]$')  # on Windows, in the name of a file or folder


def name_notes(names: Iterable[str]) -> Iterator[str]:
    """A note for each kind of trap among names, with the first two and how many there are.

    Names that differ in case or in Unicode form alone are one file on macOS and Windows; those that Windows reserves
    cannot be copied there; control characters steer terminals and break lists.
    """
    traps: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for name in names:
        folder, slash, last = name.rpartition("/")  # what is on the way is looked at by itself
        plain = unicodedata.normalize("NFC", last)
        if (other := seen.setdefault(f"{folder}{slash}{plain.casefold()}", name)) != name:
            same = unicodedata.normalize("NFC", other[len(folder) + len(slash) :]) == plain
            kind = "the form of their Unicode (NFC, NFD)" if same else "case"
            traps.setdefault(f"pairs of names differ in {kind} alone: one file on macOS and Windows", []).append(
                f"{other!a} and {name!a}"
            )
        if last.split(".")[0].rstrip().lower() in RESERVED or FORBIDDEN.search(last):
            traps.setdefault("names are reserved or forbidden on Windows", []).append(f"{name!r}")
        if any(unicodedata.category(c) == "Cc" for c in last):
            traps.setdefault("names hold control characters", []).append(f"{name!a}")
    for kind, found in traps.items():
        yield f"{len(found):,} {kind}, such as {', '.join(found[:2])}"
