"""Rows of named columns become what `fm convert` makes of the same cells."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.streams import pieces_of
from fm_core.formats.tables.delimited import cell_tables
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.learner import TablePlan, make_schema
from fm_core.formats.tables.schema import Column, TableSchema


def from_csv(body, encoder):
    return Batch.concatenate(list(decode_named_csv(body, encoder)))


TEXTS = st.text(st.sampled_from('ab é"\n,'), min_size=1, max_size=4).filter(lambda text: text.strip() == text)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": TEXTS | st.integers(-5, 5),
            "tags": st.lists(st.sampled_from(["x", "y", "zé", "w w"]), max_size=3),
            "bucket": TEXTS,
            "year": st.integers(-3, 3) | st.floats(-1e3, 1e3, width=32),
        }
    ),
    min_size=1,
    max_size=8,
)
PLAN = TablePlan(categorical=["user"], several={"tags": "|"}, hashed={"bucket": 5}, numeric=["year"])


def written(rows, names, header=True):
    file = io.StringIO()
    writer = csv.writer(file)
    if header:
        writer.writerow(names)
    for row in rows:
        writer.writerow(["|".join(cell) if isinstance(cell, list) else cell for cell in map(row.get, names)])
    return file.getvalue().encode()


def dense(batch):
    return batch.to_matrix().toarray().tolist()


@given(ROWS)
def test_instances_and_both_kinds_of_csv_are_encoded_as_a_file_is(rows):
    names = list(rows[0])
    body = written(rows, names)
    tables = list(cell_tables("x", [body], header=True))
    encoder = Encoder(make_schema(tables, PLAN))
    expected = dense(Batch.concatenate([encoder.encode(table) for table in tables]))
    assert dense(decode_named([{"columns": row} for row in rows], encoder)) == expected
    assert dense(from_csv(body, encoder)) == expected
    assert dense(from_csv(written(rows, names[::-1]), encoder)) == expected
    without = from_csv(written(rows, [column.name for column in encoder.schema.columns], header=False), encoder)
    assert dense(without) == expected


@given(ROWS, st.sets(st.sampled_from(["user", "tags", "bucket", "year"])))
def test_the_sides_of_a_ranking_add_up_to_the_whole_row(rows, left):
    tables = list(cell_tables("x", [written(rows, list(rows[0]))], header=True))
    encoder = Encoder(make_schema(tables, PLAN))
    sides = [
        [{"columns": {name: row[name] for name in row if (name in left) is side}} for row in rows]
        for side in (True, False)
    ]
    added = sum(np.array(dense(decode_named(side, encoder, partial=True))) for side in sides)
    assert added.tolist() == dense(decode_named([{"columns": row} for row in rows], encoder))


def test_columns_without_names_go_by_their_order():
    encoder = Encoder(
        TableSchema((Column("1", "numeric"), Column("2", "categorical", ("4", "5"))), label="0"), labels="none"
    )
    assert dense(from_csv(b"7,4\n8,5\n", encoder)) == [[7, 1, 0], [8, 0, 1]]
    assert dense(from_csv(b"1,2\n", Encoder(encoder.schema, unseen="ignore", labels="none"))) == [[1, 0, 0]]
    assert decode_named_csv(b"1,2,3\n", encoder) is None  # as many as features: no columns


def test_numbers_alone_are_dense_in_csv_and_sparse_in_instances():
    encoder = Encoder(TableSchema((Column("a", "numeric"), Column("b", "numeric")), is_dense=True))
    assert from_csv(b"b,a\n1,2\n", encoder).values.tolist() == [[2, 1]]
    batch = decode_named([{"columns": {"a": 0, "b": True}}], encoder)
    assert not batch.is_dense
    assert dense(batch) == [[0, 1]]


def test_a_header_alone_holds_no_rows():
    encoder = Encoder(TableSchema((Column("a", "numeric"), Column("b", "categorical", ("x",)))))
    assert from_csv(b"a,b\n", encoder).n_rows == 0


def test_csv_of_many_pieces_is_one_batch(monkeypatch):
    monkeypatch.setattr("fm_core.formats.requests.named_columns.pieces_of", lambda body: pieces_of(body, 16))
    encoder = Encoder(TableSchema((Column("a", "numeric"), Column("b", "categorical", ("x", "y")))))
    body = b"a,b\n" + b"".join(b"%d,%s\n" % (i, b"xy"[i % 2 : i % 2 + 1]) for i in range(1, 100))
    found = dense(from_csv(body, encoder))
    assert found == [[i, float(i % 2 == 0), float(i % 2 == 1)] for i in range(1, 100)]


def test_a_ranking_cannot_name_more_cells_than_memory_has():
    columns = tuple(Column(f"c{i}", "numeric") for i in range(2500))
    instances = [{"columns": {f"c{i}": 1}} for i in range(2500)]
    with pytest.raises(DataError, match="there are 2500 columns of 2500 candidates, more than 4000000 cells"):
        decode_named(instances, Encoder(TableSchema(columns)), what="candidate", partial=True)
