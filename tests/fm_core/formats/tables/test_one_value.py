"""A value gives the same features whatever brings it: text, JSON, DataFrames, Parquet, Arrow, NumPy, Python."""

import csv
import datetime
import decimal
import io
import json
import string
import warnings

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.tables import Column, Encoder, TableSchema, frame_table
from fm_core.formats.tables.delimited import cell_tables
from fm_core.formats.tables.values import text_of

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

from fm_core.formats.tables.arrow import arrow_tables, parquet_tables  # noqa: E402

try:
    import polars
except ImportError:
    polars = None

# So many buckets that texts that differ have features that differ.
HASHED = TableSchema((Column("row", "numeric"), Column("v", "hashed", buckets=2**31 - 2)))
NUMERIC = TableSchema((Column("row", "numeric"), Column("v", "numeric")), is_dense=True, missing="zero")


def rows_of(batch):
    matrix = batch.to_matrix()
    return matrix.tolist() if isinstance(matrix, np.ndarray) else [
        (matrix.indices[a:b].tolist(), matrix.data[a:b].tolist())
        for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)
    ]  # fmt: skip


def encoded(tables, schema):
    found = []
    for table in tables:
        found += rows_of(Encoder(schema, labels="none").encode(table))
    return found


def framed(values, **how):
    return pandas.DataFrame({"row": range(len(values)), "v": pandas.Series(values, **how)})


def from_csv(text, delimiter=","):
    return cell_tables("x", [text.encode()], header=True, delimiter=delimiter)


def through(write, read, table):
    file = io.BytesIO()
    write(table, file)
    return read("x", file.getvalue())


def write_parquet(table, file):
    from pyarrow import parquet

    parquet.write_table(table, file)


def write_arrow(table, file):
    with pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def write_csv(values):
    """As Python's own writer does, which knows str() alone."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(["row", "v"])
    writer.writerows([i, "" if value is None else value] for i, value in enumerate(values))
    return file.getvalue()


def arrowed(values, **how):
    return pyarrow.table({"row": range(len(values)), "v": pyarrow.array(values, **how)})


def python_carriers(values):
    yield "a dict of lists", [frame_table({"row": range(len(values)), "v": values})]
    yield "objects in a frame", [frame_table(framed(values, dtype=object))]
    yield "Python's csv", from_csv(write_csv(values))


def arrow_carriers(table):
    yield "Arrow", [frame_table(table)]
    yield "Parquet", through(write_parquet, parquet_tables, table)
    yield "an Arrow file", through(write_arrow, arrow_tables, table)
    encoded_table = table.set_column(1, "v", table["v"].combine_chunks().dictionary_encode())
    yield "an Arrow dictionary", [frame_table(encoded_table)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "a frame of Arrow's types", [frame_table(table.to_pandas(types_mapper=pandas.ArrowDtype))]
        yield "a frame of it", [frame_table(table.to_pandas())]
    if polars is not None:
        frame = polars.from_arrow(table)
        yield "Polars", [frame_table(frame)]
        file = io.BytesIO()
        frame.write_parquet(file)
        yield "Parquet of Polars", parquet_tables("x", file.getvalue())
        yield "CSV of Polars", from_csv(frame.write_csv())


def frame_carriers(frame):
    yield "a frame", [frame_table(frame)]
    yield "categories", [frame_table(frame.astype({"v": "category"}))]
    yield "CSV of pandas", from_csv(frame.to_csv(index=False))
    yield "TSV of pandas", from_csv(frame.to_csv(index=False, sep="\t"), "\t")
    file = io.BytesIO()
    frame.to_parquet(file)
    yield "Parquet of pandas", parquet_tables("x", file.getvalue())


def check(carriers, values, schema=HASHED):
    expected = encoded([frame_table({"row": range(len(values)), "v": values})], schema)
    for name, tables in carriers:
        assert encoded(tables, schema) == expected, name
    return expected


def check_json(values, schema=HASHED):
    expected = encoded([frame_table({"row": range(len(values)), "v": values})], schema)
    encoder = Encoder(schema, labels="none")
    instances = [{"columns": {"row": i, "v": value}} for i, value in enumerate(values)]
    for parse, write in ((orjson.loads, orjson.dumps), (json.loads, json.dumps)):
        found = rows_of(decode_named(parse(write(instances)), encoder))
        if schema.is_dense:  # instances are sparse
            found = [[dict(zip(*row, strict=True)).get(i, 0) for i in range(2)] for row in found]
        assert found == expected
    body = write_csv(values).encode()
    assert rows_of(Batch.concatenate(list(decode_named_csv(body, encoder)))) == expected


CHECKED = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
LETTERS = string.ascii_letters + string.digits + " .,-+eE:\"'|;é\u00a0\u2028\u0661\\?#/\t"
TEXT = st.one_of(
    st.text(LETTERS, max_size=8),
    st.sampled_from(["17.0", "1.50", "007", "NA", "None", " ann", "True", "1e5", "2024-01-31 00:00:00", "a\nb", '"']),
    st.floats(allow_nan=False).map(str),
)  # fmt: skip


def some(values, *, gaps=True):
    return st.lists(st.none() | values if gaps else values, min_size=1, max_size=6)


@CHECKED
@given(some(TEXT))
def test_texts(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.string())), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.large_string())), values)
    check(frame_carriers(framed(values, dtype="string")), values)
    check_json(values)


@CHECKED
@given(some(st.integers(-(2**63), 2**63 - 1)))
def test_integers(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.int64())), values) if None not in values else None
    check(frame_carriers(framed(values, dtype="Int64")), values)
    check(frame_carriers(framed(values, dtype="int64[pyarrow]")), values)
    check_json(values)
    if None not in values:
        check([("NumPy", [frame_table({"row": range(len(values)), "v": np.array(values)})])], values)
        check(frame_carriers(framed(values)), values)


@CHECKED
@given(some(st.integers(-(2**53), 2**53)))
def test_integers_that_gaps_make_floats(values):
    check(frame_carriers(framed([None if value is None else float(value) for value in values], dtype=float)), values)
    check(frame_carriers(framed(values, dtype="Int64")), values)


@CHECKED
@given(some(st.floats(allow_nan=False, allow_infinity=False)))
def test_floats(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.float64())), values)
    check(frame_carriers(framed(values, dtype=float)), values)
    check(frame_carriers(framed(values, dtype="Float64")), values)
    check_json(values)


@CHECKED
@given(some(st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)))
def test_floats_of_half_the_precision(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.float32())), values)
    check(frame_carriers(framed(values, dtype=np.float32)), values)


@CHECKED
@given(some(st.booleans()))
def test_truths(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.bool_())), values)
    check(frame_carriers(framed(values, dtype="boolean")), values)
    check_json(values)
    check(python_carriers(values), values, NUMERIC)
    check(arrow_carriers(arrowed(values, type=pyarrow.bool_())), values, NUMERIC)
    check_json(values, NUMERIC)


@CHECKED
@given(some(st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1))))
def test_dates(values):
    check(python_carriers(values), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.date32())), values)
    midnights = [None if value is None else datetime.datetime.combine(value, datetime.time()) for value in values]
    check(arrow_carriers(arrowed(midnights, type=pyarrow.timestamp("ms"))), values)
    check(frame_carriers(framed(values, dtype="datetime64[us]")), values)
    check_json([None if value is None else str(value) for value in values])


@CHECKED
@given(some(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))))
def test_moments(values):
    check(python_carriers(values), values)
    for unit in ("us", "ns"):
        check(arrow_carriers(arrowed(values, type=pyarrow.timestamp(unit))), values)
        check(frame_carriers(framed(values, dtype=f"datetime64[{unit}]")), values)
    check_json([None if value is None else value.isoformat() for value in values])


@CHECKED
@given(
    some(st.datetimes(datetime.datetime(1700, 1, 2), datetime.datetime(2200, 1, 1), timezones=st.just(datetime.UTC))),
    st.sampled_from([0, 2, -7]),
)
def test_moments_with_a_zone(values, hours):
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    moved = [None if value is None else value.astimezone(zone) for value in values]
    check(python_carriers(moved), values)
    check(arrow_carriers(arrowed(values, type=pyarrow.timestamp("us", "UTC"))), values)
    check(frame_carriers(framed(moved, dtype=pandas.DatetimeTZDtype("us", zone))), values)
    check_json([None if value is None else value.isoformat() for value in moved])


@CHECKED
@given(some(st.decimals(-(10**12), 10**12, places=3)))
def test_decimals(values):
    check(python_carriers(values), values)
    table = arrowed(values, type=pyarrow.decimal128(20, 3))
    check([item for item in arrow_carriers(table) if "CSV" not in item[0]], values)
    check_json([None if value is None else str(value) for value in values])
    check(python_carriers(values), values, NUMERIC)
    check([item for item in arrow_carriers(table) if "CSV" not in item[0]], values, NUMERIC)


NUMBER = st.one_of(
    st.floats(-1e30, 1e30, allow_nan=False), st.integers(-(2**53), 2**53), st.decimals(-(10**9), 10**9, places=4)
)  # fmt: skip


@CHECKED
@given(some(NUMBER))
def test_numbers_of_a_numeric_column(values):
    as_floats = [None if value is None else float(value) for value in values]
    check(python_carriers(values), values, NUMERIC)
    check(python_carriers([None if value is None else str(value) for value in values]), values, NUMERIC)
    check(arrow_carriers(arrowed(as_floats, type=pyarrow.float64())), values, NUMERIC)
    check(frame_carriers(framed(as_floats, dtype=float)), values, NUMERIC)
    texts = [None if value is None else str(value) for value in values]
    check(arrow_carriers(arrowed(texts, type=pyarrow.string())), values, NUMERIC)
    check(frame_carriers(framed(texts, dtype="string")), values, NUMERIC)
    check_json(as_floats, NUMERIC)
    check_json(texts, NUMERIC)


@CHECKED
@given(st.lists(st.lists(st.none() | TEXT.filter(lambda text: "|" not in text), max_size=3), min_size=1, max_size=5))
def test_lists(values):
    schema = TableSchema((Column("row", "numeric"), Column("v", "hashed", buckets=2**31 - 2, separator="|")))
    joined = [None if not value else "|".join(item or "" for item in value) for value in values]
    expected = encoded([frame_table({"row": range(len(values)), "v": values})], schema)
    assert encoded([frame_table({"row": range(len(values)), "v": joined})], schema) == expected
    assert encoded(from_csv(write_csv(joined)), schema) == expected
    assert encoded([frame_table(framed(values))], schema) == expected
    table = arrowed(values, type=pyarrow.list_(pyarrow.string()))
    assert encoded(through(write_parquet, parquet_tables, table), schema) == expected
    assert encoded([frame_table(table)], schema) == expected
    instances = [{"columns": {"row": i, "v": value}} for i, value in enumerate(values)]
    assert rows_of(decode_named(instances, Encoder(schema, labels="none"))) == expected
    if polars is not None:
        assert encoded([frame_table(polars.from_arrow(table))], schema) == expected


@CHECKED
@given(some(TEXT | st.integers(-5, 5) | st.booleans() | st.sampled_from([1.5, 2.0, None])))
def test_values_of_several_kinds_in_one_column(values):
    check(python_carriers(values), values)
    check_json(values)


@CHECKED
@given(some(TEXT))
def test_categories_are_learned_alike(values):
    from fm_core.formats.tables import TablePlan, make_schema

    if not any(map(text_of, values)):
        return
    plan = TablePlan(categorical=["v"])
    expected = make_schema([frame_table({"row": range(len(values)), "v": values})], plan)
    carriers = [
        *python_carriers(values),
        *arrow_carriers(arrowed(values, type=pyarrow.string())),
        *frame_carriers(framed(values, dtype="string")),
    ]
    for name, tables in carriers:
        assert make_schema(tables, plan) == expected, name


def test_text_in_another_encoding_is_refused_in_every_kind_of_column():
    body = "row,v\n0,zo\xe9\n".encode("latin-1")
    for column in (
        Column("v", "hashed", buckets=100),
        Column("v", "categorical", ("x",)),
        Column("v", "hashed", (), 9, "|"),
    ):
        schema = TableSchema((Column("row", "numeric"), column))
        with pytest.raises(DataError, match=r"line 2, column 'v': byte 2 of the cell is 0xe9.*--encoding"):
            encoded(cell_tables("x", [body], header=True), schema)
    with pytest.raises(DataError, match="line 1, column 1: byte 0 of the cell is 0xe9"):
        list(cell_tables("x", ["row,\xe9\n0,1\n".encode("latin-1")], header=True))
    # Where nobody reads it as a text, it does not matter.
    assert encoded(cell_tables("x", [body], header=True), TableSchema((Column("row", "numeric"),))) == [([], [])]


def test_a_decimal_is_the_number_that_its_text_is():
    value = decimal.Decimal("0.3000000000000000000000001")
    table = arrowed([value], type=pyarrow.decimal128(38, 25))
    check([("Arrow", [frame_table(table)])], [str(value)], NUMERIC)
