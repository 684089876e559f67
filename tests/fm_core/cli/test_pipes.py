"""Whatever is opened is read once, or kept: what comes through a pipe gives the rows of a file with the same bytes."""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fm_core import FMRegressor, read_records
from fm_core.cli import COMMANDS, main
from fm_core.cli.arguments import source
from fm_core.errors import ConfigError, DataError
from fm_core.formats.registry import FORMATS, Role, formats_for
from fm_core.formats.registry.files import InputFile, input_files
from fm_core.formats.registry.npz import read_npz
from fm_core.formats.tables import TableSchema
from tests.conftest import ROOT

#: More than a pipe holds, and than a chunk.
N_ROWS = 40_000
LABELS = {"csv": ["--label", "0"], "tsv": ["--label", "0"], "parquet": ["--label", "y"], "arrow": ["--label", "y"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows in every format that is read."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(N_ROWS, 3)).astype(np.float32), rng.normal(size=N_ROWS).astype(np.float32)
    np.savez(folder / "x.npz", X=rows, y=labels)
    found = {}
    for name in formats_for(Role.READ):
        found[name] = path = folder / f"x{FORMATS[name].suffixes[0]}"
        if Role.WRITE in FORMATS[name].roles and name != "npz":
            assert main(["convert", str(folder / "x.npz"), str(path), "--quiet"]) == 0
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    table = pyarrow.table({"y": labels, "a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2]})
    parquet.write_table(table, found["parquet"])
    feather.write_feather(table, found["arrow"])
    return found


@pytest.fixture
def piped(tmp_path):
    """Make a FIFO that gives the bytes of a file to whoever reads it first."""
    writers = []

    def pipe(data, name="pipe"):
        path = tmp_path / name
        os.mkfifo(path)

        def write():
            with contextlib.suppress(BrokenPipeError):
                path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())

        writers.append(threading.Thread(target=write, daemon=True))
        writers[-1].start()
        return path

    yield pipe
    for writer in writers:
        writer.join(10)


@pytest.mark.parametrize("name", formats_for(Role.READ))
def test_every_row_of_a_pipe_is_converted(name, files, piped, tmp_path):
    pipe = piped(files[name])
    out = tmp_path / "out.recordio"
    assert main(["convert", str(pipe), str(out), "--from", name, "--quiet", *LABELS.get(name, [])]) == 0
    expected = read_npz(str(files["npz"]))
    rows, labels = read_records(out)
    rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
    np.testing.assert_array_equal(rows, expected.values)
    np.testing.assert_array_equal(labels, expected.labels)


def test_standard_input_is_read_whole_and_a_redirected_file_too(files, tmp_path):
    command = [sys.executable, "-m", "fm_core.cli", "convert", "-", str(tmp_path / "out.recordio")]
    command += ["--from", "csv", "--label", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=files["csv"].read_bytes(), env=environment, capture_output=True, check=True)
    assert f"{N_ROWS} rows" in done.stdout.decode()
    with files["csv"].open("rb") as file:
        done = subprocess.run(command, stdin=file, env=environment, capture_output=True, check=True)
    assert f"{N_ROWS} rows" in done.stdout.decode()


#: Paths of what is written, or is no rows; rows are read from all others.
NO_ROWS = {"model", "output", "out", "requests", "schema", "names", "schema_out", "jobs", "html"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dash_is_standard_input_wherever_rows_are_read(name):
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    paths = {action.dest: action.type for action in parser._actions if action.type in (Path, source)}
    assert {name for name, kind in paths.items() if kind is Path} <= NO_ROWS
    assert source("-") == Path("/dev/stdin")


def test_rows_of_unknown_format_leave_no_header(tmp_path, model, capfd):
    (tmp_path / "rows").write_text("a,b,c\n1,2,3\n")
    assert main(["predict", str(model), str(tmp_path / "rows"), "--with", "a"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert "--from csv" in said.err


def test_categories_of_a_pipe_are_those_of_the_file(piped, tmp_path):
    text = "user,y\n" + "".join(f"u{i % 5003},{i % 2}\n" for i in range(N_ROWS))
    (tmp_path / "x.csv").write_text(text)
    for name, path in {"file": tmp_path / "x.csv", "pipe": piped(text.encode())}.items():
        arguments = ["convert", str(path), str(tmp_path / f"{name}.libsvm"), "--from", "csv", "--label", "y", "--quiet"]
        assert main([*arguments, "--schema-out", str(tmp_path / f"{name}.json")]) == 0
    assert (tmp_path / "pipe.libsvm").read_bytes() == (tmp_path / "file.libsvm").read_bytes()
    assert TableSchema.load(tmp_path / "pipe.json") == TableSchema.load(tmp_path / "file.json")


@pytest.fixture(scope="module")
def model(files, tmp_path_factory):
    given = read_npz(str(files["npz"]))
    fitted = FMRegressor(num_factors=2, epochs=1).fit(given.values[:1000], given.labels[:1000])
    path = tmp_path_factory.mktemp("model") / "model_algo-1"
    fitted.save(path)
    return path


@pytest.mark.parametrize("command", [["predict"], ["explain", "--row", "39999"]])
def test_every_row_of_a_pipe_is_scored_and_explained(command, model, files, piped, capfdbinary):
    said = []
    bare = b"".join(line.partition(b",")[2] + b"\n" for line in files["csv"].read_bytes().splitlines())
    (files["csv"].parent / "bare.csv").write_bytes(bare)
    for rows in (files["csv"].parent / "bare.csv", piped(bare)):
        assert main([command[0], str(model), str(rows), "--from", "csv", *command[1:]]) == 0
        said.append(capfdbinary.readouterr().out)
    assert said[0] == said[1]
    assert len(said[0].splitlines()) >= 3


def test_a_schema_may_come_through_a_pipe_where_it_is_used_twice(piped, tmp_path, capfd):
    (tmp_path / "x.csv").write_text("user,y\nann,1\nbob,0\n")
    assert main(["convert", str(tmp_path / "x.csv"), str(tmp_path / "x.npz"), "--label", "y", "--quiet"]) == 0
    FMRegressor(num_factors=2, epochs=1).fit(np.eye(2), [1, 0]).save(tmp_path / "model")
    schema = piped(tmp_path / "schema.json", "schema")
    capfd.readouterr()
    assert main(["explain", str(tmp_path / "model"), str(tmp_path / "x.csv"), "--schema", str(schema)]) == 0
    assert "user=ann" in capfd.readouterr().out


def test_names_of_features_may_come_through_a_pipe(model, piped, tmp_path):
    names = piped(b"a\nb\nc\n", "names")
    assert main(["embeddings", str(model), str(tmp_path / "x.tsv"), "--names", str(names)]) == 0
    assert "2\tc" in (tmp_path / "x.metadata.tsv").read_text()


def test_a_model_that_comes_through_a_pipe_is_refused(model, piped, tmp_path, capfd):
    assert main(["embeddings", str(piped(model)), str(tmp_path / "x.npy")]) == 1
    assert "not a file" in capfd.readouterr().err


def test_a_pipe_that_is_named_twice_is_refused(piped, tmp_path, capfd):
    pipe = str(piped(b"1,2\n"))
    with pytest.raises(ConfigError, match="is given twice"):
        input_files([Path(pipe), Path(pipe)])
    assert main(["convert", pipe, pipe, str(tmp_path / "x.npz"), "--from", "csv", "--label", "0"]) == 1
    assert "give it once" in capfd.readouterr().err
    Path(pipe).read_bytes()  # for the writer


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder, expected a file"):
        InputFile(tmp_path)


def test_two_readers_of_a_pipe_may_take_turns(piped):
    data = os.urandom(3 << 20)
    file = InputFile(piped(data))
    first, second = file.chunks(), file.chunks()
    one = next(first)
    two = next(second) + next(second)
    assert b"".join([one, *first]) == data
    assert b"".join([two, *second]) == data
    opened = file.for_library()
    opened.seek(-5, os.SEEK_END)
    assert opened.read() == data[-5:]
    opened.close()
    assert b"".join(file.chunks()) == data
