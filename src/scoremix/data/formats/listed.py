"""Images named with their classes by a table: path,label in CSV or TSV, and imagefolder's metadata.csv or .jsonl."""

from collections.abc import Iterator
from pathlib import Path

from scoremix.data.formats.folders import Files
from scoremix.data.layout import part_of
from scoremix.data.source import DEFAULTS, Opening
from scoremix.data.tables import IMAGES, LABELS, cell, classes_of, column, read_table, splits_of

TABLES = (".csv", ".tsv", ".jsonl")
PARTS = ("split", "part", "subset", "partition", "set")


def tables_at(place: Path) -> list[Path]:
    """The table at a place, or the metadata tables of a folder or of the parts of a split in it."""
    if place.is_file():
        return [place] if place.suffix.lower() in TABLES else []
    tables = [path for kind in ("csv", "jsonl") for path in sorted(place.glob(f"metadata.{kind}"))]
    inner = [path for kind in ("csv", "jsonl") for path in sorted(place.glob(f"*/metadata.{kind}"))]
    return tables[:1] or [path for path in inner if part_of(path.parent.name)]


class Listed(Files):
    """A column of paths, from the table's folder, and one of classes; a column `split` is the split."""

    kind = "list"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers, self.tables, hints = place, opening.workers, tables_at(place), opening.hints
        self.paths: list[Path] = []
        labels: list[str] = []
        parts: list[str] = []
        for table in self.tables:
            rows = read_table(table)
            if not rows:
                raise ValueError(f"{table} names no images")
            columns = list(rows[0])
            images = column(columns, hints.image_column, IMAGES, "--image-column", str(table))
            label = column(columns, hints.label_column, LABELS, "--label-column", str(table))
            of = next((name for name in columns if name.lower() in PARTS), None)
            for i, row in enumerate(rows, 1):
                where = f"{table}, row {i}"
                self.paths.append(table.parent / cell(row, images, where))
                labels.append(cell(row, label, where))
                parts.append(cell(row, of, where) if of else table.parent.name)
        self.class_names, classes = classes_of(labels, str(place))
        self.number(classes)
        if len(set(parts)) > 1:
            self.splits, self.notes = splits_of(parts, classes, str(place))

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        tables = tables_at(place)
        if not tables or place.is_file():
            return bool(tables)
        rows = read_table(tables[0])  # metadata may say other things, of classes that are folders
        return bool(rows) and bool({name.lower() for name in rows[0]} & set(LABELS))

    def files(self) -> Iterator[tuple[str, Path]]:
        yield from ((f"table {i}", table) for i, table in enumerate(self.tables))
        yield from ((self.name(path), path) for k in range(len(self.counts)) for path in self.items(k))

    def items(self, k: int) -> list[Path]:
        return [self.paths[i] for i in self.rows.of(k)]

    def name(self, item: Path) -> str:
        root = self.tables[0].parent
        return item.relative_to(root).as_posix() if item.is_relative_to(root) else str(item)
