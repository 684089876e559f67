"""Catalogues: what is read, what is refused, which items a filter leaves."""

import numpy as np
import pytest

from fm_core.analysis.catalogue import Catalogue
from fm_core.errors import DataError
from fm_core.formats.registry.inputs import read_tables
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema

SCHEMA = TableSchema(
    (
        Column("user", "categorical", ("ann", "bob")),
        Column("film", "categorical", ("Alien", "Brazil", "Casablanca", "Dune")),
        Column("year", "numeric"),
        Column("genres", "categorical", ("sf", "drama"), separator="|"),
    ),
    label="rating",
)
ITEMS = """film,year,genres,title,price,stock
Brazil,1985,sf|drama,"Brazil, a film",7.5,true
Alien,1979,sf,Alien,3,false
Casablanca,1942, drama ,"She said ""Play it""
again",,true
Dune,1984,,Dune,12,
"""


def read(tmp_path, text=ITEMS, *, encoder=None, name="items.csv", feature_dim=SCHEMA.feature_dim, **options):
    (tmp_path / name).write_text(text)
    encoder = encoder or Encoder(SCHEMA, labels="none")
    return Catalogue.read(read_tables([tmp_path / name]), encoder, feature_dim, **options)


def rows(catalogue):
    batch = catalogue.rows
    return [
        dict(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True))
        for a, b in zip(batch.indptr[:-1], batch.indptr[1:], strict=True)
    ]


def test_columns_of_the_schema_are_features_and_all_are_known(tmp_path):
    catalogue = read(tmp_path)
    assert rows(catalogue) == [
        {3: 1, 6: 1985, 7: 1, 8: 1},
        {2: 1, 6: 1979, 7: 1},
        {4: 1, 6: 1942, 8: 1},
        {5: 1, 6: 1984},
    ]
    assert catalogue.ids.name == "film"
    assert catalogue.document(0) == {
        "film": "Brazil", "year": 1985, "genres": ["sf", "drama"], "title": "Brazil, a film", "price": 7.5,
        "stock": "true",
    }  # fmt: skip
    assert catalogue.document(2)["price"] is None
    assert catalogue.document(2)["title"] == 'She said "Play it"\nagain'
    assert catalogue.document(3)["genres"] == []


def test_a_catalogue_that_was_written_reads_the_same(tmp_path):
    catalogue = read(tmp_path)
    catalogue.save(tmp_path / "catalogue.csv")
    again = Catalogue.read(
        read_tables([tmp_path / "catalogue.csv"]), Encoder(SCHEMA, labels="none"), SCHEMA.feature_dim
    )
    assert [again.document(i) for i in range(4)] == [catalogue.document(i) for i in range(4)]
    assert rows(again) == rows(catalogue)
    again.save(tmp_path / "twice.csv")
    assert (tmp_path / "twice.csv").read_bytes() == (tmp_path / "catalogue.csv").read_bytes()


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({}, [0, 1, 2, 3]),
        ({"genres": "sf"}, [0, 1]),
        ({"genres": ["sf", "drama"]}, [0, 1, 2]),
        ({"genres": None}, [3]),
        ({"genres": [None, "drama"]}, [0, 2, 3]),
        ({"genres": "horror"}, []),
        ({"film": ["Dune", "Alien", "Metropolis"]}, [1, 3]),
        ({"year": {"min": 1979, "max": 1984}}, [1, 3]),
        ({"year": {"min": 1985}}, [0]),
        ({"price": {"max": 1e9}}, [0, 1, 3]),
        ({"price": 7.5}, [0]),
        ({"price": "12"}, [3]),
        ({"price": None}, [2]),
        ({"year": 1979.0}, [1]),
        ({"stock": True}, [0, 2]),
        ({"stock": True, "genres": "sf"}, [0]),
    ],
)
def test_a_filter_leaves_the_items_of_which_it_holds(tmp_path, wanted, left):
    assert np.flatnonzero(read(tmp_path).allowed(wanted)).tolist() == left


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"colour": "red"}, "filter 'colour' is not a column of the catalogue, expected some of: film, year"),
        ({"genres": {"min": 3}}, "filter 'genres' has bounds, but not all"),
        ({"year": {"from": 3}}, r'filter \'year\' is .*, expected \{"min": number'),
        ({"year": {"min": "old"}}, "filter 'year' is"),
        ({"year": {}}, "filter 'year' is"),
        ({"year": {"min": True}}, "filter 'year' is"),
        ({"film": [["Alien"]]}, "filter 'film' is .*, expected a text"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(tmp_path, wanted, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path).allowed(wanted)


def test_items_are_found_by_their_ids(tmp_path):
    assert read(tmp_path).positions(["Dune", "Metropolis", "", "Brazil"]).tolist() == [3, 0]


def test_training_data_holds_each_item_many_times(tmp_path):
    text = "user,film,rating\nann,Alien,1\nbob,Dune,2\nann,Alien,3\nzoe,Brazil,4\nann,Dune,1\n"
    catalogue = read(tmp_path, text, item="film", columns=[], distinct=True)
    assert [catalogue.document(i) for i in range(3)] == [{"film": "Alien"}, {"film": "Dune"}, {"film": "Brazil"}]
    assert rows(catalogue) == [{2: 1}, {5: 1}, {3: 1}]


def test_an_item_in_two_parts_of_the_data_is_one(tmp_path):
    (tmp_path / "a.csv").write_text("user,film\n" + "ann,Alien\nann,Dune\n" * 20)
    (tmp_path / "b.csv").write_text("user,film\nann,Dune\nann,Brazil\nann,Alien\n")
    tables = read_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    catalogue = Catalogue.read(tables, Encoder(SCHEMA, labels="none"), 9, item="film", columns=[], distinct=True)
    assert [catalogue.document(i)["film"] for i in range(len(catalogue))] == ["Alien", "Dune", "Brazil"]
    assert rows(catalogue) == [{2: 1}, {5: 1}, {3: 1}]


def test_without_a_schema_items_are_feature_ids(tmp_path):
    (tmp_path / "items.csv").write_text("name,features\nAlien,7\nBrazil,3:0.5 7:2 3:1\n")
    catalogue = Catalogue.read(read_tables([tmp_path / "items.csv"]), None, 8)
    assert rows(catalogue) == [{7: 1}, {3: 1.5, 7: 2}]
    assert catalogue.document(1) == {"name": "Brazil", "features": "3:0.5 7:2 3:1"}


@pytest.mark.parametrize("cell", ["8", "", "7:x", "-1", "seven", "7:1e99", "7:nan", "7:1_0", "1" * 30])
def test_cells_that_are_no_feature_ids_are_refused(tmp_path, cell):
    (tmp_path / "items.csv").write_text(f"name,features\nAlien,7\nBrazil,{cell}\n")
    with pytest.raises(DataError, match=r"line 3, column 'features': .*expected feature ids below feature_dim=8"):
        Catalogue.read(read_tables([tmp_path / "items.csv"]), None, 8)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no items"),
        ("film,year\n", "holds no items"),
        ("film,year\nAlien,1\n,2\n", "line 3, column 'film': the cell is empty, expected an id"),
        ("film,year\nAlien,1\nDune,2\nAlien,2\n", "line 4, column 'film': 'Alien' occurs twice"),
        ("film,year\nMetropolis,1\n", "line 2, column 'film': 'Metropolis' was not seen"),
        ("film,year\nAlien,old\n", "line 2, column 'year': found 'old', expected a number"),
        ("director,colour\nScott,red\n", "none of the columns director, colour is in the model's schema"),
    ],
)
def test_a_table_that_is_no_catalogue_is_refused(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, text)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no column 'book'"):
        read(tmp_path, item="book")


def test_without_a_schema_and_feature_ids_there_is_no_catalogue(tmp_path):
    (tmp_path / "items.csv").write_text("film\nAlien\n")
    with pytest.raises(DataError, match="no column 'features', which a catalogue needs if the model has no schema"):
        Catalogue.read(read_tables([tmp_path / "items.csv"]), None, 8)


def test_lists_of_parquet_are_several_ids(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"film": ["Alien", "Dune"], "genres": [["sf", "drama"], []], "year": [1979, None]})
    parquet.write_table(table.drop_columns(["year"]), tmp_path / "items.parquet")
    catalogue = Catalogue.read(read_tables([tmp_path / "items.parquet"]), Encoder(SCHEMA, labels="none"), 9)
    assert catalogue.document(0) == {"film": "Alien", "genres": ["sf", "drama"]}
    assert np.flatnonzero(catalogue.allowed({"genres": "drama"})).tolist() == [0]
