"""Text from outside, by every way into `fm` and out of it: one harmless line each, on a terminal and elsewhere.

Ways in: names of files, columns and categories, labels' names, cells, ids of a catalogue, hyperparameters of a model,
names of features, arguments. Ways out: lines and JSON on standard output, refusals, usage, a terminal, the report.
"""

import contextlib
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from fm_core import cli
from fm_core.analysis.catalogue import Catalogue
from fm_core.artifact.model_file import save_model
from fm_core.formats.tables.array_table import TextTable
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.conftest import ROOT
from tests.contract.test_injection import ATTACK, DEFINITIONS, NAME

#: What a text reader takes for line ends, and a terminal for orders, is all there.
TEXT = f"{ATTACK}\u2028\u2029\x0b\x0c\x9b31m"
LONG = TEXT * 20_000


def is_harmless(text):
    return all(line.isprintable() for line in text.split("\n")) and not any(
        definition.search(text) for definition in DEFINITIONS
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier whose columns, categories, classes, items and hyperparameters are attacks; rows for it."""
    folder = tmp_path_factory.mktemp("models") / f"model{NAME[:80]}"
    folder.mkdir()
    schema = TableSchema(
        (
            Column(f"user{TEXT}", "categorical", (f"ann{TEXT}", "bob")),
            Column(f"item{TEXT}", "categorical", (f"x{TEXT}", f"y{TEXT}", "z")),
            Column("n", "numeric"),
        ),
        label=f"label{TEXT}",
        label_classes=(f"no{TEXT}", f"yes{TEXT}"),
    )
    schema.save(folder / "schema.json")
    d = schema.feature_dim
    model = Model("binary_classifier", 0.5, np.ones(d, np.float32), np.ones((d, 2), np.float32))
    save_model(folder / "model_algo-1", model, {"epochs": TEXT, f"evil{TEXT}": TEXT})
    items = TextTable("x", {f"item{TEXT}": [f"x{TEXT}", f"y{TEXT}", "z"], f"title{TEXT}": [TEXT, LONG[:50_000], "c"]})
    Catalogue.read([items], Encoder(schema, labels="none"), d).save(folder / "catalogue.csv")
    row = {f"user{TEXT}": f"ann{TEXT}", f"item{TEXT}": f"x{TEXT}", "n": "1", f"label{TEXT}": f"yes{TEXT}",
           "plain": TEXT}  # fmt: skip
    cells = [["".join(f'"{cell}"' for cell in [text]) for text in part] for part in (row, row.values())]
    (folder / "rows.csv").write_text("\n".join(",".join(line) for line in cells) + "\n", newline="")
    (folder / "new.csv").write_text(
        "\n".join(",".join(line) for line in cells).replace('"ann', '"new') + "\n", newline=""
    )
    (folder / "requests.jsonl").write_text(json.dumps({"columns": {f"user{TEXT}": f"ann{TEXT}"}, "top_k": 3}) + "\n")
    (folder / "names.txt").write_text("\n".join(f"{i}{TEXT}".replace("\n", "").replace("\r", "") for i in range(d)))
    return folder


GOOD = {
    "inspect": ["inspect", "."],
    "inspect --json": ["inspect", ".", "--json"],
    "inspect --names": ["inspect", ".", "--names", "names.txt"],
    "explain": ["explain", ".", "rows.csv"],
    "explain --json": ["explain", ".", "rows.csv", "--json"],
    "predict": ["predict", ".", "rows.csv"],
    "predict --output": ["predict", ".", "rows.csv", "--output", "out.jsonl"],
    "evaluate": ["evaluate", ".", "rows.csv"],
    "evaluate --json": ["evaluate", ".", "rows.csv", "--json"],
    "recommend": ["recommend", ".", "requests.jsonl"],
    "recommend --users": ["recommend", ".", "--users", f"user{TEXT}", "--top", "2"],
    "catalogue": ["catalogue", ".", "--item", f"item{TEXT}", "--output", "items.csv"],
    "convert": ["convert", "rows.csv", f"{NAME[:60]}.libsvm", "--label", "n", "--schema-out", "s.json"],
    "convert --fit": ["convert", "rows.csv", "out.recordio", "--no-label", "--schema-out", "f.json"],
    "embeddings": ["embeddings", ".", f"{NAME[:60]}.tsv", "--schema", "schema.json"],
    "fold-in": ["fold-in", ".", "new.csv", "--of", f"user{TEXT}", "--output", f"grown{NAME[:60]}"],
}


@pytest.mark.parametrize("arguments", GOOD.values(), ids=GOOD)
def test_what_fm_says_is_harmless(folder, capsys, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    code = cli.main(arguments)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert is_harmless(shown.out), repr(shown.out)
    assert is_harmless(shown.err), repr(shown.err)
    if arguments[0] == "recommend":  # JSON that is the same
        titles = [
            item["columns"][f"title{TEXT}"] for line in shown.out.splitlines() for item in json.loads(line)["items"]
        ]
        assert TEXT.strip() in titles


BAD = {
    "a file that is not there": [NAME, NAME],
    "an argument too many": [NAME, NAME, TEXT, TEXT],
    "an option": [f"--{TEXT}", TEXT],
    "a file of names": [".", "rows.csv", "--names", "model_algo-1"],
    "a schema": [".", "rows.csv", "--schema", "rows.csv"],
    "a format": [".", "rows.csv", "--from", TEXT],
    "a column": ["rows.csv", f"{NAME[:60]}.recordio", "--label", TEXT],
    "an item": [".", "rows.csv", "--item", TEXT],
    "users": [".", "--users", TEXT],
    "a new id": [".", "rows.csv", "--of", TEXT, "--output", "x"],
    "a hyperparameter": ["rows.csv", "--label", "n", "--set", f"{TEXT}={TEXT}"],
    "a long argument": [LONG[:100_000], LONG[:100_000]],
}


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_what_fm_refuses_is_harmless(folder, capsys, monkeypatch, command, arguments):
    monkeypatch.chdir(folder)
    with contextlib.suppress(SystemExit):
        cli.main([command, *arguments])
    shown = capsys.readouterr()
    assert is_harmless(shown.out), repr(shown.out[:2000])
    assert is_harmless(shown.err), repr(shown.err[:2000])
    assert len(shown.err) < 20_000


def on_a_terminal(folder, *arguments):
    """Run `fm` on a terminal, and give what it was sent."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-m", "fm_core.cli", *arguments], cwd=folder, env=environment,
                          stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            piece = b""
            with contextlib.suppress(OSError):  # Linux says so that all have left a terminal
                piece = os.read(ours, 65536)
            if not piece:
                break
            shown += piece
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def test_cells_that_are_taken_along_are_as_they_are_in_a_file_and_harmless_on_a_terminal(
    folder, capfdbinary, monkeypatch
):
    along = ["predict", ".", "rows.csv", "--with", "plain"]
    code, shown = on_a_terminal(folder, *along)
    assert code == 0, shown
    assert is_harmless(shown), repr(shown)
    assert "predicted_class" in shown
    monkeypatch.chdir(folder)
    assert cli.main(along) == 0
    assert TEXT.encode() in capfdbinary.readouterr().out


FAULTY = """
import sys
from fm_core import cli
from fm_core.cli import train

def fail(parser):
    {}[%r]

train.add_arguments = fail
sys.argv = ["fm", "train"]
cli.main()
"""


def test_a_bug_of_ours_is_told_of_in_harmless_lines():
    command = [sys.executable, "-c", FAULTY % TEXT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KeyError" in done.stderr
    assert is_harmless(done.stderr), done.stderr
