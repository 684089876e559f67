"""Training straight from CSV, libsvm and Parquet: the model is that of the same numbers as records."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from fm_core.formats import read_records, write_records
from tests.contract.test_pipe import fed
from tests.contract.training import FEATURE_DIM, Job, records

SPARSE, DENSE = records(230), records(230, dense=True)


def as_csv(rows, labels):
    return "".join(f"{label:g},{','.join(map(repr, row))}\n" for label, row in numbers(rows, labels))


def as_quoted_csv(rows, labels):
    """With quotes, spaces, CRLF, blank lines and exponents, and no newline at the end."""
    lines = [f'"{label}", {",".join(f"{number:.9e}" for number in row)}' for label, row in numbers(rows, labels)]
    return "\ufeff" + "\r\n\r\n".join(lines)


def as_libsvm(rows, labels):
    return "".join(
        f"{label:g} {' '.join(f'{key}:{value!r}' for key, value in enumerate(row) if value)}\n"
        for label, row in numbers(rows, labels)
    )


def as_untidy_libsvm(rows, labels):
    """Keys in falling order, comments, blank lines, tabs, plus signs, queries."""
    lines = ["# a comment", ""]
    for label, row in numbers(rows, labels):
        pairs = [f"{key}:{value:+.9e}" for key, value in enumerate(row) if value]
        lines.append("\t".join([f"+{label:.1f}", "qid:7", *reversed(pairs)]) + "  # the end")
    return "\n".join(lines)


def numbers(rows, labels):
    """As Python's numbers that stand for float32."""
    dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
    return zip(labels.tolist(), [[float(str(value)) for value in row] for row in dense], strict=True)


def as_parquet(rows, labels):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"y": labels.astype(np.int64)} | {f"x{i}": rows[:, i] for i in range(rows.shape[1])}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file, row_group_size=70)
    return file.getvalue()


def job_of(root, content_type, *files, epochs="2"):
    job = Job(root)
    job.hyperparameters["epochs"] = epochs
    for number, data in enumerate(files):
        job.put(f"part-{number}", data if isinstance(data, bytes) else data.encode())
    if content_type:
        job.channels["train"] = {"ContentType": content_type}
    return job


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The models of the records."""
    models = {}
    for name, data in (("sparse", SPARSE), ("dense", DENSE)):
        done = job_of(tmp_path_factory.mktemp(name) / "job", None, data).run()
        assert done.succeeded, done.log
        models[name] = done.model
    return models


@pytest.mark.parametrize(
    ("content_type", "written", "data", "kind"),
    [
        ("text/csv", as_csv, DENSE, "dense"),
        ("Text/CSV; label_size=1", as_quoted_csv, DENSE, "dense"),
        ("text/csv;charset=utf-8", as_csv, DENSE, "dense"),
        ("text/libsvm", as_libsvm, SPARSE, "sparse"),
        ("text/libsvm", as_untidy_libsvm, SPARSE, "sparse"),
        ("application/x-parquet", as_parquet, DENSE, "dense"),
    ],
)
def test_the_model_is_that_of_the_records(content_type, written, data, kind, tmp_path, expected):
    done = job_of(tmp_path / "job", content_type, written(*read_records(data))).run()
    assert done.succeeded, done.log
    assert done.model == expected[kind]


def test_rows_of_several_files_and_of_gzip_are_one_data_set(tmp_path, expected):
    lines = as_csv(*read_records(DENSE)).splitlines(keepends=True)
    parts = ["".join(lines[:7]).rstrip("\n"), gzip.compress("".join(lines[7:100]).encode()), "".join(lines[100:])]
    done = job_of(tmp_path / "job", "text/csv", *parts).run()
    assert done.succeeded, done.log
    assert done.model == expected["dense"]


@pytest.mark.parametrize(("content_type", "written"), [("text/csv", as_csv), ("text/libsvm", as_libsvm)])
def test_pipe_mode_reads_text(content_type, written, tmp_path, expected):
    kind, data = ("dense", DENSE) if written is as_csv else ("sparse", SPARSE)
    job = job_of(tmp_path / "job", content_type)
    job.channels["train"] = {"ContentType": content_type, "TrainingInputMode": "Pipe"}
    file = tmp_path / "rows.txt"
    file.write_text(written(*read_records(data)))
    with fed(job, "train", file, epochs=2):
        done = job.run()
    assert done.succeeded, done.log
    assert done.model == expected[kind]


def test_a_channel_has_its_content_type_to_itself(tmp_path, expected):
    job = job_of(tmp_path / "job", "text/csv", as_csv(*read_records(DENSE)))
    job.put("0.pbr", DENSE, "test")
    done = job.run()
    assert done.succeeded, done.log
    assert done.model == expected["dense"]
    assert "#test_score (algo-1)" in done.log


def parameters(model):
    with zipfile.ZipFile(io.BytesIO(model["model_algo-1"])) as archive:
        return archive.read("params")


ROW = ",".join(["0"] * FEATURE_DIM)


@pytest.mark.parametrize(
    ("content_type", "data", "said"),
    [
        ("text/csv", f"1,{ROW}\n0,1\n", "part-0: line 2: found 2 columns, expected 41, a label and feature_dim=40"),
        ("text/csv", f"y,{ROW}\n", "column 0: found 'y', expected a number that is finite as float32; a header"),
        ("text/csv", f"1,{ROW}\n2,{ROW}\n", "train/part-0: line 2: the label is '2', expected 0 or 1"),
        ("text/csv", f"1,{ROW}\n1,,{ROW[2:]}\n", "train/part-0: line 2, column 1: found '', expected a number"),
        ("text/csv", f'1,{ROW}\n1,"{ROW}\n', "train/part-0: line 2: a quote in this row is not closed"),
        ("text/csv", f'1,"0"0,{ROW}\n', "train/part-0: line 1: column 1 has text after its closing quote"),
        ("text/csv", f"1,{ROW[:-1]}1e39\n", "line 1, column 40: found '1e39', expected a number that is finite"),
        ("text/csv", SPARSE, "train/part-0: the file looks like RecordIO, expected delimited text"),
        ("text/csv", b"PK\x03\x04" + bytes(100), "train/part-0: the file looks like a zip archive"),
        ("text/csv", b"1,2\0\0", "train/part-0: byte 3 is zero, expected delimited text"),
        ("text/libsvm", "1 0:1\n0 40:1\n", "line 2: key 40 is not a feature, expected 0 to 39 for feature_dim=40"),
        ("text/libsvm", "1 0:1\n\n1:1 2:1\n", "train/part-0: line 3: found '1:1' where the label stands"),
        ("text/libsvm", "1 0:1\n-1 2:1\n", "train/part-0: line 2: the label is '-1', expected 0 or 1"),
        ("text/libsvm", "1 0:1 2:x\n", "train/part-0: line 1: '2:x' is not key:value"),
        ("text/libsvm", "1 0:1 -2:1\n", "train/part-0: line 1: '-2:1' is not key:value"),
        ("text/libsvm", "a 0:1\n", "train/part-0: line 1: the label is 'a', expected a number"),
        ("text/libsvm", "# nothing\n", "channel train is empty"),
        ("text/csv", "\n \n", "channel train is empty"),
        ("application/x-parquet", "PAR1 and no more", "expected a Parquet file"),
    ],
)  # fmt: skip
def test_a_bad_row_fails_the_job_and_says_where(content_type, data, said, tmp_path):
    if "parquet" in content_type:
        pytest.importorskip("pyarrow")
    done = job_of(tmp_path / "job", content_type, data).run_here()
    assert done.code == 1
    assert done.failure.startswith("ClientError: ")
    assert said in done.failure
    assert not done.model


@pytest.mark.parametrize("content_type", ["text/csv", "text/libsvm", "application/x-parquet"])
def test_as_many_bad_rows_as_allowed_are_skipped(content_type, tmp_path, expected):
    if "parquet" in content_type:
        pytest.importorskip("pyarrow")
        rows, labels = read_records(DENSE)
        rows, labels = np.insert(rows, 5, np.nan, axis=0), np.insert(labels, 5, 1)
        rows, labels = np.insert(rows, 100, 1, axis=0), np.insert(labels, 100, 3)
        data, kind = as_parquet(rows, labels), "dense"
    else:
        written, kind, source = (
            (as_csv, "dense", DENSE) if content_type == "text/csv" else (as_libsvm, "sparse", SPARSE)
        )
        lines = written(*read_records(source)).splitlines()
        lines.insert(5, "1,2" if content_type == "text/csv" else "1 3:4:5")
        lines.insert(100, f"7,{ROW}" if content_type == "text/csv" else "7 3:4")
        data = "\n".join(lines)
    job = job_of(tmp_path / "job", content_type, data)
    job.hyperparameters["max_bad_records"] = "2"
    done = job.run_here()
    assert done.succeeded, done.log
    assert parameters(done.model) == parameters(expected[kind])
    assert done.log.count("Skipped a damaged record, ") == 2
    for epoch in (1, 2):
        assert f"Channel train, pass {epoch}: skipped 2 damaged records of at most 2." in done.log
    job.hyperparameters["max_bad_records"] = "1"
    done = job.run_here()
    assert "(1 bad records were skipped before it, as many as max_bad_records allows)" in done.failure


def test_the_second_column_of_csv_is_the_weight_if_the_content_type_says_so(tmp_path):
    """As labels and weights of libsvm, and of records, of the same rows."""
    rows, labels = read_records(DENSE)
    weights = np.random.default_rng(0).choice(np.array([0.5, 1, 2, 3], np.float32), len(labels))
    lines = [
        f"{label:g},{weight:g},{','.join(map(repr, row))}\n"
        for weight, (label, row) in zip(weights.tolist(), numbers(rows, labels), strict=True)
    ]
    as_records = io.BytesIO()
    write_records(as_records, rows, labels, weights)
    weighted = [
        job_of(tmp_path / name, kind, data).run()
        for name, kind, data in (
            ("csv", "text/csv; csv_weights=1", "".join(lines)), ("records", None, as_records.getvalue()),
            ("plain", None, DENSE),
        )
    ]  # fmt: skip
    assert all(done.succeeded for done in weighted), weighted[0].log
    assert weighted[0].model == weighted[1].model != weighted[2].model
    wrong = job_of(tmp_path / "wrong", "text/csv; csv_weights=1", "".join(["1,-2", *lines[0][3:]])).run()
    assert not wrong.succeeded
    assert "line 1: the weight is '-2'" in wrong.failure


@pytest.mark.parametrize("channel", ["test", "validation"])
def test_columns_of_another_channel_are_found_by_the_names_of_the_train_channel(channel, tmp_path):
    """Else its first column would be learned, or scored, as the label."""
    values = np.random.default_rng(0).normal(size=(60, 2))
    columns = {"y": (values[:, 0] > 0).astype(float), "a": values[:, 0], "b": values[:, 1]}
    said = {}
    for names in ("yab", "yba", "ayb", "bay"):
        job = job_of(tmp_path / names, "application/x-parquet", as_parquet_of(columns))
        job.hyperparameters["feature_dim"] = "2"
        job.put("b", as_parquet_of({name: columns[name] for name in names}), channel)
        job.channels[channel]["ContentType"] = "application/x-parquet"
        done = job.run_here()
        assert done.succeeded, done.log
        said[names] = [line.partition("algo-1, ")[2] for line in done.lines if f" {channel} binary" in line]
    assert len(said["yab"]) >= 2
    assert said["yba"] == said["ayb"] == said["bay"] == said["yab"]


def as_parquet_of(columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def test_folders_of_another_channel_are_those_of_the_train_channel(tmp_path):
    lines = "".join(f"{i % 2}\n" for i in range(60))
    said = []
    for place in ("day=3/hour=7", "hour=7/day=3"):
        job = job_of(tmp_path / place[:3], "text/csv")
        job.hyperparameters["feature_dim"] = "2"
        job.put("day=3/hour=7/a", lines.encode())
        job.put(f"{place}/b", lines.encode(), "test")
        job.channels["test"]["ContentType"] = "text/csv"
        done = job.run_here()
        assert done.succeeded, done.log
        said.append([line.partition("algo-1, ")[2] for line in done.lines if " test binary" in line])
    assert said[0] == said[1] != []


def test_the_index_of_a_frame_is_no_column_of_a_channel(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"y": np.arange(60) % 2.0, "a": np.linspace(-1, 1, 60)})
    models = []
    for index in (None, np.arange(60) ** 2):
        file = io.BytesIO()
        (frame if index is None else frame.set_index(index)).to_parquet(file)
        job = job_of(tmp_path / str(len(models)), "application/x-parquet", file.getvalue())
        job.hyperparameters["feature_dim"] = "1"
        done = job.run_here()
        assert done.succeeded, done.log
        models.append(done.model)
    assert parameters(models[0]) == parameters(models[1])
    job.hyperparameters["feature_dim"] = "2"
    assert "'__index_level_0__' is the index of a DataFrame, and no column" in job.run_here().failure
