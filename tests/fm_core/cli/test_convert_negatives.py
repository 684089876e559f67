"""fm convert --negatives: rows of other items behind each positive."""

import subprocess
import sys

import numpy as np
import pytest

from fm_core.formats import read_records
from fm_core.formats.tables.schema import TableSchema

LIKES = [("ann", "f1"), ("ann", "f2"), ("bob", "f3"), ("cleo", "f1"), ("cleo", "f4"), ("bob", "f5"), ("ann", "f6")] * 3
GENRE = {f"f{i}": "war" if i % 2 else "love" for i in range(1, 7)}


def fm(*arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def likes(tmp_path):
    path = tmp_path / "likes.csv"
    path.write_text("user,hour,film,genre\n" + "".join(f"{u},{i},{f},{GENRE[f]}\n" for i, (u, f) in enumerate(LIKES)))
    return path


def converted(likes, output, *arguments):
    fm("convert", likes, output, "--no-label", "--negatives", 2, "--user", "user", "--items", "film,genre", *arguments)
    rows, labels = read_records(output)
    schema = TableSchema.load(output.with_name("schema.json"))
    names = schema.feature_names()
    hour = schema.offsets[1]
    found = []
    for row in rows:
        cells = dict(names[key].split("=") for key in row.indices if key != hour)
        found.append((cells["user"], float(row[0, hour]) if hour in row.indices else 0, cells["film"], cells["genre"]))
    return found, labels


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_each_positive_is_followed_by_negatives_in_its_context(likes, tmp_path, sampling):
    rows, labels = converted(likes, tmp_path / "x.recordio", "--negative-sampling", sampling)
    known = set(LIKES)
    assert labels.tolist() == [1, 0, 0] * len(LIKES)
    for i, (user, film) in enumerate(LIKES):
        assert rows[3 * i] == (user, i, film, GENRE[film])
        for negative in rows[3 * i + 1 : 3 * i + 3]:
            assert negative[:2] == (user, i)
            assert (user, negative[2]) not in known
            assert negative[3] == GENRE[negative[2]]
    assert len({row[2] for row, label in zip(rows, labels, strict=True) if not label}) > 3


def test_the_seed_decides(likes, tmp_path):
    first = converted(likes, tmp_path / "a.recordio")[0]
    assert converted(likes, tmp_path / "b.recordio")[0] == first
    assert converted(likes, tmp_path / "c.recordio", "--seed", 5)[0] != first


def test_rows_of_label_0_stay_and_who_knows_all_has_no_negatives(tmp_path):
    (tmp_path / "x.libsvm").write_text("1 0:1 2:1\n1 0:1 3:1\n1 0:1 4:1\n0 1:1 2:1\n1 1:1 3:1\n")
    output = tmp_path / "x.recordio"
    fm("convert", tmp_path / "x.libsvm", output, "--negatives", 3, "--user", "0:2", "--items", "2:5")
    rows, labels = read_records(output)
    assert labels.tolist() == [1, 1, 1, 0, 1, 0, 0, 0]
    assert {tuple(row.indices.tolist()) for row in list(rows)[5:]} <= {(1, 2), (1, 4)}
    assert np.all(rows.data == 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--negatives", 2, "--user", "user"], "--negatives needs --items"),
        (["--negatives", 2, "--items", "film"], "--negatives needs --user"),
        (["--user", "user"], "--user and --items need --negatives"),
        (["--negatives", 2, "--user", "user", "--items", "movie"], "--items names column 'movie'"),
        (["--negatives", 2, "--user", "user", "--items", "film", "--split", 0.5], "split first"),
    ],
)
def test_what_cannot_be_done_is_said(likes, tmp_path, arguments, sentence):
    said = fm("convert", likes, tmp_path / "x.recordio", "--no-label", *arguments, status=1)
    assert sentence in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["likes.csv"]
