"""Rows of named columns from a client, in JSON instances or CSV, converted to batches by a schema.

`Encoder` decides what a column means, as for the files of `fm convert`. This module only handles the
layout of cells, and the error messages, which name an instance or a line.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.streams import pieces_of
from fm_core.formats.tables.array_table import ArrayTable, PythonCells
from fm_core.formats.tables.delimited import CellTable, header_of, rest_of
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column
from fm_core.formats.tables.table import check_names
from fm_core.formats.text.parse import cell_blocks
from fm_core.printable import begun, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_named", "decode_named_csv"]

#: Columns times rows that instances whose columns may be missing can have: a bound of memory.
_MOST_CELLS = 4_000_000

_MISSING = object()


def decode_named(
    instances: list[Any], encoder: Encoder, *, what: str = "instance", first: int = 0, partial: bool = False
) -> Batch:
    """Make a sparse batch of instances ``{"columns": {"user": "ann", "year": 1979, "genres": ["crime", "drama"]}}``.

    What a value is, as a number or as a text, tables/values.py says; null is an
    empty cell; a column of several ids takes a list of them, or a text with its separator.
    Columns that the schema does not have are ignored.

    Parameters
    ----------
    instances : list
    encoder : Encoder
    what : str
        What an element is called in messages.
    first : int
        The number of the first one in messages.
    partial : bool
        Whether columns may be missing, which are no features then; columns that the schema
        does not have are refused instead.

    Returns
    -------
    batch : Batch
        One row for each instance.

    Raises
    ------
    DataError
        An instance is of another shape, lacks a column, or has a cell that its column does
        not take; the message names the instance and the column.
    """
    known = {column.name: column for column in encoder.schema.columns}
    used = list(known)
    cells = [_columns_of(instance, f"{what} {row}") for row, instance in enumerate(instances, first)]
    if partial:
        found = {name: row for row, of_row in reversed(list(enumerate(cells))) for name in of_row}
        for name, row in found.items():
            if name not in known and name not in (encoder.schema.label, encoder.schema.weight):
                raise DataError(f"{what} {first + row}: {_no_such(name, list(known))}")
        used = [name for name in known if name in found]
        if len(used) * len(cells) > _MOST_CELLS:
            raise DataError(
                f"there are {len(used)} columns of {len(cells)} {what}s, more than {_MOST_CELLS} cells: "
                "send fewer of them at once"
            )
    given = {name: [of_row.get(name, _MISSING) for of_row in cells] for name in used}
    absent = {}
    if partial:  # a column that is not there is no feature, not even that of a missing cell
        marked = {name: np.array([cell is _MISSING for cell in of_name], bool) for name, of_name in given.items()}
        absent = {name: rows for name, rows in marked.items() if rows.any()}
    columns = [_cells(known[name], of_name, partial, what, first) for name, of_name in given.items()]
    table = _Instances(what, first, used, columns, len(cells), absent)
    return encoder.encode(table, sparse=True, partial=partial)


def _columns_of(instance: Any, where: str) -> dict[str, Any]:
    columns = instance.get("columns") if isinstance(instance, dict) else None
    if not isinstance(columns, dict):
        raise DataError(
            f'{where} has no object "columns", expected {{"columns": {{"name": value}}}} in every instance if in any'
        )
    return columns


def _no_such(name: str, known: list[str]) -> str:
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"column {name[:40]!r} is not in the schema, expected some of: {shown}"


class _Instances(ArrayTable):
    """Instances as a table, whose rows are called what the client calls them."""

    def __init__(
        self, what: str, first: int, names: list[str], columns: list[Any], n_rows: int,
        absent: "dict[str, NDArray[np.bool_]]",
    ) -> None:  # fmt: skip
        super().__init__("", names, columns, n_rows)
        self.absent = absent
        self._what = what
        self._first = first

    def place(self, row: int) -> str:
        return f"{self._what} {self._first + row}"


def _cells(column: Column, cells: list[Any], partial: bool, what: str, first: int) -> PythonCells:
    """See the values that a JSON parser gives for one column as cells."""
    for row, cell in enumerate(cells):
        if cell is None or type(cell) in _VALUES:
            if column.separator is not None and type(cell) is str:
                cells[row] = cell.split(column.separator)
        elif cell is _MISSING and partial:
            cells[row] = 0 if column.of_kind.may_be_dense else None
        elif not (type(cell) is list and column.separator is not None and all(type(item) in _ITEMS for item in cell)):
            raise DataError(f"{what} {first + row}, column {column.name!r}: {_refused(column, cell)}")
    return PythonCells(cells)


_VALUES = (str, int, float, bool)
_ITEMS = (*_VALUES, type(None))  # a null among others is left out, as in tables


def _refused(column: Column, cell: Any) -> str:
    if cell is _MISSING:
        return "the column is missing, expected it, or null if it is empty"
    lists = " or a list of them" if column.separator is not None else ""
    return f"found {begun(cell)}, expected a text, a number, true, false or null{lists}"


def decode_named_csv(
    body: Any, encoder: Encoder, *, header: bool | None = None, in_pieces: bool = False
) -> Iterator[Batch] | None:
    """Make batches of CSV whose cells are the schema's columns.

    Parameters
    ----------
    body : bytes-like
    encoder : Encoder
    header : bool, optional
        Whether the first line names the columns, which then may stand in any order and
        have others among them. Without such a line the cells are the schema's columns, in
        its order. None: it does if all of them are found there.
    in_pieces : bool
        Whether the body may be a piece of a file. Later pieces have no header, so that one that is found here may only
        say what holds of them too.

    Returns
    -------
    batches : iterator of Batch, or None
        None: there is no header, and rows have as many cells as there are features, not columns.

    Raises
    ------
    DataError
        The message names line, counted from 1, and column. The batches raise it too.
    """
    names = [column.name for column in encoder.schema.columns]
    blocks = cell_blocks("the body", pieces_of(body))
    first = next(blocks, None)
    if first is None:
        raise DataError("the body holds no line, expected at least one row")
    cells = [first.text(0, column).decode(errors="replace").strip() for column in range(first.n_columns)]
    if header is None:
        header = _is_header(cells, names)
        if header and in_pieces and header_of("", first) != names:
            raise DataError(
                f"line {first.lines[0]} is a header with other columns or another order than the schema, which has "
                f"{', '.join(map(quoted, names[:20]))}{', ...' if len(names) > 20 else ''}: a batch transform may cut "
                "the file, and pieces without this line would be read in the schema's order; write these columns in "
                "this order, or, if each body has its header, send the media type with header=present"
            )
    if header:
        cells = header_of("", first)
    if not header and first.n_columns != len(names):
        if first.n_columns == encoder.schema.feature_dim:
            return None
        raise DataError(
            f"line {first.lines[0]} has {first.n_columns} cells, expected {len(names)}, one for each column of the "
            f"schema: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}; or a header that names them"
        )
    if header:
        check_names(f"line {first.lines[0]}", cells)

    def batches() -> Iterator[Batch]:
        yield encoder.encode(CellTable("", cells if header else names, rest_of(first) if header else first))
        for block in blocks:
            yield encoder.encode(CellTable("", cells if header else names, block))

    return batches()


def _is_header(cells: list[str], names: list[str]) -> bool:
    if all(name.isdecimal() for name in names):  # columns without names; cells like them are numbers
        return False
    there = set(cells)
    missing = [name for name in names if name not in there]
    if not missing or len(missing) == len(names):
        return not missing
    found = next(name for name in names if name in there)
    raise DataError(
        f"the first line names column {found!r} but not {missing[0]!r}, expected all of {len(names)} columns; "
        "if it is a row and no header, send the media type with header=absent"
    )
