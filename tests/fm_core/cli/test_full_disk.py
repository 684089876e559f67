"""A disk that is full while a command writes: one sentence, status 1, and nothing under a name that is not whole.

A limit on the size of files stands for the disk: a write is cut short, and the next one fails, as on a disk that is.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fm_core.cli import COMMANDS, main

#: What each command writes, to standard output or to a file; the folder of the model is m.
TO_OUTPUT = {
    "predict": ["predict", "m", "rows.csv"],
    "predict --with": ["predict", "m", "rows.csv", "--with", "film"],
    "explain": ["explain", "m", "rows.csv", "--row", "1"],
    "inspect": ["inspect", "m"],
    "evaluate": ["evaluate", "m", "rows.csv"],
    "recommend": ["recommend", "m", "requests.jsonl"],
    "report": ["report", "m"],
}
TO_FILE = {
    "convert": ["convert", "rows.csv", "out.libsvm", "--label", "y", "--quiet"],
    "convert to recordio": ["convert", "rows.csv", "out.recordio", "--label", "y", "--shards", "2", "--quiet"],
    "convert to npz": ["convert", "rows.csv", "out.npz", "--label", "y", "--quiet"],
    "convert to gzip": ["convert", "rows.csv", "out.csv.gz", "--label", "y", "--quiet"],
    "predict": ["predict", "m", "rows.csv", "-o", "out.txt"],
    "predict to npy": ["predict", "m", "rows.csv", "-o", "out.npy"],
    "predict to csv": ["predict", "m", "rows.csv", "-o", "out.csv"],
    "recommend": ["recommend", "m", "requests.jsonl", "-o", "out.jsonl"],
    "embeddings": ["embeddings", "m", "out.npy"],
    "embeddings as text": ["embeddings", "m", "out.tsv"],
    "export": ["export", "m", "out.onnx"],
    "report": ["report", "m", "--html", "out.html"],
    "catalogue": ["catalogue", "m", "--item", "film", "-o", "out.csv"],
    "fold-in": ["fold-in", "m", "new.csv", "--of", "film", "--label", "y", "-o", "out"],
    "fold-in in place": ["fold-in", "m", "new.csv", "--of", "film", "--label", "y", "-o", "m"],
    "train": ["train", "rows.csv", "--label", "y", "-o", "out", "--quiet"],
    "train to a tar": ["train", "rows.csv", "--label", "y", "-o", "out.tar.gz", "--quiet"],
}
DRIVER = """
import contextlib, io, json, os, resource, sys
from fm_core.cli import main
found = {}
for name, arguments in json.loads(sys.argv[1]).items():
    os.ftruncate(1, 0), os.lseek(1, 0, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(arguments)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found[name] = status, said.getvalue()
print(json.dumps(found), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("resource", reason="limits on files are of POSIX")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("full")
    rows = [f"f{i % 7},{i % 5},{(i * i) % 3 > 0:d}" for i in range(200)]
    (folder / "rows.csv").write_text("\n".join(["film,x,y", *rows]) + "\n")
    (folder / "new.csv").write_text("film,x,y\ng1,1,0\ng1,2,1\ng1,3,1\n")
    (folder / "requests.jsonl").write_text('{"columns": {"x": 1}, "top_k": 3}\n' * 5)
    train = ["train", str(folder / "rows.csv"), "--label", "y", "-o", str(folder / "m"), "--num-factors", "2"]
    assert main([*train, "--quiet"]) == 0
    assert main(["catalogue", str(folder / "m"), "--item", "film"]) == 0
    return folder


def files(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def run(folder, commands, output="output", **environment):
    """Run commands in one process whose files may have 20 bytes each."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with (folder.parent / output).open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, json.dumps(commands)], cwd=folder, stdout=file, stderr=subprocess.PIPE,
            env=clean | environment, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_cut_short_is_said(folder, unbuffered):
    found = run(folder, TO_OUTPUT, **({"PYTHONUNBUFFERED": unbuffered} if unbuffered else {}))
    for name, (status, said) in found.items():
        assert (status, said) == (1, f"fm {name.split()[0]}: standard output: File too large\n")


def test_files_are_whole_or_not_there(folder):
    before = files(folder)
    found = run(folder, TO_FILE)
    for name, (status, said) in found.items():
        assert status == 1, name
        assert said.count("\n") == 1, said
        assert re.search(r"\bout\b|\bm\b|schema\.json", said), said  # which file
        assert "File too large" in said, said
    assert files(folder) == before


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_what_is_read_is_not_written_over(folder, link, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = files(folder)
    as_rows, as_model = tmp_path / "rows.csv", tmp_path / "model.npy"
    link(folder / "rows.csv", as_rows)
    link(folder / "m" / "model_algo-1", as_model)
    for arguments in (
        ["convert", "rows.csv", str(as_rows), "--label", "y"],
        ["convert", "rows.csv", str(as_rows.with_name("new.libsvm")), "--label", "y", "--schema-out", str(as_rows)],
        ["predict", "m", "rows.csv", "-o", str(as_rows)],
        ["predict", str(as_model), "rows.csv", "-o", str(as_model)],
        ["recommend", "m", str(as_rows), "-o", "rows.csv"],
        ["train", "rows.csv", "--label", "y", "-o", str(as_rows), "--overwrite"],
        ["catalogue", "m", "rows.csv", "--item", "film", "--columns", "x", "--distinct", "-o", str(as_rows)],
        ["embeddings", str(as_model), str(as_model)],
    ):
        assert main(arguments) == 1, arguments
        assert "is also the input and would be overwritten: name another" in capsys.readouterr().err
    assert files(folder) == before


#: Devices that anybody may write to: where root works, another program may have put a file in the place of one.
DEVICES = [name for name in ("/dev/null", "/dev/zero") if Path(name).is_char_device()]


def put(kind, path):
    """Put something that is no file at a path."""
    match kind:
        case "folder":
            path.mkdir()
            (path / "mine").write_text("x")
        case "pipe":
            os.mkfifo(path)
        case "link to a device":
            path.symlink_to(DEVICES[0])
        case "link to a folder":
            path.symlink_to(path.parent)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "link to a folder"])
def test_what_is_no_file_does_not_give_way_to_one(folder, kind, tmp_path, capsys, monkeypatch):
    """As root, whom containers have, `-o /dev/stdout` put a file in the place of that link, for all processes."""
    if kind == "link to a device" and not DEVICES:
        pytest.skip("there is no device here")
    monkeypatch.chdir(folder)
    before = files(folder)
    for number, (name, arguments) in enumerate(TO_FILE.items()):
        if "--shards" in arguments or "in place" in name or (name == "fold-in" and "folder" in kind):
            continue  # of other names, or into a folder
        at = next(i for i, argument in enumerate(arguments) if argument.startswith("out"))
        path = tmp_path / str(number) / arguments[at]
        path.parent.mkdir()
        (path.parent / "theirs").write_text("x")
        put(kind, path)
        found = path.lstat().st_ino, path.lstat().st_mode
        overwrite = ["--overwrite"] * name.startswith("train")
        status, said = main([*arguments[:at], str(path), *arguments[at + 1 :], *overwrite]), capsys.readouterr().err
        assert (status, said.count("\n")) == (1, 1), (name, said)
        assert str(path) in said
        assert (path.lstat().st_ino, path.lstat().st_mode) == found, name
        assert {each.name for each in path.parent.iterdir()} == {"theirs", path.name}, name
    assert files(folder) == before


@pytest.mark.parametrize("left", ["file", "link", "folder", None])
@pytest.mark.parametrize("was", ["link to a model", "a link to nothing", "file", None])
def test_a_model_that_was_learned_is_written_whatever_was_there(folder, was, left, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    path, before = tmp_path / "out", tmp_path / ".out.before.tmp"
    match was:
        case "link to a model":
            path.symlink_to(folder / "m")
        case "a link to nothing":
            path.symlink_to("nothing")
        case "file":
            path.write_text("x")
    match left:  # by a process that was killed
        case "file":
            before.write_text("x")
        case "link":
            before.symlink_to(folder / "m")
        case "folder":
            before.mkdir()
    assert main(["train", "rows.csv", "--label", "y", "-o", str(path), "--quiet", "--overwrite"]) == 0
    assert (path / "model_algo-1").is_file()
    assert not path.is_symlink()
    assert (folder / "m" / "model_algo-1").is_file()
    assert was is None or not os.path.lexists(before)


@pytest.mark.parametrize("output", ["nobody", "full"])
def test_a_model_is_written_whoever_reads_of_its_training(folder, output, tmp_path):
    """Its lines were the end of it, with `fm train ... | head -1` after the first epoch."""
    if output == "full":
        writes = os.open("/dev/full", os.O_WRONLY)
    else:
        reads, writes = os.pipe()
        os.close(reads)
    path = tmp_path / "out"
    command = [sys.executable, "-m", "fm_core.cli", "train", "rows.csv", "--label", "y", "-o", str(path)]
    done = subprocess.run(command, cwd=folder, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    said = {"nobody": "", "full": "fm train: standard output: No space left on device\n"}[output]
    assert (done.returncode, done.stderr) == (1, said)
    assert (path / "model_algo-1").is_file()


def test_every_command_is_tried():
    tried = {command[0] for command in [*TO_OUTPUT.values(), *TO_FILE.values()]}
    assert tried == set(COMMANDS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_left_at_the_end_is_written_before_the_status_is_settled(folder, unbuffered):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fm_core.cli", "inspect", str(folder / "m")], stdout=full, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered}, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "fm inspect: standard output: No space left on device\n")


def test_scores_without_anywhere_to_go_are_refused(folder):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m fm_core.cli predict m rows.csv >&-"], cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("fm predict: standard output is closed, expected somewhere to write to")
