"""Text that other programs take: tables as CSV, and lines of a terminal."""

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes text that begins so

NAME = 200  # characters of a name that a line repeats
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, the heads first, as CSV; numbers unrounded, text that a spreadsheet would compute behind a quote."""
    lines: list[str] = []
    ends = SimpleNamespace(
        write=lambda line: lines.append(f"{line[:-2]}\n")
    )  # a cell with \r is quoted where \r\n ends lines
    csv.writer(ends).writerows([as_text(cell) for cell in row] for row in rows)
    return "".join(lines)


def csv_rows(text: str, where: object, separator: str = ",") -> list[list[str]]:
    """The cells of every line of a text that is not empty; ValueError, of `where`, for one that is not CSV."""
    try:
        return [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except csv.Error as error:
        raise ValueError(f"{where}: is not CSV ({error})") from None


def names_of(text: str) -> list[str]:
    """The names in a text such as A,B; one with a comma stands in quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def numbers_of(text: str, where: str) -> tuple[float, ...]:
    """The finite numbers in a text such as 0,.25,1; ValueError, of `where`, for anything else."""
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where} {text!r}: must be numbers with commas between them, such as 0,.25,.75,1")
    return numbers


def as_text(cell: object) -> object:
    """The cell, `'` before text that is a formula to a spreadsheet."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip("'").startswith(FORMULA) else cell


def of_text(cell: str) -> str:
    """What `as_text` was given."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(FORMULA) else cell


def printable(text: str) -> str:
    """The text with what would steer a terminal written out: all control characters but line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if _steers(c) else c for c in text)


def in_line(name: str) -> str:
    """The same of a name within a line: line ends and tabs are written out, too, and of a long one the end is left out."""
    more = " ..." if len(name) > NAME else ""
    return printable(name[:NAME]).replace("\n", "\\n").replace("\t", "\\t") + more


def _steers(c: str) -> bool:
    """Whether a character is a control character, half a surrogate pair, or turns the direction of text."""
    kind = unicodedata.category(c)
    return kind == "Cs" or (kind == "Cc" and c not in "\n\t") or unicodedata.bidirectional(c) in TURNING
