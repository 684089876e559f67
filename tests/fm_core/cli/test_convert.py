"""`fm convert` as a process: its arguments, what it prints, what it leaves behind."""

import functools
import gzip
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from fm_core.formats import read_records
from tests.conftest import ROOT

RATINGS = "user,item,rating\n" + "".join(f"u{i % 50},i{i % 30},{i % 5 + 1}\n" for i in range(1000))


@pytest.fixture
def fm(tmp_path):
    def run(*arguments, **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "fm_core.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60, **options
        )

    return run


def refused(done, said, status=1):
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1


def test_own_csv_to_records_and_new_rows_by_the_same_schema(fm, tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    done = fm("convert", "ratings.csv", "data.recordio", "--label", "rating", "--threshold", 4, "--split", 0.8)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("data.train.recordio: ")
    assert lines[1].startswith("data.test.recordio: ")
    assert lines[2:4] == ["feature_dim is 80", "schema.json: 2 columns"]
    assert [line.split()[:2] for line in lines[4:] if line[2] != " "] == [
        ["user", "categorical"],
        ["item", "categorical"],
        ["rating", "label"],
    ]
    rows, labels = read_records(tmp_path / "data.train.recordio")
    assert rows.shape[1] == 80
    assert set(labels) == {0, 1}
    assert (np.diff(rows.indptr) == 2).all()

    (tmp_path / "new.csv").write_text("item,user\ni3,u7\ni99,u8\n")
    refused(
        fm("convert", "new.csv", "new.recordio", "--schema", "schema.json"), "new.csv: line 3, column 'item': 'i99' was"
    )
    assert not (tmp_path / "new.recordio").exists()
    done = fm("convert", "new.csv", "new.recordio", "--schema", "schema.json", "--unseen", "ignore", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    rows, labels = read_records(tmp_path / "new.recordio")
    assert labels is None
    assert rows.toarray().sum(axis=1).tolist() == [2, 1]


def test_records_to_text_and_back(fm, tmp_path):
    (tmp_path / "x.libsvm").write_text("1 0:1 5:0.25\n0 3:-2\n")
    for source, target in (("x.libsvm", "x.rec"), ("x.rec", "y.csv.gz"), ("x.rec", "y.npz"), ("y.npz", "y.libsvm")):
        assert fm("convert", source, target).returncode == 0
    assert gzip.decompress((tmp_path / "y.csv.gz").read_bytes()) == b"1,1,0,0,0,0,0.25\n0,0,0,0,-2,0,0\n"
    assert (tmp_path / "y.libsvm").read_text() == (tmp_path / "x.libsvm").read_text()
    done = fm("convert", "x.libsvm", "z.bin", "--to", "recordio", "--from", "libsvm", "--shards", 2, "--feature-dim", 9)
    assert done.returncode == 0
    assert (tmp_path / "z-00001-of-00002.bin").exists()
    assert read_records(tmp_path / "z-00000-of-00002.bin")[0].shape == (1, 9)


def test_every_argument_for_columns(fm, tmp_path):
    (tmp_path / "x.txt").write_text("3;a b;k1;9;1.5\n0;;k2;8;\n")
    done = fm(
        *["convert", "x.txt", "x.libsvm", "--from", "csv", "--delimiter", ";", "--no-header", "--label", "0"],
        *["--several", "1: ", "--hashed", "2:4", "--ignore", "3", "--numeric", "4", "--missing", "zero"],
        *["--schema-out", "other.json", "--first-id", "1"],
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "x.libsvm").read_text().splitlines()
    assert lines[0].startswith("3 1:1 2:1 ")
    assert lines[0].endswith(" 7:1.5")
    assert [len(line.split()) for line in lines] == [5, 2]
    assert (tmp_path / "other.json").exists()
    assert not (tmp_path / "schema.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.csv", "y.rec"], "the label column is not given: use --label, or --no-label"),
        (["x.csv", "y.rec", "--label", "z"], "x.csv: there is no column 'z', expected one of: a, b"),
        (["x.csv", "y.txt", "--label", "a"], "y.txt: the name does not tell the format"),
        (["x.csv", "y.arrow", "--label", "a"], "y.arrow: arrow can only be read"),
        (["none.csv", "y.rec", "--label", "a"], "none.csv: No such file or directory"),
        (["x.csv", "none/y.rec", "--label", "a"], "there is no folder none: create it first"),
        (["x.csv", "y.rec", "--label", "a", "--no-label"], "--label and --no-label exclude each other"),
        (["x.csv", "y.rec", "--schema", "s.json", "--label", "a"], "s.json: No such file or directory"),
        (["x.csv", "y.rec", "--schema", "x.csv"], "x.csv is not a schema of `fm convert`"),
        (["x.csv", "y.rec", "--label", "a", "--hashed", "b"], "--hashed is 'b', expected a column, a colon"),
        (
            ["x.csv", "y.rec", "--label", "a", "--hashed", "b:no"],
            "--hashed b:no does not end with a number of features",
        ),
        (["x.csv", "y.rec", "--label", "a", "--delimiter", "::"], "--delimiter is '::', expected one ASCII character"),
        (["x.csv", "y.rec", "--from", "recordio"], "x.csv: record 0 (byte 0): found 0x0a622c61 where a record begins"),
        (["x.csv", "y.rec", "--from", "libsvm"], "x.csv: line 1: the label is 'a,b', expected a number"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_left(fm, tmp_path, arguments, said):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    done = fm("convert", *arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]
    refused(done, said)


@pytest.mark.parametrize(
    "arguments",
    [[], ["convert"], ["convert", "x"], ["nonsense"], ["convert", "x.csv", "y.rec", "--split", "1.5"],
     ["convert", "x.csv", "y.rec", "--shards", "0"], ["convert", "x.csv", "y.rec", "--from", "xml"]],
)  # fmt: skip
def test_bad_arguments_end_with_2(fm, arguments):
    refused(fm(*arguments), "usage: fm", status=2)


def test_help_needs_no_file(fm):
    assert "convert data files" in fm("--help").stdout
    assert "--several" in fm("convert", "--help").stdout


def test_a_bar_is_shown_on_a_terminal(tmp_path):
    pytest.importorskip("tqdm")
    (tmp_path / "x.libsvm").write_text("1 0:1\n" * 300000)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    os.set_blocking(ours, False)
    try:
        subprocess.run(
            [sys.executable, "-m", "fm_core.cli", "convert", "x.libsvm", "y.rec"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=theirs, stdout=subprocess.DEVNULL,
            check=True, timeout=60,
        )  # fmt: skip
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Looking for the highest id" in shown


def test_memory_stays_the_same_when_the_file_grows(tmp_path):
    script = (
        "import re, sys; from fm_core.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(*re.findall(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read()))"
    )
    used = []
    for n_rows in (300_000, 1_500_000):
        (tmp_path / "x.csv").write_text("u,i,y\n" + "".join(f"u{i % 1000},i{i % 700},{i % 2}\n" for i in range(n_rows)))
        done = subprocess.run(
            [sys.executable, "-c", script, "convert", "x.csv", "y.rec.gz", "--label", "y", "--quiet"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        used.append(int(done.stdout))
    assert used[1] < used[0] + 10_000, used  # KiB; the files differ by 14 MB, their rows in memory by more


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(tmp_path, number):
    (tmp_path / "x.libsvm").write_text("1 " + " ".join(f"{i}:1" for i in range(50)) + "\n")
    with (tmp_path / "x.libsvm").open("a") as file:
        for _ in range(100):
            file.write(("1 " + " ".join(f"{i}:0.5" for i in range(50)) + "\n") * 1000)
    process = subprocess.Popen(
        [sys.executable, "-m", "fm_core.cli", "convert", "x.libsvm", "y.rec.gz"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        # Whoever starts the tests in the background has it ignored.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / ".y.rec.gz.tmp").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert said == b""
    assert [file.name for file in tmp_path.iterdir()] == ["x.libsvm"]
