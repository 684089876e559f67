"""Every type that Arrow has is read, or refused in one sentence; how its values are stored makes no difference."""

import datetime
import decimal
import io
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables import Encoder, frame_table
from fm_core.formats.tables.learner import TablePlan, make_schema

pyarrow = pytest.importorskip("pyarrow")

from pyarrow import parquet  # noqa: E402

from fm_core.formats.tables.arrow import arrow_tables, parquet_tables  # noqa: E402


def _types():
    """Yield types, with values of each."""
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"):
        yield getattr(pyarrow, name)(), [1, 2, 7]
    yield pyarrow.null(), [None]
    yield pyarrow.bool_(), [True, False]
    for name in ("string", "large_string", "string_view"):
        if hasattr(pyarrow, name):
            yield getattr(pyarrow, name)(), ["a", "b", "7", ""]
    for name in ("binary", "large_binary", "binary_view"):
        if hasattr(pyarrow, name):
            yield getattr(pyarrow, name)(), [b"a", b"\xff", b"7"]
    yield pyarrow.binary(1), [b"a", b"7"]
    for name in ("date32", "date64"):
        yield getattr(pyarrow, name)(), [datetime.date(2020, 1, 31), datetime.date(1, 1, 1)]
    yield pyarrow.date32(), [2**30, -(2**30)]
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin", "+05:30"):
            yield pyarrow.timestamp(unit, zone), [0, 10**9]
        yield pyarrow.timestamp(unit), [2**62, -(2**62)]  # beyond Python's years
        yield pyarrow.duration(unit), [0, 2**62]
    yield pyarrow.time32("ms"), [datetime.time(1, 2, 3)]
    yield pyarrow.time64("ns"), [datetime.time(1, 2, 3, 4)]
    yield pyarrow.month_day_nano_interval(), [(1, 2, 3)]
    for name in ("decimal32", "decimal64", "decimal128", "decimal256"):
        if hasattr(pyarrow, name):
            yield getattr(pyarrow, name)(6, 2), [decimal.Decimal("1.25"), decimal.Decimal("-2.50")]
    yield pyarrow.struct([("a", pyarrow.int64())]), [{"a": 1}]
    yield pyarrow.map_(pyarrow.string(), pyarrow.int64()), [[("a", 1)], []]
    if hasattr(pyarrow, "uuid"):
        yield pyarrow.uuid(), [uuid.UUID(int=1).bytes]


FLAT = list(_types())
LISTS = [getattr(pyarrow, n) for n in ("list_", "large_list", "list_view", "large_list_view") if hasattr(pyarrow, n)]
INDICES = [pyarrow.int8(), pyarrow.int64(), pyarrow.uint8(), pyarrow.uint32(), pyarrow.uint64()]


@st.composite
def arrays(draw):
    """Draw an array of any type, and one of the same values stored in a simpler way, or None where there is none."""
    kind, values = draw(st.sampled_from(FLAT))
    if draw(st.booleans()) and not isinstance(kind, pyarrow.BaseExtensionType):
        kind, values = draw(st.sampled_from(LISTS))(kind), [[value] * n for value in values for n in (1, 2)]
        values += [[]]
    values = draw(st.lists(st.sampled_from(values) | st.none(), max_size=6))
    if isinstance(kind, pyarrow.BaseExtensionType):
        plain = pyarrow.ExtensionArray.from_storage(kind, pyarrow.array(values, kind.storage_type))
    else:
        plain = pyarrow.array(values, kind)
    how = draw(st.sampled_from(["plain", "dictionary", "runs", "slice", "chunks"]))
    try:
        if how == "dictionary":
            places = pyarrow.array(
                [None if value is None else i for i, value in enumerate(values)], draw(st.sampled_from(INDICES))
            )
            return pyarrow.DictionaryArray.from_arrays(places, plain), plain
        if how == "runs":
            ends = pyarrow.array(range(1, len(values) + 1), pyarrow.int32())
            return pyarrow.RunEndEncodedArray.from_arrays(ends, plain), plain
        if how == "slice":
            return pyarrow.concat_arrays([plain[:1], plain])[len(plain[:1]) :], plain
        if how == "chunks":
            return pyarrow.chunked_array([plain[:2], plain[2:]], plain.type), plain
    except (pyarrow.ArrowException, TypeError):  # pyarrow itself makes no such array
        pass
    return plain, None


def rows(tables, plan):
    """Give the features and what they are, or the sentence."""
    try:
        tables = list(tables())
        schema = make_schema(tables, plan)
        batches = [Encoder(schema, labels="none").encode(table) for table in tables]
    except (DataError, ConfigError) as error:
        return str(error)
    return schema.feature_names(), [
        (batch.values.tolist(), None if batch.is_dense else (batch.indptr.tolist(), batch.indices.tolist()))
        for batch in batches
    ]


PLANS = [
    TablePlan(missing="zero"), TablePlan(missing="zero", categorical=("v",)), TablePlan(numeric=("v",)),
    TablePlan(missing="zero", hashed={"v": 8}), TablePlan(missing="zero", fit=True),
]  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(arrays(), st.sampled_from(PLANS), st.sampled_from(["Arrow", "file", "Parquet"]))
def test_every_type_is_read_or_refused(found, plan, carrier):
    array, plain = found
    table = pyarrow.table({"row": pyarrow.array(range(len(array)), pyarrow.int32()), "v": array})
    data = io.BytesIO()
    try:
        if carrier == "file":
            with pyarrow.ipc.new_file(data, table.schema) as writer:
                writer.write_table(table)
        elif carrier == "Parquet":
            parquet.write_table(table, data)
    except pyarrow.ArrowException:  # there are no such files
        return
    read = {
        "Arrow": lambda: [frame_table(table)],
        "file": lambda: arrow_tables("x", data.getvalue()),
        "Parquet": lambda: parquet_tables("x", data.getvalue()),
    }[carrier]
    got = rows(read, plan)
    assert not isinstance(got, str) or "\n" not in got
    says_more = pyarrow.types.is_dictionary(array.type) and not (
        plan.categorical or plan.hashed
    )  # that it is categories
    if plain is not None and carrier == "Arrow" and not isinstance(got, str) and not says_more:
        simpler = table.set_column(1, "v", plain)
        assert got == rows(lambda: [frame_table(simpler)], plan)
