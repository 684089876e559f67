"""CSV of a channel in folders such as day=3, which are columns behind those of the file."""

import numpy as np
import pytest

from fm_core.errors import DataError
from fm_core.formats.registry.delimited import read_batches
from fm_core.formats.streams import Source


def read(*files, feature_dim=2, weights=False):
    sources = [Source(name, [data]) for name, data in files]
    batches = list(
        read_batches(sources, feature_dim=feature_dim, batch_size=10, labels="real", weights=weights, max_bad_records=1)
    )
    columns = ("labels", "weights", "values") if weights else ("labels", "values")
    return [np.concatenate([getattr(batch, name) for batch in batches]).tolist() for name in columns]


def test_folders_are_columns_behind_those_of_the_file_in_the_order_of_the_first():
    labels, values = read(
        ("train/day=3/hour=0.5/a", b"1,7\n2,8\n"),
        ("train/day=4/hour=1%2E5/b", b"3,9\nx,1\n"),  # a bad row, which may be skipped
        ("train/hour=6/day=5/c", b"4,10\n"),
        feature_dim=3,
    )
    assert labels == [1, 2, 3, 4]
    assert values == [[7, 3, 0.5], [8, 3, 0.5], [9, 4, 1.5], [10, 5, 6]]


def test_weights_stand_before_them():
    assert read(("train/day=3/a", b"1,0.5,7\n"), weights=True) == [[1], [0.5], [[7, 3]]]


@pytest.mark.parametrize("value", ["monday", "__HIVE_DEFAULT_PARTITION__", "", "1e99", "nan"])
def test_a_folder_that_is_no_number_is_refused(value):
    with pytest.raises(DataError, match=r"the folder day=.* is a column: found .*, expected a number"):
        read((f"train/day={value}/a", b"1\n"), feature_dim=1)


@pytest.mark.parametrize("second", ["train/b", "train/hour=3/b", "train/day=3/hour=3/b"])
def test_other_folders_than_those_above_the_first_file_are_refused(second):
    with pytest.raises(DataError, match=r"b: the folders above it are not those of train/day=3/a: it lacks .* and has"):
        read(("train/day=3/a", b"1,7\n"), (second, b"1,7\n"))


def test_too_many_columns_are_counted_with_those_of_folders():
    with pytest.raises(DataError, match=r"expected 2, a label and feature_dim=2 numbers, of which 1 from folders \("):
        read(("train/day=3/a", b"1,7,3\n" * 2))
    with pytest.raises(DataError, match="which leaves none for the file"):
        read(("train/day=3/hour=2/a", b"1\n"), feature_dim=1)
