"""A report's facts about columns, by name: which determine the label, what training has not seen, what matters.

They are computed from some thousand rows at even distances, so they cost little.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fm_core.analysis.baseline import RowSample
from fm_core.analysis.importance import column_importances, few_rows, pair_importances
from fm_core.analysis.leaks import columns_that_tell
from fm_core.batch import Batch
from fm_core.formats.tables.schema import TableSchema
from fm_core.model import Model
from fm_core.report.history import Mapped, TrainingRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["tell_of_columns"]

#: Columns all of whose pairs are looked at, and beyond which none is: a report of so many says nothing.
_PAIRED, _MOST_COLUMNS = 25, 2_000
#: Rows that a value needs for its effect to be told.
_FEWEST = 10
#: Columns on the map, and values of each.
_MAPPED, _VALUES = 4, 40


def tell_of_columns(
    record: TrainingRecord, model: Model, schema: TableSchema, learned: Iterable[Batch], held_out: Iterable[Batch]
) -> None:
    """Tell a record which columns leak the label, and which ones matter.

    Parameters
    ----------
    record : TrainingRecord
        It gets both.
    model : Model
    schema : TableSchema
        Of the model's features.
    learned, held_out : iterable of Batch
        The rows that were trained on, and those that were held out. Dense ones are left alone.
    """
    both = [_some(learned), _some(held_out)]
    learned_from, tried = (None if rows is None or rows.is_dense else rows for rows in both)
    if learned_from is None:
        return
    if tried is not None:
        _leaks(record, model, schema, learned_from, tried)
    if len(schema.columns) <= _MOST_COLUMNS:
        _importances(record, model, schema, few_rows(learned_from))


def _some(rows: Iterable[Batch]) -> Batch | None:
    sample = RowSample(20_000, 16 << 20)
    for batch in rows:
        sample.add(batch)
    return Batch.concatenate(list(sample.batches())) if len(sample) else None


def _leaks(record: TrainingRecord, model: Model, schema: TableSchema, learned: Batch, tried: Batch) -> None:
    offsets = np.array(schema.offsets)
    telling = columns_that_tell(learned, tried, offsets, is_classifier=model.is_classifier)
    record.telling = [schema.columns[i].name for i in telling]
    occurring = np.bincount(tried.csr[1], minlength=schema.feature_dim)
    for column, first in zip(schema.columns, schema.offsets, strict=True):
        of_column = occurring[first : first + column.n_features]
        if column.unseen == "feature":
            rare = int(of_column[column.n_features - 1 - column.gaps])
            record.unseen[column.name] = rare / max(1, int(of_column.sum()))
        elif column.unseen == "ignore" and column.separator is None:
            record.unseen[column.name] = 1 - int(of_column.sum()) / tried.n_rows


def _importances(record: TrainingRecord, model: Model, schema: TableSchema, rows: Batch) -> None:
    names, offsets = [column.name for column in schema.columns], np.array(schema.offsets)
    record.importance_unit = "the logarithm of the odds" if model.is_classifier else "the label's unit"
    found = column_importances(model, rows, offsets)
    order = np.argsort(-found, kind="stable")
    if not np.isfinite(found).all():
        return
    record.importances = [(names[i], float(found[i])) for i in order.tolist()]
    record.pairs = [
        (f"{names[pair.columns[0]]} x {names[pair.columns[1]]}", pair.importance)
        for pair in pair_importances(model, rows, offsets, order[:_PAIRED])
        if pair.importance > 0
    ]
    count = np.bincount(rows.csr[1], minlength=schema.feature_dim)
    record.effects = _effects(model, schema, rows, count)
    record.embedding = _embedding(model, schema, count, order[:_MAPPED])


def _effects(model: Model, schema: TableSchema, rows: Batch, count: "NDArray[np.int64]") -> list[tuple[str, float]]:
    scores = Model("regressor", model.w0, model.w, model.V).predict(rows).astype(np.float64)
    indptr, indices, _ = rows.csr
    of_entries = np.repeat(scores - scores.mean(), np.diff(indptr))
    total = np.bincount(indices, of_entries, schema.feature_dim)
    there = np.flatnonzero(count >= _FEWEST)
    effect = total[there] / count[there]
    order = np.argsort(-np.abs(effect) * np.sqrt(count[there]), kind="stable")[:100]
    return [(schema.feature_name(int(there[i])), float(effect[i])) for i in order.tolist()]


def _embedding(
    model: Model, schema: TableSchema, count: "NDArray[np.int64]", columns: "NDArray[np.int64]"
) -> list[Mapped]:
    chosen, of = [], []
    for i in columns.tolist():
        column, first = schema.columns[i], schema.offsets[i]
        of_column = np.arange(first, first + column.n_features)
        of_column = of_column[count[of_column] >= _FEWEST]
        if len(of_column) < 3:
            continue
        matters = np.sqrt(count[of_column]) * np.linalg.norm(model.V[of_column], axis=1)
        of_column = of_column[np.argsort(-matters, kind="stable")[:_VALUES]]
        chosen += of_column.tolist()
        of += [column.name] * len(of_column)
    if len(chosen) < 3:
        return []
    V = model.V[chosen].astype(np.float64)
    V -= V.mean(axis=0)
    if not V.any():
        return []
    _, _, directions = np.linalg.svd(V, full_matrices=False)
    at = V @ directions[:2].T
    if at.shape[1] < 2:
        at = np.column_stack([at[:, 0], np.zeros(len(at))])
    return [
        Mapped(schema.feature_name(feature), name, float(x), float(y))
        for feature, name, (x, y) in zip(chosen, of, at.tolist(), strict=True)
    ]
