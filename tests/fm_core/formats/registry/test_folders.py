"""Folders such as ``year=2024``, by which Hive and Spark split a table, are columns for `fm` too."""

import pytest

from fm_core.batch import Batch
from fm_core.cli import main
from fm_core.errors import DataError
from fm_core.formats.hive import folders_above
from fm_core.formats.registry import FORMATS
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.tables.learner import TablePlan

pyarrow = pytest.importorskip("pyarrow")


def written(path, **columns):
    from pyarrow import feather, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        feather.write_feather(table, path)
    else:
        delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
        rows = [list(columns), *([repr(cell) for cell in row] for row in zip(*columns.values(), strict=True))]
        path.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    return path


#: Of each format that is a table, so that a new one is tried too.
SUFFIXES = [described.suffixes[0] for described in FORMATS.values() if described.is_table]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("folders", "features"),
    [
        (["year=2023", "year=2024"], ["x", "year"]),
        (["year=2023/land=no", "year=2024/land=de"], ["x", "year", "land=no", "land=de"]),
        (["a=%2Fb", "a=__HIVE_DEFAULT_PARTITION__"], ["x", "a=/b"]),
        (["m=1/land=x", "m=1/land=007"], ["x", "m", "land=x", "land=007"]),  # as a cell of CSV with that text
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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_columns_than_those_of_the_first_file_are_refused(tmp_path, suffix):
    paths = [written(tmp_path / folder / f"x{suffix}", x=[1.0], y=[0]) for folder in ("year=2023", "month=3", "plain")]
    for second in paths[1:]:
        with pytest.raises(DataError, match="year"):
            list(open_rows([paths[0], second], None, Options(plan=TablePlan(label="y"))).batches())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_is_a_column_of_the_file_too_is_refused(tmp_path, suffix):
    path = written(tmp_path / "x=3" / f"x{suffix}", x=[1.0], y=[0])
    with pytest.raises(DataError, match="the folder x=3 is a column, and two columns are named 'x' then"):
        open_rows([path], None, Options(plan=TablePlan(label="y")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_is_encoded_by_a_schema_as_the_same_column_of_a_file_is(tmp_path, suffix):
    plan = TablePlan(label="y", hashed={"land": 50}, categorical=("day",))
    below = [written(tmp_path / f"land={land}/day={day}/part{suffix}", x=[1.5, 2.5], y=[0, 1])
             for land, day in (("no", "07"), ("de", "7"), ("no", "__HIVE_DEFAULT_PARTITION__"))]  # fmt: skip
    rows = [
        f"{x},{y},{land},{day}"
        for land, day in (("no", "07"), ("de", "7"), ("no", ""))
        for x, y in ((1.5, 0), (2.5, 1))
    ]
    (tmp_path / "flat.csv").write_text("\n".join(["x,y,land,day", *rows]) + "\n")
    flat = open_rows([tmp_path / "flat.csv"], None, Options(plan=plan))
    for options in (Options(plan=plan), Options(schema=flat.schema)):
        opened = open_rows(below, None, options)
        assert opened.schema == flat.schema
        found, wanted = (Batch.concatenate(list(each.batches())) for each in (opened, flat))
        assert (found.to_matrix() != wanted.to_matrix()).nnz == 0
        assert found.labels.tolist() == wanted.labels.tolist()


def test_folders_stand_beside_lines_without_a_header(tmp_path):
    path = tmp_path / "day=3" / "x.csv"
    path.parent.mkdir()
    path.write_text("0,1.5\n1,2.5\n")
    learned = open_rows([path], None, Options(plan=TablePlan(label="0")))
    for opened in (learned, open_rows([path], None, Options(schema=learned.schema))):
        assert opened.schema.feature_names() == ["1", "day"]
        assert [batch.values.tolist() for batch in opened.batches()] == [[[1.5, 3], [2.5, 3]]]


def test_a_whole_folder_is_refused_in_one_sentence(tmp_path, capsys):
    written(tmp_path / "data" / "year=2023" / "x.parquet", x=[1.0], y=[0])
    for how in ([], ["--from", "parquet"]):
        assert main(["convert", str(tmp_path / "data"), str(tmp_path / "o.libsvm"), "--label", "y", *how]) == 1
        assert "is a folder, expected a file: name the files in it" in capsys.readouterr().err


@pytest.mark.parametrize("of", [name for name, described in FORMATS.items() if not described.is_table])
def test_folders_above_rows_of_feature_ids_are_said_to_be_no_features(of, tmp_path, capsys):
    suffix = FORMATS[of].suffixes[0]
    folder = tmp_path / "year=2024" / "la\x1bnd=no"
    folder.mkdir(parents=True)
    (tmp_path / "x.libsvm").write_text("0 1:2\n1 0:1\n" * 20)
    assert main(["convert", str(tmp_path / "x.libsvm"), str(folder / f"x{suffix}")]) == 0
    assert not capsys.readouterr().err
    path = str(folder / f"x{suffix}")
    commands = (["convert", path, str(tmp_path / "o.csv")], ["train", path, "-o", str(tmp_path / "m"), "--epochs", "1"],
                ["predict", str(tmp_path / "m"), path])  # fmt: skip
    for command in commands:
        assert main(command) == 0, command
        said = capsys.readouterr().err
        assert r"the folders that are the columns 'year', 'la\x1bnd' are no features: rows of feature ids" in said


def test_which_folders_count():
    assert folders_above("/a=1/data/b=2/c=3/x.parquet") == {"b": "2", "c": "3"}
    assert folders_above("x.parquet") == {}
    assert folders_above("a=1/x=2.parquet") == {"a": "1"}
