"""The lines of `fm convert` about each column: name, kind, features, an example, and anything unusual."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fm_core.printable import printable

if TYPE_CHECKING:
    from fm_core.formats.tables.schema import TableSchema

__all__ = ["understood"]

#: Columns that are told of: the first ones, and as many further ones with remarks.
_MOST_COLUMNS = 60


def understood(schema: "TableSchema") -> Iterator[str]:
    """Give a line for each column, and one for each remark."""
    rows: list[tuple[str, str, str, str, tuple[str, ...]]] = []
    for column in schema.columns:
        n = column.n_features
        example = "" if column.example is None else f"such as {printable(column.example, 40)}"
        words = column.of_kind.words(column)
        told_of = ": ".join(filter(None, [column.kind, words])) if schema.needs_version_2 else column.kind
        rows.append((column.name, told_of, f"{n} feature{'s' * (n != 1)}", example, column.remarks))
    told = [row for i, row in enumerate(rows) if i < _MOST_COLUMNS or row[4]][: 2 * _MOST_COLUMNS]
    n_more = len(rows) - len(told)
    if schema.label is not None:
        classes = f"label: {' is 0, '.join(schema.label_classes)} is 1" if schema.label_classes else "label"
        told.append((schema.label, classes, "", "", schema.label_remarks))
    cells = [[printable(cell, most) for cell, most in zip(row[:3], (40, 80, 40), strict=True)] for row in told]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row, shown in zip(told, cells, strict=True):
        yield "  ".join(["", *map(str.ljust, shown, widths), row[3]]).rstrip()
        for remark in row[4]:
            yield f"      {printable(remark, 200)}"
    if n_more:
        yield f"  and {n_more} more columns; see the schema"
    for left_out in schema.left_out[:_MOST_COLUMNS]:
        yield printable(f"  left out: {left_out}", 200)
