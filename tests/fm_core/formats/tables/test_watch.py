"""Counts of what cells hold that the schema's data did not, against counting cell by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.watch import ColumnCounts

COLUMNS = (
    Column("user", "categorical", categories=("ann", "bob"), unseen="feature", gaps=True),
    Column("genres", "categorical", categories=("crime", "drama"), separator="|"),
    Column("city", "hashed", buckets=5),
    Column("age", "binned", edges=(30.0,), low=18.0, high=90.0, gaps=True),
    Column("size", "scaled", center=0.0, scale=1.0, low=-1.0, high=1.0, gaps=True),
    Column("day", "date", form="iso", parts=(), edges=(10.0,), low=0.0, high=20.0, gaps=True),
    Column("year", "numeric"),
)
NAMES = [column.name for column in COLUMNS]
RANGES = {"year": (1980.0, 2020.0)}

CELLS = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["ann", "bob", "eve", ""]),
        "genres": st.lists(st.sampled_from(["crime", "drama", "scifi"]), max_size=3).map("|".join),
        "city": st.sampled_from(["oslo", "rome", ""]),
        "age": st.sampled_from(["17", "18", "90", "91", ""]),
        "size": st.sampled_from(["-1", "0", "1.5", ""]),
        "day": st.sampled_from(["1970-01-01", "1970-01-21", "1970-02-21", "1969-12-31", ""]),
        "year": st.sampled_from(["1979", "1980", "2021", "2000"]),
    }
)

OUTSIDE = {
    "age": ("17", "91"), "size": ("1.5",), "day": ("1970-02-21", "1969-12-31"), "year": ("1979", "2021"),
}  # fmt: skip
KNOWN = {"user": ("ann", "bob"), "genres": ("crime", "drama")}


def slow(rows):
    found = {}
    for name in NAMES:
        cells = [row[name] for row in rows]
        values = [item for cell in cells for item in (cell.split("|") if name == "genres" else [cell])]
        there = [value for value in values if value]
        found[name] = [
            len(values),
            len(values) - len(there),
            sum(value not in KNOWN[name] for value in there) if name in KNOWN else 0,
            sum(value in OUTSIDE.get(name, ()) for value in there),
        ]
    return found


@given(st.lists(CELLS, min_size=1, max_size=20))
def test_cells_are_counted_whichever_way_they_come(rows):
    for decode in (as_json, as_csv):
        counts = np.zeros((len(NAMES), 4), np.int64)
        encoder = Encoder(TableSchema(COLUMNS), unseen="ignore", labels="none")
        encoder.watched_by(ColumnCounts(NAMES, counts, RANGES))
        decode(rows, encoder)
        assert dict(zip(NAMES, counts.tolist(), strict=True)) == slow(rows), decode


def as_json(rows, encoder):
    decode_named([{"columns": row} for row in rows], encoder)


def as_csv(rows, encoder):
    text = "\n".join([",".join(NAMES), *(",".join(row[name] for name in NAMES) for row in rows)]) + "\n"
    assert sum(batch.n_rows for batch in decode_named_csv(text.encode(), encoder, header=True)) == len(rows)


def test_dense_rows_are_counted_and_columns_beyond_the_watched_ones_are_not():
    schema = TableSchema((Column("a", "numeric"), Column("b", "numeric")), is_dense=True)
    counts = np.zeros((1, 4), np.int64)
    encoder = Encoder(schema, labels="none")
    encoder.watched_by(ColumnCounts(["b"], counts, {"b": (0.0, 1.0)}))
    [batch] = decode_named_csv(b"a,b\n5,0\n5,2\n5,-1\n", encoder, header=True)
    assert batch.is_dense
    assert counts.tolist() == [[3, 0, 0, 2]]


def test_what_is_refused_is_counted_too():
    schema = TableSchema((Column("user", "categorical", categories=("ann",)),))
    counts = np.zeros((1, 4), np.int64)
    encoder = Encoder(schema, labels="none")
    encoder.watched_by(ColumnCounts(["user"], counts, {}))
    with pytest.raises(DataError, match="was not seen"):
        decode_named([{"columns": {"user": "eve"}}], encoder)
    assert counts.tolist() == [[1, 0, 1, 0]]
