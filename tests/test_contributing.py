"""CONTRIBUTING.md's recipes, followed to the letter in a copy of the tree: nothing else has to be touched.

Each recipe adds what the code has never heard of, and then the commands, a training job and the endpoint know it.
That of a solver is tests/fm_core/training/test_any_solver.py; that of an optimizer would compile the kernels anew, and
their tests draw from OPTIMIZERS.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model, save_model
from fm_core.model import Model
from tests.conftest import ROOT
from tests.contract.training import Job

FORMAT = '''
"""Lines ``label|key=value;key=value``."""

import io

import numpy as np

from fm_core.batch import Batch
from fm_core.formats.rebatch import rebatched
from fm_core.formats.registry.inputs import RequestRows, RowInput


def batches(lines, feature_dim, with_labels=True):
    for line in lines:
        label, _, pairs = line.decode().rstrip().partition("|")
        keys, values = zip(*(pair.split("=") for pair in pairs.split(";")), strict=True)
        yield Batch(
            feature_dim, np.array(values, np.float32), np.array([0, len(keys)]), np.array(keys, np.int32),
            np.array([label], np.float32) if with_labels else None,
        )


def open_rows(files, of, options):
    def lines():
        return (line for file in files for line in b"".join(file.chunks(lambda n: None)).splitlines())

    return RowInput(options.feature_dim, None, lambda: batches(lines(), options.feature_dim))


def read_batches(sources, *, feature_dim, batch_size, labels, **_):
    lines = (line for source in sources for line in b"".join(map(bytes, source.chunks)).splitlines())
    return rebatched(batches(lines, feature_dim, labels != "none"), batch_size)


def decode_request(body, *, feature_dim, encoder=None, header=None):
    return map(RequestRows, batches(io.BytesIO(body), feature_dim, with_labels=False))


class make_writer:
    def __init__(self, file, of, first_key=0):
        self._file = file

    def write(self, batch):
        for row in range(batch.n_rows):
            one = batch.slice(row, row + 1)
            pairs = zip(one.indices, one.values, strict=True)
            self._file.write(f"{one.labels[0]}|{';'.join(f'{key}={value}' for key, value in pairs)}\\n".encode())

    def close(self):
        pass
'''

EXPORT = '''
"""Write a model's bias, alone."""

from pathlib import Path

from fm_core.artifact.bias import save_bias
from fm_core.artifact.model_file import load_model


def add_arguments(parser):
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)


def run(arguments):
    save_bias(load_model(arguments.model), arguments.output)
'''


class Copy:
    """The tree, in which recipes are followed; what is compiled is linked to."""

    def __init__(self, folder):
        self.folder = folder
        for package in ("fm_core", "container", "docs"):
            shutil.copytree(
                ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.c", "*.so", "__pycache__")
            )
        for compiled in (ROOT / "fm_core").rglob("*.so"):
            (folder / compiled.relative_to(ROOT)).symlink_to(compiled)
        shutil.copy(ROOT / "pyproject.toml", folder)

    def write(self, path, text):
        assert not (self.folder / path).exists()
        (self.folder / path).write_text(text.lstrip())

    def insert(self, path, before, text):
        """Put lines before the first that begins so."""
        whole = (self.folder / path).read_text()
        place = re.search(rf"^ *{re.escape(before)}", whole, re.MULTILINE)
        assert place, f"{path} has no line {before!r}"
        (self.folder / path).write_text(whole[: place.start()] + text + whole[place.start() :])

    def environment(self):
        return {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1"}

    def run(self, *command, **options):
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=self.environment(), capture_output=True, text=True, check=False,
            cwd=self.folder, timeout=100, **options,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "copy")


def answer(copy, model, body, content_type, accept):
    """What the endpoint says to a request."""
    code = (
        "import sys; from container.serving.app import create_app; from container.serving.settings import *\n"
        "from fm_core import load_model\n"
        "model, body, kind, accept = sys.argv[1:]\n"
        "client = create_app(load_model(model), ServingSettings()).test_client()\n"
        "answer = client.post('/invocations', data=body, content_type=kind, headers={'Accept': accept})\n"
        "print(answer.status_code, answer.content_type, answer.text)"
    )
    return copy.run("-c", code, model, body, content_type, accept).strip()


def model_in(folder):
    model = Model("regressor", 2.0, np.array([1, 10, 100], np.float32), np.zeros((3, 1), np.float32))
    folder.mkdir(exist_ok=True)
    save_model(folder / "model_algo-1", model, {})
    return folder / "model_algo-1"


def test_a_file_format_is_a_module_and_a_row(copy, tmp_path):
    copy.write("fm_core/formats/registry/piped.py", FORMAT)
    row = '        Format("piped", "piped", (".piped",), _EVERYWHERE, ("text/piped",)),\n'
    copy.insert("fm_core/formats/registry/__init__.py", 'Format("npz"', row)

    rows = [(0, {0: 1.5, 2: 1}), (1, {1: 2})] * 30
    (tmp_path / "in.libsvm").write_text(
        "".join(f"{label} {' '.join(f'{k}:{v}' for k, v in row.items())}\n" for label, row in rows)
    )
    there = ("-m", "fm_core.cli", "convert", tmp_path / "in.libsvm", tmp_path / "out.piped", "--feature-dim", "3")
    back = ("-m", "fm_core.cli", "convert", tmp_path / "out.piped", tmp_path / "back.libsvm", "--feature-dim", "3")
    copy.run(*there)
    copy.run(*back)
    assert (tmp_path / "out.piped").read_text().splitlines()[:2] == ["0.0|0=1.5;2=1.0", "1.0|1=2.0"]
    assert (tmp_path / "back.libsvm").read_text().split()[:3] == ["0", "0:1.5", "2:1"]

    job = Job(tmp_path / "job")
    job.hyperparameters |= {"feature_dim": "3", "epochs": "1"}
    job.put("a.piped", (tmp_path / "out.piped").read_bytes())
    job.channels["train"] = {"ContentType": "text/piped"}
    job.environment = {"PYTHONPATH": str(copy.folder), "PYTHONSAFEPATH": "1"}
    finished = job.run()
    assert finished.code == 0, finished.log
    assert load_model(job.root / "model/model_algo-1").feature_dim == 3

    said = answer(copy, model_in(tmp_path / "model"), "|0=1;2=2", "text/piped", "text/csv")
    assert said == "200 text/csv 203.0"


def test_a_response_format_is_a_function_and_a_row(copy, tmp_path):
    copy.insert(
        "container/serving/responses.py",
        "ENCODERS:",
        'def _shouted(of):\n    return b" ".join(b"%g!" % score for score in of.scores)\n\n\n',
    )
    copy.insert(
        "container/serving/responses.py",
        'Encoder("text/csv"',
        '        Encoder("text/shout", _shouted, between=b" "),\n',
    )
    said = answer(copy, model_in(tmp_path / "model"), "1,0,0\n0,1,0", "text/csv", "text/shout")
    assert said == "200 text/shout 3! 12!"


def test_a_hyperparameter_is_a_declaration(copy, tmp_path):
    declaration = '    flavour: float = _number("How strong it tastes.", 0.5, minimum=0, group="extension")\n'
    copy.insert("fm_core/hyperparameters.py", "seed: int", declaration)
    copy.run("docs/make_tables.py")
    assert (
        "| `flavour` | a finite number of at least 0 | `0.5` | model | How strong it tastes. |"
        in (copy.folder / "docs/reference/hyperparameters.md").read_text()
    )
    assert "flavour" in copy.run("-m", "container.train", "--help")
    said = copy.run(
        "-c",
        "import json, fm_core, inspect; from fm_core.checkpoints.file import deciding\n"
        "hp = fm_core.Hyperparameters(feature_dim=3, num_factors=1, predictor_type='regressor', flavour=2)\n"
        "fm = fm_core.FMRegressor(flavour=3)\n"
        "print(json.dumps([deciding(hp)['flavour'], fm.get_params()['flavour'], 'flavour :' in fm.__doc__]))",
    )
    assert json.loads(said) == [2, 3, True]
    job = Job(tmp_path / "job")
    job.hyperparameters["flavour"] = "-1"
    job.environment = {"PYTHONPATH": str(copy.folder), "PYTHONSAFEPATH": "1"}
    assert "hyperparameter flavour is -1.0, expected a finite number of at least 0" in job.run().failure


def test_an_export_is_a_function_and_a_command(copy, tmp_path):
    copy.write(
        "fm_core/artifact/bias.py",
        "from fm_core.atomic_file import atomic_write\n\n\n"
        "def save_bias(model, path):\n    with atomic_write(path) as file:\n        file.write(b'%g' % model.w0)\n",
    )
    copy.write("fm_core/cli/bias.py", EXPORT)
    row = '    "bias": Command("fm_core.cli.bias", "write the bias alone"),\n'
    copy.insert("fm_core/cli/__init__.py", '"catalogue"', row)
    copy.run("-m", "fm_core.cli", "bias", model_in(tmp_path / "model"), tmp_path / "bias.txt")
    assert (tmp_path / "bias.txt").read_text() == "2"
    assert "write the bias alone" in copy.run("-m", "fm_core.cli", "--help")


def test_what_the_recipes_name_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:fm_core|container|docs|tests)/[\w/.]+\.\w+)`", text)
    assert len(paths) > 10
    for path in paths:
        assert "NAME" in path or (ROOT / path).exists(), path
    for path, table in re.findall(r"`([\w/.]+)`: (?:a (?:row|function)[^`]*?|its[^`]*?)`([A-Z_]{4,})`", text):
        assert table in (ROOT / path).read_text(), f"{path} has no {table}"
