"""Text that other programs take: tables as CSV, and lines of a terminal."""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes text that begins so

TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, the heads first, as CSV; numbers unrounded, text that a spreadsheet would compute behind a quote."""
    lines: list[str] = []
    ends = SimpleNamespace(
        write=lambda line: lines.append(f"{line[:-2]}\n")
    )  # a cell with \r is quoted where \r\n ends lines
    csv.writer(ends).writerows([as_text(cell) for cell in row] for row in rows)
    return "".join(lines)


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


def _steers(c: str) -> bool:
    """Whether a character is a control character, half a surrogate pair, or turns the direction of text."""
    kind = unicodedata.category(c)
    return kind == "Cs" or (kind == "Cc" and c not in "\n\t") or unicodedata.bidirectional(c) in TURNING
