"""Columns of lists, as Parquet, Arrow and pandas have them: several ids in a cell, whatever they come from."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.tables.frames import encode_table, frame_table
from fm_core.formats.tables.learner import TablePlan, make_schema
from tests.conftest import ROOT

pyarrow = pytest.importorskip("pyarrow")

GENRES = [["crime", "drama"], [], ["scifi", None, "crime", "scifi"], None, ["drama"]]
IDS = [[3, 5], [5], [], [3], None]
TYPES = {
    "list": (pyarrow.list_(pyarrow.string()), pyarrow.list_(pyarrow.int64())),
    "large": (pyarrow.large_list(pyarrow.large_string()), pyarrow.large_list(pyarrow.uint8())),
    "other": (pyarrow.list_(pyarrow.dictionary(pyarrow.int32(), pyarrow.string())), pyarrow.list_(pyarrow.float64())),
}
PLAN = TablePlan(label="y")


def table(kind="list"):
    genres, ids = TYPES[kind]
    return pyarrow.table(
        {"genres": pyarrow.array(GENRES, genres), "ids": pyarrow.array(IDS, ids), "y": [1, 0, 1, 0, 1]}
    )


def write(path, table, **options):
    if path.suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, path, **options)
    else:
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return path


def encoded(path, plan=PLAN):
    opened = open_rows([path], None, Options(plan=plan))
    return Batch.concatenate(list(opened.batches())).to_matrix().toarray().tolist(), opened.schema


EXPECTED = [[1, 1, 0, 1, 1], [0, 0, 0, 0, 1], [1, 0, 2, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_lists_are_several_ids(name, kind, tmp_path):
    rows, schema = encoded(write(tmp_path / name, table(kind)))
    assert rows == EXPECTED
    assert schema.feature_names() == ["genres=crime", "genres=drama", "genres=scifi", "ids=3", "ids=5"]
    assert [column.separator for column in schema.columns] == ["|", "|"]


def test_lists_of_one_length_and_parts_of_arrays_too(tmp_path):
    pairs = pyarrow.array([["a", "b"], ["b", "c"], None, ["c", "a"]], pyarrow.list_(pyarrow.string(), 2))
    whole = pyarrow.table({"pairs": pairs, "y": [1, 0, 1, 0]})
    rows, _ = encoded(write(tmp_path / "x.arrow", whole.slice(1)))
    assert rows == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]  # b, c, a


def test_a_text_with_the_same_ids_is_the_same_row(tmp_path):
    _, schema = encoded(write(tmp_path / "x.parquet", table()))
    (tmp_path / "x.csv").write_text("ids,genres\n3|5,crime|drama\n5,\n,scifi|crime|scifi\n3,\n,drama\n")
    opened = open_rows([tmp_path / "x.csv"], None, Options(schema=schema, labels="none"))
    assert Batch.concatenate(list(opened.batches())).to_matrix().toarray().tolist() == EXPECTED


def test_a_frame_has_lists_too():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"genres": GENRES, "ids": [np.array(ids or [], int) for ids in IDS], "y": [1, 0, 1, 0, 1]})
    rows, _ = encode_table(frame, make_schema([frame_table(frame)], PLAN))
    assert rows.toarray().tolist() == EXPECTED


def test_lists_may_be_hashed(tmp_path):
    rows, schema = encoded(
        write(tmp_path / "x.parquet", table()), TablePlan(label="y", hashed={"genres": 7}, ignored=["ids"])
    )
    assert (schema.columns[0].kind, schema.columns[0].separator) == ("hashed", "|")
    assert np.sum(rows, axis=1).tolist() == [2, 0, 3, 0, 1]


def test_an_id_with_the_separator_in_it_is_refused_by_row(tmp_path):
    path = write(tmp_path / "x.parquet", pyarrow.table({"a": [["x"], [], ["y", "p|q"]], "y": [0, 1, 1]}))
    with pytest.raises(DataError, match=r"x\.parquet: row 2, column 'a': the id 'p\|q' holds '\|'.*--several 'a:SEP"):
        encoded(path)
    rows, _ = encoded(path, TablePlan(label="y", several={"a": "/"}))
    assert rows == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize("cells", [[{"b": 1}], [[{"b": 1}]], [[[1]]]])
def test_what_is_nested_deeper_is_refused(cells, tmp_path):
    path = write(tmp_path / "x.parquet", pyarrow.table({"a": cells, "y": [0]}))
    with pytest.raises(
        DataError, match=r"x\.parquet: column 'a': found (struct|list).*, expected numbers, texts, or lists"
    ):
        encoded(path)


def test_bytes_that_are_no_text_are_refused_by_row(tmp_path):
    path = write(tmp_path / "x.parquet", pyarrow.table({"a": [b"fine", b"\xff"], "y": [0, 1]}))
    with pytest.raises(DataError, match=r"x\.parquet: row 1, column 'a': found bytes that are not UTF-8 text"):
        encoded(path)


def test_memory_stays_the_same_when_a_parquet_file_grows(tmp_path):
    script = (
        "import re, sys; from fm_core.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(*re.findall(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read()))"
    )
    used = []
    for n_rows in (400_000, 1_200_000):
        i = np.arange(n_rows)
        lists = pyarrow.ListArray.from_arrays(np.append(i, n_rows).astype(np.int32), pyarrow.array(i % 50))
        whole = pyarrow.table({"user": i % 1000, "items": lists, "y": i % 2})
        write(tmp_path / "x.parquet", whole, row_group_size=50_000)
        command = ["convert", "x.parquet", "y.rec", "--label", "y", "--categorical", "user", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-c", script, *command, "--schema-out", f"{n_rows}.json"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        used.append(int(done.stdout))
    assert used[1] < used[0] + 15_000, used  # KiB; in memory, the rows of the files differ by 26 MB and more
