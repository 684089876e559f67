"""Files of every format to every other and back, in memory of this process; `fm` itself is tested as one."""

import gzip
import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats import read_records, write_records
from fm_core.formats.convert.conversion import Conversion, convert
from fm_core.formats.rebatch import rebatched
from fm_core.formats.recordio.serializer import RecordSerializer
from fm_core.formats.registry import FORMATS, Role, format_of, formats_for
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.registry.npz import read_npz
from fm_core.formats.tables.learner import TablePlan
from tests.fm_core.strategies import dense_batches, sparse_batches

BATCHES = st.one_of(sparse_batches(), dense_batches(max_rows=12))
FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def extreme(draw):
    """A batch with numbers of any size, negative zeros among them."""
    batch = draw(BATCHES)
    values = draw(st.lists(FLOAT, min_size=batch.values.size, max_size=batch.values.size))
    shaped = np.array(values, np.float32).reshape(batch.values.shape)
    labels = np.array(draw(st.lists(FLOAT, min_size=batch.n_rows, max_size=batch.n_rows)), np.float32)
    return Batch(batch.feature_dim, shaped, batch.indptr, batch.indices, labels)


def put(folder, batch, name="0.recordio"):
    path = Path(folder) / name
    with path.open("wb") as file:
        write_records(file, batch.to_matrix(), batch.labels)
    return path


def rows_of(path, **options):
    opened = open_rows([path], None, Options(**options))
    return Batch.concatenate(list(opened.batches()))


def dense_of(batch):
    rows = batch.to_matrix()
    return rows if isinstance(rows, np.ndarray) else rows.toarray()


def same_rows(found, expected):
    np.testing.assert_array_equal(dense_of(found), dense_of(expected))
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("to", formats_for(Role.WRITE))
@pytest.mark.parametrize("compressed", ["", ".gz"])
@given(batch=st.one_of(BATCHES, extreme()))
def test_what_is_written_is_read_back(to, compressed, batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    if to == "npz" and compressed:
        return
    there = folder / f"1.{to}{compressed}"
    written, feature_dim, _ = convert([put(folder, batch)], there, Conversion())
    assert [(file.path, file.n_rows) for file in written] == [(there, batch.n_rows)]
    assert feature_dim == batch.feature_dim
    table = FORMATS[to].is_table
    options = Options(plan=TablePlan(label="0"), header=False) if table else Options(feature_dim=feature_dim)
    again = folder / "2.recordio"
    convert([there], again, Conversion(), None, options)
    same_rows(rows_of(again), batch)
    if to in ("recordio", "npz") or (batch.is_dense and table):
        assert again.read_bytes() == (folder / "0.recordio").read_bytes()
    assert not list(folder.glob(".*"))


@given(batch=BATCHES)
def test_rows_without_labels_stay_so(batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    bare = Batch(batch.feature_dim, batch.values, batch.indptr, batch.indices)
    path = put(folder, bare)
    for name in ("1.libsvm", "2.npz", "3.csv", "4.recordio"):
        plan = TablePlan(label=None)
        there = folder / name
        convert([path], there, Conversion(), None, Options(labels="optional"))
        options = Options(labels="optional", plan=plan, header=False)
        if name == "1.libsvm":
            options = Options(labels="optional", feature_dim=batch.feature_dim)
        opened = open_rows([there], None, options)
        found = Batch.concatenate(list(opened.batches()))
        assert found.labels is None
        np.testing.assert_array_equal(dense_of(found), dense_of(bare))


@given(batch=st.one_of(BATCHES, extreme()))
def test_read_records_reads_what_write_records_wrote(batch):
    file = io.BytesIO()
    write_records(file, batch.to_matrix(), batch.labels)
    for given_file in (file.getvalue(), io.BytesIO(file.getvalue()), gzip.compress(file.getvalue())):
        rows, labels = read_records(given_file)
        assert isinstance(rows, np.ndarray) == batch.is_dense
        assert rows.shape == (batch.n_rows, batch.feature_dim)
        np.testing.assert_array_equal(rows if batch.is_dense else rows.toarray(), dense_of(batch))
        np.testing.assert_array_equal(labels, batch.labels)


def test_read_records_tells_of_damage_and_of_nothing(tmp_path):
    path = tmp_path / "x.rec"
    path.write_bytes(b"12345678")
    with pytest.raises(DataError, match=r"x\.rec: record 0 \(byte 0\): found 0x34333231 where a record begins"):
        read_records(path)
    with pytest.raises(DataError, match="found no record, expected at least one"):
        read_records(b"")


def test_the_width_of_sparse_records_without_a_shape_is_found(tmp_path):
    from fm_core.formats.recordio.framing import frame
    from fm_core.formats.recordio.messages import Record

    data = b""
    for keys in ([1], [], [7, 3]):
        record = Record()
        record.features["values"].float32_tensor.keys.extend(keys)
        record.features["values"].float32_tensor.values.extend([2.0] * len(keys))
        record.label["values"].float32_tensor.values.append(1.0)
        data += frame(record.SerializeToString())
    rows, labels = read_records(data)
    assert rows.shape == (3, 8)
    assert labels.tolist() == [1, 1, 1]
    path = tmp_path / "x.rec"
    path.write_bytes(data)
    convert([path], tmp_path / "x.csv", Conversion())
    assert (tmp_path / "x.csv").read_text() == "1,0,2,0,0,0,0,0,0\n1,0,0,0,0,0,0,0,0\n1,0,0,0,2,0,0,0,2\n"


@given(batch=BATCHES, sizes=st.lists(st.integers(0, 5), max_size=6), batch_size=st.integers(1, 7))
def test_batches_are_cut_and_joined(batch, sizes, batch_size):
    bounds = [min(bound, batch.n_rows) for bound in np.cumsum([0, *sizes, 100])]
    parts = [batch.slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    found = list(rebatched(parts, batch_size))
    assert [one.n_rows for one in found[:-1]] == [batch_size] * (len(found) - 1)
    for one in found:
        one.__post_init__()
    same_rows(Batch.concatenate(found), batch)
    order = np.arange(batch.n_rows)[::-2]
    np.testing.assert_array_equal(dense_of(batch.take(order)), dense_of(batch)[order])


@given(batch=st.one_of(sparse_batches(max_rows=40), dense_batches(max_rows=40)), shards=st.integers(1, 4),
       share=st.sampled_from([None, 0.5, 0.8]), seed=st.integers(0, 3))  # fmt: skip
def test_shards_and_splits_hold_every_row_once(batch, shards, share, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    path = put(folder, batch)
    conversion = Conversion(shards=shards, split=share, seed=seed)
    written, _, _ = convert([path], folder / "out.x.rec.gz", conversion)
    parts = ["train", "test"] if share else [""]
    names = [
        f"out.x{part and '.' + part}{f'-{i:05d}-of-{shards:05d}' if shards > 1 else ''}.rec.gz"
        for part in parts
        for i in range(shards)
    ]
    assert [file.path.name for file in written] == names
    assert sum(file.n_rows for file in written) == batch.n_rows
    for part in range(len(parts)):
        files = written[part * shards : (part + 1) * shards]
        assert max(file.n_rows for file in files) - min(file.n_rows for file in files) <= 1
    found = [rows_of(file.path) for file in written if file.n_rows]
    rows = np.concatenate([np.column_stack([one.labels, dense_of(one)]) for one in found])
    expected = np.column_stack([batch.labels, dense_of(batch)])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_a_split_is_the_same_however_rows_are_read_and_another_with_another_seed(tmp_path):
    rows = np.arange(10000, dtype=np.float32)[:, None] + 1
    batch = Batch.from_dense(rows, np.zeros(len(rows)))
    whole = put(tmp_path, batch)
    parts = [put(tmp_path, batch.slice(start, start + 2500), f"{start}.rec") for start in range(0, 10000, 2500)]
    found = []
    for number, (inputs, seed) in enumerate([([whole], 0), (parts, 0), ([whole], 1)]):
        (train, test), _, _ = convert(inputs, tmp_path / f"out{number}.rec", Conversion(split=0.8, seed=seed))
        assert 7850 < train.n_rows < 8150
        assert train.n_rows + test.n_rows == 10000
        found.append((train.path.read_bytes(), test.path.read_bytes()))
    assert found[0] == found[1] != found[2]
    numbers = dense_of(rows_of(tmp_path / "out0.test.rec"))[:, 0]
    assert 4500 < numbers.mean() < 5500  # nothing periodic
    assert len(set(np.diff(numbers).astype(int))) > 5


def test_labels_become_0_and_1_from_a_threshold_on(tmp_path):
    path = tmp_path / "x.libsvm"
    path.write_text("-1 0:1\n3.5 0:1\n4 1:2\n")
    convert([path], tmp_path / "y.libsvm", Conversion(threshold=3.5, first_key=1))
    assert (tmp_path / "y.libsvm").read_text() == "0 1:1\n1 1:1\n1 2:2\n"


def test_ids_of_text_may_be_counted_from_1(tmp_path):
    path = tmp_path / "x.libsvm"
    path.write_text("1 1:1 3:2\n")
    convert([path], tmp_path / "x.csv", Conversion(), None, Options(first_key=1))
    assert (tmp_path / "x.csv").read_text() == "1,1,0,2\n"
    path.write_text("1 1:1 0:2\n")
    with pytest.raises(DataError, match="line 1: key 0 is not a feature, expected 1 to"):
        convert([path], tmp_path / "y.csv", Conversion(), None, Options(first_key=1))
    assert not (tmp_path / "y.csv").exists()


@pytest.mark.parametrize("name", ["x.rec", "x.PBR", "a.b.recordio.gz", "x.protobuf", "x.pb"])
def test_names_tell_formats(name):
    assert format_of(Path(name)).name == "recordio"
    with pytest.raises(ConfigError, match=r"x\.txt: the name does not tell the format, expected one of \.recordio"):
        format_of(Path("x.txt"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.csv.zst", r"zstd, which is not supported: unpack it, or pipe .* \(zstd -dc FILE \| fm"),
        ("x.CSV.BZ2", "bzip2 -dc"),
        ("x.csv.xz", "xz -dc"), ("x.csv.lz4", "lz4 -dc"), ("x.zip", "unzip -p"), ("x.tar.gz", "tar -xOf"),
        ("x.xlsx", "a spreadsheet, .*: save it as CSV or Parquet"), ("x.jsonl", "JSON"), ("x.json", "JSON"),
        ("x.orc", "ORC"), ("x.avro", "Avro"), ("x.pkl", "a pickle"), ("x.npy", r"numpy\.savez"), ("x.db", "a database"),
    ],
)  # fmt: skip
def test_names_of_other_formats_say_what_to_do(name, said):
    with pytest.raises(ConfigError, match=rf"the name is that of .*{said}"):
        format_of(Path(name))
    assert format_of(Path(name), "csv").name == "csv"


def test_npz_of_scipy_and_numpy_is_read(tmp_path):
    matrix = sp.random(5, 4, 0.5, "csc", random_state=1)
    sp.save_npz(tmp_path / "x.npz", matrix)
    np.testing.assert_array_equal(dense_of(read_npz(str(tmp_path / "x.npz"))), matrix.toarray().astype(np.float32))
    np.savez(tmp_path / "z.npz", X=np.eye(3), y=np.arange(3))
    batch = read_npz(str(tmp_path / "z.npz"))
    assert batch.is_dense
    assert batch.labels.tolist() == [0, 1, 2]


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "b")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no zip", "expected an npz file"),
        (_zip(), "expected an npz file"),
        (_npz(a=np.arange(3)), "expected an npz file"),
        (_npz(X=np.eye(3), y=np.arange(2)), r"y has shape \(2,\), expected \(3,\), one label for each row"),
        (_npz(X=np.array([[np.nan]])), "row 0 has a value that is not finite"),
        (_npz(X=np.array([1])), "expected an npz file|have 1 dimensions"),
        (_npz(X=np.array([["a"]])), "expected numbers"),
    ],
)
def test_npz_that_holds_something_else_is_refused(data, said, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"x\.npz: .*({said})"):
        convert([path], tmp_path / "y.rec", Conversion(), None, Options(labels="optional"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_a_failure_on_the_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.libsvm"
    path.write_text("1 0:1\n" * 300000 + "1 0\n")
    (tmp_path / "y.rec").write_bytes(b"old")
    with pytest.raises(DataError, match="line 300001: '0' is not key:value"):
        convert([path], tmp_path / "y.rec", Conversion(shards=2, split=0.5), None, Options(feature_dim=1))
    with pytest.raises(DataError, match="line 300001: '0' is not key:value"):
        convert([path], tmp_path / "y.rec", Conversion(), None, Options(feature_dim=1))
    assert (tmp_path / "y.rec").read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.libsvm", "y.rec"]


@pytest.mark.parametrize(
    ("name", "text", "options", "error", "said"),
    [
        ("x.libsvm", "1 0:1 9:1\n", Options(feature_dim=5), DataError, "line 1: key 9 is not a feature, expected 0"),
        ("x.libsvm", "", Options(), DataError, r"x\.libsvm: found no rows, expected at least one"),
        ("x.libsvm", "1 0:1\n\n1 1:3e38 1:3e38\n", Options(), DataError, "line 3: the values of a repeated key"),
        ("x.csv", "", Options(), DataError, r"x\.csv: found no rows, expected at least one"),
        ("x.csv", "a,b\n", Options(), DataError, r"x\.csv: found no rows, expected at least one"),
        ("x.csv", "1,2\n", Options(feature_dim=3), DataError, r"x\.csv: rows have 2 features, expected 3"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(name, text, options, error, said, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error, match=said):
        convert([path], tmp_path / "y.rec", Conversion(), None, options)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    path = tmp_path / "x.libsvm"
    path.write_text("1 0:1\n")
    with pytest.raises(ConfigError, match="parquet can only be read, expected one of recordio, libsvm"):
        convert([path], tmp_path / "x.parquet", Conversion())
    with pytest.raises(ConfigError, match=r"y\.rec: there is no folder .*none: create it first"):
        convert([path], tmp_path / "none/y.rec", Conversion())
    with pytest.raises(FileNotFoundError):
        convert([path, tmp_path / "z.libsvm"], tmp_path / "y.rec", Conversion())


@pytest.mark.parametrize(
    "data", [np.eye(2, dtype=np.float32), sp.eye(3, format="csr"), [1, 0.5], np.array([[True, False]]), np.arange(3)]
)
def test_the_serializer_makes_a_body_that_reads_back(data):
    serializer = RecordSerializer()
    body = serializer.serialize(data)
    assert body == serializer(data)
    rows, labels = read_records(body)
    assert labels is None
    expected = data.toarray() if sp.issparse(data) else np.atleast_2d(np.asarray(data, np.float32))
    np.testing.assert_array_equal(rows.toarray() if sp.issparse(rows) else rows, expected)
