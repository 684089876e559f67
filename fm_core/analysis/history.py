"""Rows of labels in named columns, folded in: the parameters of the user or item that they belong to (fold_in.py).

Both the endpoint's requests and `fm fold-in` use this, so they get the same numbers. `grown` adds the result to a model
and its schema: a new id becomes one more category, and the features of later columns move up.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.analysis.fold_in import Folded, Population, fold_in
from fm_core.analysis.ranking import contexts_of
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables.values import text_of
from fm_core.model import Model
from fm_core.printable import begun

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.analysis.catalogue import Catalogue
    from fm_core.formats.tables.encoder import Encoder
    from fm_core.formats.tables.schema import TableSchema

__all__ = ["History", "columns_of_ids", "grown", "is_id", "side_by_side"]


def is_id(value: Any) -> bool:
    """Return whether a JSON value can be an id.

    Parameters
    ----------
    value : any
        A value as a JSON parser returns it.

    Returns
    -------
    is_id : bool
        True for texts and numbers, except NaN.
    """
    return isinstance(value, str | int | float) and value == value  # NaN is none


def columns_of_ids(schema: "TableSchema") -> dict[str, range]:
    """Return the columns that have one id in a cell, with their features.

    Parameters
    ----------
    schema : TableSchema

    Returns
    -------
    columns : dict of str to range
        The range of features of each column, by its name.
    """
    return {
        column.name: range(first, first + n)
        for column, first in zip(schema.columns, schema.offsets, strict=True)
        if column.of_kind.has_texts and column.separator is None
        if (n := len(column.categories) or column.buckets)
    }


class History:
    """Folds in rows of labels.

    Parameters
    ----------
    model : Model
    encoder : Encoder
        By the model's schema.
    catalogue : Catalogue, optional
        Of an item that it has, the id is enough.
    """

    def __init__(self, model: Model, encoder: "Encoder", catalogue: "Catalogue | None" = None) -> None:
        self._model = model
        self._encoder = encoder
        self._catalogue = catalogue
        self._populations: dict[str, Population] = {}
        self.columns = columns_of_ids(encoder.schema)

    def fold(self, column: str, history: Sequence[Mapping[str, Any]], where: str) -> "tuple[Folded, NDArray[np.int64]]":
        """Find the parameters of the user, or the item, whose rows these are.

        Parameters
        ----------
        column : str
            Of `columns`, which the rows do not have.
        history : sequence of mapping
            Each row's columns, and its label.
        where : str
            What they are called in messages.

        Returns
        -------
        feature : Folded
        items : ndarray of int64
            Those of the catalogue that are in the rows.

        Raises
        ------
        DataError
            A row is not as the schema expects.
        """
        labels, others, positions = [], [], []
        label_name = self._encoder.schema.label
        for number, row in enumerate(history):
            cells = dict(row)
            label = cells.pop("label", cells.pop(label_name, None) if label_name is not None else None)
            if not isinstance(label, int | float):
                raise DataError(f"{where} {number}: the label is {begun(label)}, expected a number")
            labels.append(float(label))
            if column in cells:
                raise DataError(
                    f"{where} {number} has column {column!r}, the user's own column, expected only the other columns"
                )
            position = self._position(cells)
            positions.append(position)
            if position >= 0 and self._catalogue is not None:  # what the item is, the catalogue knows
                cells = {name: cell for name, cell in cells.items() if name not in self._catalogue.columns}
            others.append({"columns": cells})
        rows = decode_named(others, self._encoder, what=where, partial=True)
        of_items = np.array(positions, np.int64)
        if self._catalogue is not None:
            rows = side_by_side(rows, self._catalogue.rows, of_items)
        if column not in self._populations:
            self._populations[column] = Population.of(self._model, self.columns[column])
        try:
            contexts = contexts_of(self._model, rows)
            feature = fold_in(
                self._populations[column], contexts, np.array(labels), is_classifier=self._model.is_classifier
            )
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        return feature, of_items[of_items >= 0]

    def _position(self, cells: Mapping[str, Any]) -> int:
        if self._catalogue is None:
            return -1
        item = cells.get(self._catalogue.ids.name)
        found = self._catalogue.positions([text_of(item)]).tolist() if is_id(item) else []
        return found[0] if found else -1


def side_by_side(left: Batch, right: Batch, rows: "NDArray[np.int64]") -> Batch:
    """Join each row of one batch with a row of another.

    Parameters
    ----------
    left, right : Batch
        Sparse, of one width. No feature is in both.
    rows : ndarray of int64, shape (left.n_rows,)
        For each row of `left`, the row of `right` whose features it gets; -1: none.

    Returns
    -------
    joined : Batch
        Without labels; `left.n_rows` rows.
    """
    left_indptr, left_indices, left_values = left.csr
    there = np.flatnonzero(rows >= 0)
    added_indptr, added_indices, added_values = right.take(rows[there]).csr
    of_row = np.concatenate(
        [np.repeat(np.arange(left.n_rows), np.diff(left_indptr)), np.repeat(there, np.diff(added_indptr))]
    )
    indices = np.concatenate([left_indices, added_indices])
    values = np.concatenate([left_values, added_values])
    order = np.lexsort([indices, of_row])
    indptr = np.zeros(left.n_rows + 1, np.int64)
    np.cumsum(np.bincount(of_row, minlength=left.n_rows), out=indptr[1:])
    return Batch.trusted(left.feature_dim, values[order], indptr, indices[order])


def grown(model: Model, schema: "TableSchema", column: str, found: Mapping[str, Folded]) -> "tuple[Model, TableSchema]":
    """Return the model and the schema that know new ids.

    Parameters
    ----------
    model : Model
    schema : TableSchema
    column : str
        A categorical column, of which the ids are new categories.
    found : mapping of str to Folded
        By id.

    Returns
    -------
    model, schema : tuple
        New objects; the old ones stay unchanged.

    Raises
    ------
    ConfigError
        The column is no categorical one with one id in a cell, or an id is known already.
    """
    names = [each.name for each in schema.columns]
    known = [each.name for each in schema.columns if each.kind == "categorical" and each.separator is None]
    if column not in known:
        raise ConfigError(f"{column[:40]!r} is not a column of categories, expected {' or '.join(known[:20])}")
    place = names.index(column)
    before = schema.columns[place]
    twice = next((name for name in found if name in before.categories), None)
    if twice is not None:
        raise ConfigError(f"column {column[:40]!r} has {twice[:40]!r} already, expected new ids")
    columns = list(schema.columns)
    columns[place] = dataclasses.replace(before, categories=(*before.categories, *found))
    at = schema.offsets[place] + len(before.categories)
    added_v = np.array([each.v for each in found.values()], np.float32).reshape(len(found), model.num_factors)
    added_w = np.array([each.w for each in found.values()], np.float32)
    V = np.concatenate([model.V[:at], added_v, model.V[at:]])
    w = np.concatenate([model.w[:at], added_w, model.w[at:]])
    whole = Model(model.predictor_type, model.w0, w, V, model.score_range)
    return whole, dataclasses.replace(schema, columns=tuple(columns))
