"""Parquet files of a channel: columns by name, whatever their order, and folders such as day=3 as columns."""

import io

import numpy as np
import pytest

from fm_core.errors import DataError
from fm_core.formats.registry.columnar import read_batches
from fm_core.formats.streams import Source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def read(*files, feature_dim=2):
    sources = [Source(name, [data]) for name, data in files]
    batches = list(read_batches(sources, feature_dim=feature_dim, batch_size=10, labels="real"))
    return np.concatenate([batch.labels for batch in batches]), np.concatenate([batch.values for batch in batches])


def test_columns_in_another_order_are_taken_by_name():
    labels, values = read(
        ("train/a", parquet(y=[1.0], b=[2.0], c=[3.0])),
        ("train/b", parquet(c=[30.0], y=[10.0], b=[20.0])),
        ("train/c", parquet(b=[200.0], c=[300.0], y=[100.0])),
    )
    assert labels.tolist() == [1, 10, 100]
    assert values.tolist() == [[2, 3], [20, 30], [200, 300]]


def test_other_columns_are_refused_by_file():
    with pytest.raises(DataError, match=r"train/b: its columns are not those of train/a: it lacks 'c', and has 'd\\n"):
        read(
            ("train/a", parquet(y=[1.0], b=[2.0], c=[3.0])),
            ("train/b", parquet(**{"y": [1.0], "b": [2.0], "d\n": [3.0]})),
        )


def test_a_wrong_cell_of_another_order_is_named_by_its_own_column():
    with pytest.raises(DataError, match=r"train/b: row 0, column 'c': found"):
        read(("train/a", parquet(y=[1.0], b=[2.0], c=[3.0])), ("train/b", parquet(c=[None], y=[1.0], b=[2.0])))


def test_folders_of_hive_are_columns_behind_those_of_the_file():
    labels, values = read(
        ("train/day=3/hour=0.5/a", parquet(y=[1.0, 2.0])),
        ("train/day=4/hour=1%2E5/b", parquet(y=[3.0])),
        ("train/hour=7/day=5/c", parquet(y=[4.0])),
    )
    assert labels.tolist() == [1, 2, 3, 4]
    assert values.tolist() == [[3, 0.5], [3, 0.5], [4, 1.5], [5, 7]]


@pytest.mark.parametrize("value", ["monday", "__HIVE_DEFAULT_PARTITION__", "", "1e99", "nan"])
def test_a_folder_that_is_no_number_is_refused(value):
    with pytest.raises(DataError, match=r"the folder day=.* is a column: found .*, expected a number"):
        read((f"train/day={value}/a", parquet(y=[1.0])), feature_dim=1)
