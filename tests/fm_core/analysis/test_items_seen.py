"""Items of rows as a table: the catalogue made of it has the rows' own features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.catalogue import Catalogue
from fm_core.analysis.items_seen import ItemsSeen
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.array_table import TextTable
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema

FILMS = Column("film", "categorical", ("a", "b", "c", "d"))
SCHEMA = TableSchema(
    (
        Column("user", "categorical", ("u", "v")),
        FILMS,
        Column("genres", "categorical", ("crime", "drama", "war"), separator="|", unseen="feature", gaps=True),
        Column("year", "numeric"),
        Column("cast", "categorical", ("x", "y"), separator="|", weights=":"),
    )
)
PARTS = [range(2, 6), range(6, 11), range(11, 12), range(12, 14)]

ITEM = st.tuples(
    st.sampled_from(["", "crime", "drama|war", "noir", "war|noir"]),
    st.sampled_from(["1999", "0", "0.1", "-2.5"]),
    st.sampled_from(["x:1", "x:0.5|y:2", "y:0.25"]),
)


@given(items=st.dictionaries(st.sampled_from("abcd"), ITEM, min_size=1), order=st.randoms(use_true_random=False))
def test_a_catalogue_of_rows_has_their_features(items, order):
    seen = list(items) * 2
    order.shuffle(seen)
    cells = {"user": ["u"] * len(seen), "film": seen} | {
        name: [items[film][i] for film in seen] for i, name in enumerate(("genres", "year", "cast"))
    }
    encoder = Encoder(SCHEMA, labels="none")
    batch = encoder.encode(TextTable("t", cells), sparse=True)
    found = ItemsSeen(PARTS, SCHEMA.feature_dim)
    found.update(batch)
    catalogue = Catalogue.read([found.table(SCHEMA)], encoder, SCHEMA.feature_dim)
    assert [catalogue.ids.text(i) for i in range(len(catalogue))] == sorted(items)
    for number, film in enumerate(sorted(items)):
        row = batch.take(np.array([seen.index(film)]))
        keys, values = row.csr[1:]
        of_item = keys >= 2
        mine = catalogue.rows.take(np.array([number]))
        assert mine.csr[1].tolist() == keys[of_item].tolist()
        np.testing.assert_array_equal(mine.csr[2], values[of_item])


def rows_of(*rows):
    keys = np.array([key for row in rows for key in row], np.int32)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Batch(SCHEMA.feature_dim, np.ones(len(keys), np.float32), indptr, keys)


def test_the_first_row_of_an_item_counts():
    seen = ItemsSeen(PARTS, SCHEMA.feature_dim)
    seen.update(rows_of([0, 3, 6], [1], [1, 3, 7], [0, 2]))
    assert seen.ids.tolist() == [0, 1]
    assert seen.rows.csr[1].tolist() == [2, 3, 6]


@pytest.mark.parametrize(
    ("parts", "column", "error", "sentence"),
    [
        ([range(2, 5)], None, ConfigError, "2:5, which are not whole columns"),
        ([range(6, 11)], None, ConfigError, "column 'genres' has no ids of items"),
        ([range(2, 6)], Column("film", "hashed", buckets=4), ConfigError, "column 'film' is hashed"),
        ([range(2)], None, DataError, "no record has a feature of 0:2"),
    ],
)
def test_what_no_table_can_be_made_of_is_said(parts, column, error, sentence):
    seen = ItemsSeen(parts, SCHEMA.feature_dim)
    seen.update(rows_of([3, 6, 11]))
    schema = SCHEMA if column is None else TableSchema((SCHEMA.columns[0], column, *SCHEMA.columns[2:]))
    with pytest.raises(error, match=sentence):
        seen.table(schema)
