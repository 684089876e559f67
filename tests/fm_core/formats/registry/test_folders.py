"""Folders such as ``year=2024``, by which Hive and Spark split a table, are columns for `fm` too."""

import pytest

from fm_core.cli import main
from fm_core.errors import DataError
from fm_core.formats.hive import folders_above
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.tables.learner import TablePlan

pyarrow = pytest.importorskip("pyarrow")


def written(path, **columns):
    from pyarrow import feather, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        feather.write_feather(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("folders", "features"),
    [
        (["year=2023", "year=2024"], ["x", "year"]),
        (["year=2023/land=no", "year=2024/land=de"], ["x", "year", "land=no", "land=de"]),
        (["a=%2Fb", "a=__HIVE_DEFAULT_PARTITION__"], ["x", "a=/b"]),
        (["year=2023/raw", "year=2024/raw"], ["x"]),  # not next above the files
    ],
)
def test_folders_are_columns(folders, features, suffix, tmp_path):
    paths = [written(tmp_path / folder / f"part{suffix}", x=[1.0, 2.0], y=[0, 1]) for folder in folders]
    opened = open_rows(paths, None, Options(plan=TablePlan(label="y")))
    rows = [row for batch in opened.batches() for row in batch.to_matrix().tolist()] if features[1:] == ["year"] else 0
    assert opened.schema.feature_names() == features
    if rows:
        assert rows == [[1, 2023], [2, 2023], [1, 2024], [2, 2024]]


def test_other_columns_than_those_of_the_first_file_are_refused(tmp_path):
    paths = [written(tmp_path / folder / "x.parquet", x=[1.0], y=[0]) for folder in ("year=2023", "month=3", "plain")]
    for second in paths[1:]:
        with pytest.raises(DataError, match="year"):
            list(open_rows([paths[0], second], None, Options(plan=TablePlan(label="y"))).batches())


def test_a_folder_that_is_a_column_of_the_file_too_is_refused(tmp_path):
    path = written(tmp_path / "x=3" / "x.parquet", x=[1.0], y=[0])
    with pytest.raises(DataError, match="two columns are named 'x'"):
        open_rows([path], None, Options(plan=TablePlan(label="y")))


def test_a_whole_folder_is_refused_in_one_sentence(tmp_path, capsys):
    written(tmp_path / "data" / "year=2023" / "x.parquet", x=[1.0], y=[0])
    for how in ([], ["--from", "parquet"]):
        assert main(["convert", str(tmp_path / "data"), str(tmp_path / "o.libsvm"), "--label", "y", *how]) == 1
        assert "is a folder, expected a file: name the files in it" in capsys.readouterr().err


def test_which_folders_count():
    assert folders_above("/a=1/data/b=2/c=3/x.parquet") == {"b": "2", "c": "3"}
    assert folders_above("x.parquet") == {}
    assert folders_above("a=1/x=2.parquet") == {"a": "1"}
