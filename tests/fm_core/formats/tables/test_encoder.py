"""Columns to features: of CSV, Parquet, Arrow and DataFrames, by one schema."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.estimators import FMClassifier, FMRegressor
from fm_core.formats.convert.conversion import Conversion, convert
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.frames import encode_table, frame_table
from fm_core.formats.tables.learner import TablePlan, make_schema
from fm_core.formats.tables.schema import Column, TableSchema

RATINGS = """user,item,genres,year,rating
ann,"Heat, 1995",crime|drama,1995,4.5
bob,Alien,horror|scifi,1979,3
ann,Alien,scifi|horror|scifi,1979,5
cid,Big,,0,2
"""
PLAN = TablePlan(label="rating", several={"genres": "|"})


def put(tmp_path, text, name="x.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def encoded(path, **options):
    opened = open_rows([path], None, Options(**options))
    return Batch.concatenate(list(opened.batches())), opened.schema


def dense_of(batch):
    rows = batch.to_matrix()
    return rows if isinstance(rows, np.ndarray) else rows.toarray()


def test_every_column_becomes_its_features(tmp_path):
    batch, schema = encoded(put(tmp_path, RATINGS), plan=PLAN)
    assert schema.feature_names() == [
        *["user=ann", "user=bob", "user=cid", "item=Heat, 1995", "item=Alien", "item=Big"],
        *["genres=crime", "genres=drama", "genres=horror", "genres=scifi", "year"],
    ]
    assert [schema.feature_name(i) for i in range(schema.feature_dim)] == schema.feature_names()
    assert dense_of(batch).tolist() == [
        [1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1995],
        [0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1979],
        [1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 1979],
        [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0],
    ]
    assert batch.labels.tolist() == [4.5, 3, 5, 2]
    assert len(batch.values) == 5 + 5 + 5 + 2  # the year 0 and the cell without genres are left out
    batch.__post_init__()


def test_a_schema_that_was_saved_encodes_new_rows(tmp_path):
    _, schema = encoded(put(tmp_path, RATINGS), plan=PLAN)
    schema.save(tmp_path / "schema.json")
    again = TableSchema.load(tmp_path / "schema.json")
    assert again == schema
    # Other order of columns, other columns, no label.
    new = put(tmp_path, "year,extra,genres,item,user\n2000,x,drama,Big,bob\n", "new.csv")
    batch, _ = encoded(new, schema=again, labels="optional")
    assert batch.labels is None
    assert dense_of(batch).tolist() == [[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 2000]]


def test_hashed_columns_and_hashed_lists(tmp_path):
    plan = TablePlan(label="rating", hashed={"item": 7, "genres": 5}, several={"genres": "|"}, ignored=["user"])
    batch, schema = encoded(put(tmp_path, RATINGS), plan=plan)
    assert schema.feature_dim == 7 + 5 + 1
    row = dense_of(batch)[1]
    expected = np.zeros(13)
    expected[zlib.crc32(b"Alien") % 7] += 1
    for genre in (b"horror", b"scifi"):
        expected[7 + zlib.crc32(genre) % 5] += 1
    expected[12] = 1979
    assert row.tolist() == expected.tolist()
    assert schema.feature_name(3) == "item#3"
    unseen, _ = encoded(put(tmp_path, RATINGS.replace("Alien", "Éléphant")), schema=schema)
    assert unseen.n_rows == 4


def test_numbers_alone_make_dense_rows_without_a_header_too(tmp_path):
    path = put(tmp_path, "1,2.5,3\n0,4,5e-1\n")
    batch, schema = encoded(path, plan=TablePlan(label="0"))
    assert batch.is_dense
    assert schema.is_dense
    assert batch.values.tolist() == [[2.5, 3], [4, 0.5]]
    assert not schema.has_header
    batch, _ = encoded(path, plan=TablePlan(label="-1", sparse=True))
    assert not batch.is_dense
    assert batch.labels.tolist() == [3, 0.5]
    # A schema without names reads its files without a header.
    again, _ = encoded(path, schema=schema)
    assert again.values.tolist() == [[2.5, 3], [4, 0.5]]


@pytest.mark.parametrize("plan", [{}, {"fit": True}, {"categorical": ("0",)}], ids=["as it is", "fit", "categories"])
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("1,0,5\n2,1,6\n", "1,9,0,5\n", "it has '3'"),  # what was the label's place is another column's
        ("0,y,x\n1,0,5\n2,1,6\n", "0,y,x,z\n1,0,5,9\n", "it has 'z'"),
        ("0,y,x\n1,0,5\n2,1,6\n", "0,y,x2\n1,0,5\n", "it has 'x2', and lacks 'x'"),
    ],
)
def test_files_that_are_learned_from_have_the_same_columns(plan, first, second, said, tmp_path):
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path, text in zip(paths, (first, second), strict=True):
        path.write_text(text)
    header = "y" in first
    options = Options(plan=TablePlan(label="y" if header else "1", **plan), header=header)
    with pytest.raises(DataError, match=rf"b.csv: its columns are not those of .*a.csv: {said}; expected the same"):
        list(open_rows(paths, None, options).batches())


def test_a_header_is_known_by_a_cell_that_is_no_number(tmp_path):
    batch, schema = encoded(put(tmp_path, "y,x\n0,y\n"), plan=TablePlan(label="y"))
    assert (schema.columns[0].name, batch.n_rows) == ("x", 1)
    path = put(tmp_path, "1,x\n0,y\n")
    with pytest.raises(DataError, match="line 1 holds numbers and texts, '1' and 'x'"):
        encoded(path, plan=TablePlan(label="1"))
    batch, schema = encoded(path, plan=TablePlan(label="0"), header=False)
    assert (schema.columns[0].categories, batch.n_rows) == (("x", "y"), 2)
    path = put(tmp_path, "3,4\n1,2\n")
    batch, schema = encoded(path, plan=TablePlan(label="3"), header=True)
    assert ([column.name for column in schema.columns], batch.n_rows) == (["4"], 1)


def test_empty_cells_of_numbers_are_refused_or_zero(tmp_path):
    path = put(tmp_path, "a,y\n1,1\n ,0\n")
    with pytest.raises(DataError, match=r"x\.csv: line 3, column 'a': the cell is empty, expected a number"):
        encoded(path, plan=TablePlan(label="y"))
    batch, schema = encoded(path, plan=TablePlan(label="y", missing="zero"))
    assert batch.values.tolist() == [[1], [0]]
    assert TableSchema.from_json(schema.to_json()).missing == "zero"


def test_rows_across_many_chunks_and_files_share_one_schema(tmp_path, monkeypatch):
    monkeypatch.setattr("fm_core.formats.registry.files.CHUNK_BYTES", 100)
    lines = [f"u{i % 97},i{i % 31}|i{i % 7},{i % 5}\n" for i in range(1000)]
    paths = [
        put(tmp_path, "user,items,y\n" + "".join(lines[:400]), "a.csv"),
        put(tmp_path, "user,items,y\n" + "".join(lines[400:]), "b.csv"),
    ]
    opened = open_rows(paths, None, Options(plan=TablePlan(label="y", several={"items": "|"})))
    batch = Batch.concatenate(list(opened.batches()))
    assert (batch.n_rows, batch.feature_dim) == (1000, 97 + 31)
    names = opened.schema.feature_names()
    for i in (0, 399, 400, 999):
        found = {names[j]: int(dense_of(batch)[i, j]) for j in np.flatnonzero(dense_of(batch)[i])}
        items = [f"items=i{i % 31}", f"items=i{i % 7}"]
        assert found == {f"user=u{i % 97}": 1} | {name: items.count(name) for name in items}


TEXTS = st.text(st.sampled_from('ab 1é"\n,|'), min_size=1, max_size=4).filter(lambda text: text.strip() == text)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def frames(draw):
    pandas = pytest.importorskip("pandas")
    n_rows = draw(st.integers(1, 12))

    def column(values):
        return draw(st.lists(values, min_size=n_rows, max_size=n_rows))

    return pandas.DataFrame(
        {
            "text": column(TEXTS),
            "id": column(st.integers(-(2**40), 2**40)),
            "number": np.array(column(FLOATS), np.float32),
            "some": column(st.lists(st.sampled_from(["x", "y", "zz"]), max_size=3).map(";".join)),
            "y": column(st.integers(0, 1)),
        }
    )


FRAME_PLAN = TablePlan(label="y", categorical=["text", "id"], several={"some": ";"}, numeric=["number"])


@given(frame=frames())
def test_a_frame_and_its_files_are_encoded_alike(frame, tmp_path_factory):
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("x")
    schema = make_schema([frame_table(frame)], FRAME_PLAN)
    rows, labels = encode_table(frame, schema)
    np.testing.assert_array_equal(labels, frame["y"])
    frame.to_csv(folder / "x.csv", index=False)
    frame.to_csv(folder / "x.tsv", index=False, sep="\t")
    frame.to_csv(folder / "z.csv.gz", index=False)
    frame.to_parquet(folder / "x.parquet", index=False)
    frame.to_feather(folder / "x.feather")
    categories = frame.assign(text=frame["text"].astype("category"))
    np.testing.assert_array_equal(encode_table(categories, schema)[0].toarray(), rows.toarray())
    for path in sorted(folder.iterdir()):
        batch, found = encoded(path, plan=FRAME_PLAN)
        assert found == schema, path
        np.testing.assert_array_equal(dense_of(batch), rows.toarray())
        np.testing.assert_array_equal(batch.labels, labels)
    assert TableSchema.from_json(schema.to_json()) == schema
    # Every row's features are named for its cells.
    names = schema.feature_names()
    for i, row in enumerate(rows.toarray()):
        found = {names[j] for j in np.flatnonzero(row)}
        cells = frame.iloc[i]
        some = {f"some={text}" for text in cells["some"].split(";") if text}
        number = {"number"} if cells["number"] else set()
        assert found == {f"text={cells['text']}", f"id={cells['id']}"} | some | number


def test_arrow_streams_nulls_booleans_and_dictionaries(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(
        {
            "flag": [True, False, None],
            "user": pyarrow.array(["a", None, "b"]).dictionary_encode(),
            "y": pyarrow.array([1, 0, 1], pyarrow.int8()),
        }
    )
    path = tmp_path / "x.arrow"
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    batch, schema = encoded(path, plan=TablePlan(label="y", missing="zero"))
    assert schema.feature_names() == ["flag", "user=a", "user=b"]
    assert dense_of(batch).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    with pytest.raises(DataError, match=r"x\.arrow: row 2, column 'flag': the cell is empty, expected a number"):
        encoded(path, plan=TablePlan(label="y"))


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b\n1,2\n", {"plan": TablePlan(label="c")}, "x.csv: there is no column 'c', expected one of: a, b"),
        ("a,b\n1,2\n", {"plan": TablePlan(label="7")}, "x.csv: there is no column '7', expected one of: a, b"),
        ("a,a\n1,2\n", {}, "x.csv: line 1: two columns are named 'a', expected one"),
        ("a,b\n1,2\n3\n", {}, "x.csv: line 3: found 1 columns, expected 2 as in the first row"),
        ("a,b\n1,2\n3,x\n", {"plan": TablePlan(numeric=["b"])}, "line 3, column 'b': found 'x', expected a number"),
        ("a,b\n1,2\n3,\n", {"plan": TablePlan(label="b")}, "line 3, column 'b': the label is '', expected a number"),
        ("a,b\n1,x\n\n3,\xff\n".encode("latin-1"), {}, "line 4, column 'b': byte 0 of the cell is 0xff"),
        (b"PAR1....", {}, "x.csv: the file looks like Parquet, expected delimited text"),
        (b"PK\3\4....", {}, "x.csv: the file looks like a zip archive, as npz files and spreadsheets are"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "the file looks like UTF-16 text, expected delimited text; .*utf-16)"),
        ("a,b\n1,2\n".encode("utf-32"), {}, "the file looks like UTF-32 text, expected delimited text; .*utf-32)"),
        ("a;b\n1;2\n", {"plan": TablePlan(label="b")}, "one of: a;b; is ';' what separates its cells (--delimiter)?"),
        ("a\tb\n1\t2\n", {"plan": TablePlan(label="b")}, r"is '\t' what separates its cells (--delimiter)?"),
        ("0,1,2\n1,2,3\n", {}, "line 1 is 0, 1, 2 and so on, like column names that are made up"),
        ("1,2,3,4\n1,0,3,1\n", {}, "line 1 is 1, 2, 3 and so on, like column names that are made up"),
    ],
)  # fmt: skip
def test_bad_input_is_said_with_file_line_and_column(text, options, said, tmp_path):
    path = put(tmp_path, text)
    with pytest.raises(DataError) as refusal:
        convert([path], tmp_path / "x.rec", Conversion(), None, Options(**options))
    assert all(part in str(refusal.value) for part in said.split(".*"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("names", [["a", "y", "y"], ["a", "a", "y"]])
def test_two_columns_of_one_name_are_refused_in_whatever_brings_them(names, tmp_path):
    pyarrow, pandas = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    twice = f"two columns are named '{names[1]}', expected one"
    table = pyarrow.table([[1, 2, 3]] * 3, names=names)
    parquet.write_table(table, tmp_path / "x.parquet")
    with pyarrow.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as file:
        file.write_table(table)
    for name in ("x.parquet", "x.arrow"):
        with pytest.raises(DataError, match=f"{name}: {twice}"):
            encoded(tmp_path / name, plan=TablePlan(label="y"))
    frame = pandas.DataFrame([["1", "2", "3"]] * 2, columns=names)
    for given_rows in (table, frame):
        with pytest.raises(DataError, match=twice):
            frame_table(given_rows)
    for kind in (FMRegressor, FMClassifier):
        with pytest.raises(DataError, match=twice):
            kind().fit(frame, [0, 1])


@pytest.mark.parametrize("name", [1, 1.5, True])
def test_a_name_and_its_text_are_one_name(name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["x", "y"]] * 2, columns=[name, str(name)])
    for refused in (frame_table, lambda rows: FMRegressor().fit(rows, [1.0, 2.0])):
        with pytest.raises(DataError, match=f"two columns are named '{name}', expected one"):
            refused(frame)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,y\nann,1\nzoe,0\n", "x.csv: line 3, column 'user': 'zoe' was not seen when the schema was made"),
        ("name,y\nann,1\n", "x.csv: there is no column 'user', expected one of: name, y"),
        ("user,z\nann,1\n", "x.csv: there is no column 'y', expected one of: user, z"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_a_schema_are_refused(text, said, tmp_path):
    schema = TableSchema((Column("user", "categorical", ("ann", "bob")),), "y")
    with pytest.raises(DataError) as refusal:
        encoded(put(tmp_path, text), schema=schema)
    assert said in str(refusal.value)


def test_a_category_never_seen_is_left_out_if_that_is_wanted(tmp_path):
    columns = (Column("user", "categorical", ("ann", "bob")), Column("tags", "categorical", ("a", "b"), separator=" "))
    schema = TableSchema(columns, "y")
    path = put(tmp_path, "user,tags,y\nzoe,q a q b,1\nbob,q,0\nzoe,q,1\n")
    with pytest.raises(DataError, match="line 2, column 'user': 'zoe' was not seen"):
        encoded(path, schema=schema)
    batch, _ = encoded(path, schema=schema, unseen="ignore")
    assert dense_of(batch).tolist() == [[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "plan",
    [TablePlan(label="a", categorical=["a"]), TablePlan(numeric=["a"], hashed={"0": 3}),
     TablePlan(ignored=["a"], several={"a": "|"})],
)  # fmt: skip
def test_a_column_is_of_one_kind(plan, tmp_path):
    with pytest.raises(ConfigError, match=r"is declared .* and .*, expected one of them"):
        encoded(put(tmp_path, "a,b\n1,2\n"), plan=plan)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(version=3),
        lambda document: document.update(feature_dim=5),
        lambda document: document.pop("columns"),
        lambda document: document["columns"][0].update(kind="odd"),
        lambda document: document["columns"][0].update(categories=[1, 2]),
        lambda document: document.update(columns=[]),
        lambda document: document.update(columns=3),
    ],
)
def test_a_schema_that_was_not_written_here_is_refused(change, tmp_path):
    document = json.loads(TableSchema((Column("user", "categorical", ("ann", "bob")),), "y").to_json())
    change(document)
    path = put(tmp_path, json.dumps(document), "schema.json")
    with pytest.raises(ConfigError, match=r"schema\.json"):
        TableSchema.load(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100000])
def test_a_schema_that_is_no_json_object_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"schema\.json"):
        TableSchema.load(put(tmp_path, data, "schema.json"))


@pytest.mark.parametrize(("name", "kind"), [("x.parquet", "Parquet file"), ("x.feather", "Arrow file or stream")])
def test_a_file_that_is_not_what_its_name_says_is_refused(name, kind, tmp_path):
    pytest.importorskip("pyarrow")
    for data in (b"", b"a,b\n1,2\n", b"PAR1" + bytes(50) + b"PAR1", b"ARROW1" + bytes(50)):
        with pytest.raises(DataError, match=rf"{name}: .*; expected an? {kind}|the input holds no rows"):
            encoded(put(tmp_path, data, name))
    with pytest.raises(FileNotFoundError):
        encoded(Path(tmp_path / f"no{name}"))


def test_an_existing_schema_is_not_overwritten_by_another(tmp_path):
    path = put(tmp_path, "user,y\nann,1\n")
    out = tmp_path / "x.rec"
    options = Options(plan=TablePlan(label="y"))
    convert([path], out, Conversion(), None, options)
    convert([path], out, Conversion(), None, options)
    before = (tmp_path / "schema.json").read_bytes()
    put(tmp_path, "user,y\nbob,1\n")
    with pytest.raises(ConfigError, match=r"schema\.json exists and holds another schema: encode with it \(--schema"):
        convert([path], out, Conversion(), None, options)
    assert (tmp_path / "schema.json").read_bytes() == before
    convert([path], out, Conversion(schema_path=tmp_path / "schema.json"), None, options)
    assert b"bob" in (tmp_path / "schema.json").read_bytes()


def test_without_pyarrow_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pyarrow, which is not installed: pip install pyarrow"):
        encoded(put(tmp_path, b"PAR1", "x.parquet"))


def test_an_encoder_is_made_once_and_used_for_many_tables():
    pandas = pytest.importorskip("pandas")
    schema = TableSchema((Column("user", "categorical", ("1", "2")), Column("x", "numeric")))
    encoder = Encoder(schema)
    for users in ([1, 2], [1.0, np.nan], ["2", "1"]):
        batch = encoder.encode(frame_table(pandas.DataFrame({"user": users, "x": [0.5, 0]})))
        assert batch.n_rows == 2
        assert batch.labels is None
    assert dense_of(batch).tolist() == [[0, 1, 0.5], [1, 0, 0]]
