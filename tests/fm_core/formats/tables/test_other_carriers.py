"""Values in carriers that few people use: masked and sparse arrays, Polars' objects, extension types, dicts of columns.

Each gives what a list of the same values gives; see test_one_value.py for the others.
"""

import datetime
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables import Encoder, frame_table
from fm_core.formats.tables.frames import frame_records
from fm_core.formats.tables.learner import TablePlan, make_schema
from tests.fm_core.formats.tables.test_one_value import CHECKED, HASHED, NUMERIC, TEXT, check, encoded, rows_of, some

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

from pyarrow import parquet  # noqa: E402

from fm_core.formats.tables.arrow import arrow_tables, parquet_tables  # noqa: E402

DATES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
EASTERN = datetime.timezone(datetime.timedelta(hours=-5))
VALUES = st.one_of(
    some(TEXT), some(st.integers(-(2**90), 2**90)), some(st.booleans()),
    some(st.floats(allow_nan=False, allow_infinity=False)),
    some(DATES), some(st.uuids()), some(st.decimals(-(10**9), 10**9, places=2)), some(st.dates()),
    some(st.datetimes(timezones=st.just(EASTERN))), some(TEXT.map(str.encode)),
)  # fmt: skip


def table_of(column):
    return frame_table({"row": range(len(column)), "v": column})


def files_of(table):
    """Give the tables of files that hold a table."""
    data, arrow = io.BytesIO(), io.BytesIO()
    parquet.write_table(table, data)
    with pyarrow.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    yield "Parquet", parquet_tables("x", data.getvalue())
    yield "an Arrow file", arrow_tables("x", arrow.getvalue())


@CHECKED
@given(VALUES)
def test_objects_of_polars(values):
    polars = pytest.importorskip("polars")
    for series in [polars.Series(values, dtype=polars.Object)]:
        frame = polars.DataFrame({"row": range(len(values))}).with_columns(v=series)
        check([("a frame", [frame_table(frame)]), ("a column", [table_of(series)])], values)


@CHECKED
@given(some(st.integers(-(2**126), 2**126)))
def test_integers_of_128_bits_of_polars(values):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"row": range(len(values)), "v": polars.Series(values, dtype=polars.Int128)})
    check([("a frame", [frame_table(frame)])], values)
    check([("a frame", [frame_table(frame)])], values, NUMERIC)


@CHECKED
@given(some(TEXT), st.randoms())
def test_columns_of_a_dict(values, random):
    index = list(range(len(values)))
    random.shuffle(index)  # by which no row is found
    carriers = {
        "a Series": pandas.Series(values, index, dtype=object), "texts": pandas.Series(values, index, dtype="string"),
        "PyArrow": pyarrow.array(values, pyarrow.string()),
        "chunks": pyarrow.chunked_array([values[:1], values[1:]], pyarrow.string()),
        "a dictionary": pyarrow.array(values, pyarrow.string()).dictionary_encode(), "a tuple": tuple(values),
        "objects": np.array([*values, None], object)[:-1],
    }  # fmt: skip
    for name, column in carriers.items():
        check([(name, [table_of(column)])], values)
        assert [table_of(column).is_missing(row, 1) for row in index] == [
            table_of(values).is_missing(r, 1) for r in index
        ]


@CHECKED
@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=6), st.sampled_from("ifUO"))
def test_what_is_masked_is_missing(drawn, kind):
    values = [None if is_masked else value for value, is_masked in drawn]
    dtype = {"i": np.int64, "f": np.float64, "U": "U2", "O": object}[kind]
    array = np.ma.masked_array(np.array([value for value, _ in drawn]).astype(dtype), [mask for _, mask in drawn])
    check([("masked", [table_of(array)])], values)
    if kind != "U":
        check([("masked", [table_of(array)])], values, NUMERIC)
    records = np.ma.masked_array(np.zeros(len(drawn), [("row", "i4"), ("v", array.dtype)]))
    records["row"], records["v"] = range(len(drawn)), array
    check([("records", [frame_table(records)])], values)


@CHECKED
@given(some(st.integers(0, 5)))
def test_a_dictionary_may_hold_nothing(places):
    for kind, dictionary in (("int64", [7, 8, None, 9, 10, 11]), ("string", ["7", "8", None, "9", "10", "11"])):
        array = pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(places, pyarrow.int32()), pyarrow.array(dictionary, kind)
        )
        expected = [None if place is None else dictionary[place] for place in places]
        check([("a dictionary", [table_of(array)])], expected)


@CHECKED
@given(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=1, max_size=5))
def test_sparse_columns_are_numbers(values):
    frame = pandas.DataFrame({"row": range(len(values)), "v": pandas.arrays.SparseArray(values)})
    check([("sparse", [frame_table(frame)])], values, NUMERIC)
    assert make_schema([frame_table(frame)], TablePlan()).columns[1].kind == "numeric"


@CHECKED
@given(some(st.uuids()))
@pytest.mark.skipif(not hasattr(pyarrow, "uuid"), reason="this pyarrow has no UUIDs")
def test_ids_of_sixteen_bytes(values):
    stored = pyarrow.array([None if value is None else value.bytes for value in values], pyarrow.binary(16))
    table = pyarrow.table({
        "row": pyarrow.array(range(len(values)), pyarrow.int32()),
        "v": pyarrow.ExtensionArray.from_storage(pyarrow.uuid(), stored),
    })  # fmt: skip
    check([("Arrow", [frame_table(table)]), *files_of(table)], values)


@CHECKED
@given(some(st.booleans()))
@pytest.mark.skipif(not hasattr(pyarrow, "bool8"), reason="this pyarrow has no truths of eight bits")
def test_truths_of_eight_bits(values):
    stored = pyarrow.array([None if value is None else int(value) for value in values], pyarrow.int8())
    table = pyarrow.table({
        "row": pyarrow.array(range(len(values)), pyarrow.int32()),
        "v": pyarrow.ExtensionArray.from_storage(pyarrow.bool8(), stored),
    })  # fmt: skip
    check([("Arrow", [frame_table(table)]), *files_of(table)], values)


@CHECKED
@given(some(DATES), st.sampled_from(["Y", "Q", "M", "W", "D", "h", "min", "s", "ms", "us", "ns"]))
def test_periods_of_pandas(values, frequency):
    frame = pandas.DataFrame({"row": range(len(values)), "v": pandas.PeriodIndex(values, freq=frequency)})
    table = pyarrow.table(frame)
    bare = pyarrow.table([table["row"], table["v"].combine_chunks().storage], pyarrow.schema([  # as without pandas
        table.schema.field("row"),
        pyarrow.field("v", pyarrow.int64(), metadata={
            "ARROW:extension:name": "pandas.period",
            "ARROW:extension:metadata": table.schema.field("v").type.__arrow_ext_serialize__(),
        }),
    ]))  # fmt: skip
    carriers = [("Arrow", [frame_table(table)]), ("bare", [frame_table(bare)]), *files_of(table)]
    check(carriers, list(frame["v"].astype(object)))


def test_the_last_moment_that_python_has_is_one_of_the_next_year_elsewhere():
    last, first = datetime.datetime(9999, 12, 31, 23, 59, 59), datetime.datetime.min
    moments = [last.replace(tzinfo=EASTERN), first.replace(tzinfo=EASTERN)]
    array = pyarrow.array(moments[:1], pyarrow.timestamp("us", "-05:00"))
    check([("Arrow", [table_of(array)]), ("text", [table_of(["9999-12-31 23:59:59-05:00"])])], moments[:1])
    assert table_of(moments).codes(1)[1] == ["10000-01-01T04:59:59Z", "0001-01-01T05:00:00Z"]


@CHECKED
@given(VALUES | some(st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)))
def test_rows_that_a_client_sends_are_those_of_its_frame(values):
    frames = [pandas.DataFrame({"row": range(len(values)), "v": pandas.Series(values, dtype=object)})]
    try:
        frames.append(pyarrow.table({"row": range(len(values)), "v": pyarrow.array(values)}))
        frames.append(pandas.DataFrame({"row": range(len(values)), "v": pandas.Series(values)}))
        frames.append(frames[-1].astype({"v": "category"}))
    except (pyarrow.ArrowException, OverflowError):  # pyarrow has no such integers
        pass
    for frame in frames:
        instances = [{"columns": row} for row in json.loads(json.dumps(frame_records(frame)))]
        found = rows_of(decode_named(instances, Encoder(HASHED, labels="none")))
        assert found == encoded([frame_table(frame)], HASHED)


def test_durations_are_sent_as_seconds_and_what_is_no_value_is_refused():
    frame = pandas.DataFrame({"v": pandas.to_timedelta([90, None], unit="s")})
    assert frame_records(frame) == frame_records(pyarrow.table(frame)) == [{"v": 90.0}, {"v": None}]
    for value, found in (({1}, "a value of type set"), (b"\xff", "bytes that are not UTF-8"), ({"a": 1}, "an object")):
        with pytest.raises(DataError, match=f"the table: row 1, column 'v': found {found}"):
            frame_records(pandas.DataFrame({"v": ["a", value]}))


@pytest.mark.parametrize(
    "column",
    [{1, 2}, {1: 2}, "ab", b"ab", None, 3, iter([1, 2]), np.array(3), (n for n in (1, 2))],
    ids=lambda column: type(column).__name__,
)
def test_what_is_no_column_is_refused(column):
    with pytest.raises(DataError, match=r"the table: column 'v' is .* expected a list or an array"):
        frame_table({"u": [1, 2], "v": column})


def test_a_column_alone_is_no_frame():
    polars = pytest.importorskip("polars")
    for column in (pandas.Series([1]), polars.Series([1]), pandas.Index([1])):
        with pytest.raises(DataError, match=r"the table is a .*, expected a DataFrame"):
            frame_table(column)


def test_bytes_that_are_no_number_are_said_with_their_place():
    frame = pyarrow.table({"row": [1, 2], "v": pyarrow.array([b"1.5", b"\xff"])})
    with pytest.raises(DataError, match=r"the table: row 1, column 'v': found .*, expected a number"):
        encoded([frame_table(frame)], NUMERIC)
