"""Cells with feature ids as rows: ``7``, or ``7:1 19:0.5`` as in libsvm, for items of models without a schema."""

import math

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.canonical import sparse_batch
from fm_core.formats.tables.table import Table, where

__all__ = ["FEATURES", "number_in", "rows_of_ids"]

#: The column of feature ids.
FEATURES = "features"

_LARGEST = float(np.finfo(np.float32).max)


def number_in(text: str) -> float:
    """Read a number from a text.

    Parameters
    ----------
    text : str

    Returns
    -------
    number : float
        NaN if the text is not a number.
    """
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan


def rows_of_ids(table: Table, feature_dim: int) -> Batch:
    """Make rows of a table's column `features`.

    Parameters
    ----------
    table : Table
    feature_dim : int

    Returns
    -------
    rows : Batch

    Raises
    ------
    DataError
        A cell holds no features, or one that the model does not have.
    """
    place = table.names.index(FEATURES)
    codes, texts = table.codes(place)

    def refuse(code: int) -> None:
        row = int(np.argmax(codes == code))
        found = "the cell is empty" if code < 0 else f"found {texts[code][:40]!r}"
        raise DataError(
            f"{where(table, row, place)}: {found}, expected feature ids below feature_dim={feature_dim}, "
            "such as 7 or 7:0.5 19"
        )

    if (codes < 0).any():
        refuse(-1)
    entries = [_entries(text) for text in texts]
    for code, of_text in enumerate(entries):
        if not of_text or any(key >= feature_dim for key, _ in of_text):
            refuse(code)
    of_rows = [entries[code] for code in codes.tolist()]
    indptr = np.zeros(len(of_rows) + 1, np.int64)
    np.cumsum([len(of_row) for of_row in of_rows], out=indptr[1:])
    keys = np.array([key for of_row in of_rows for key, _ in of_row], np.int32)
    values = np.array([value for of_row in of_rows for _, value in of_row], np.float32)
    return sparse_batch(feature_dim, indptr, keys, values, ascending=False)


def _entries(text: str) -> list[tuple[int, float]]:
    """Return the keys and values of a text; none, if it is no such text."""
    found = []
    for pair in text.split():
        key, colon, value = pair.partition(":")
        number = number_in(value) if colon else 1.0
        if not (key.isascii() and key.isdecimal() and len(key) <= 10) or not abs(number) <= _LARGEST:
            return []
        found.append((int(key), number))
    return found
