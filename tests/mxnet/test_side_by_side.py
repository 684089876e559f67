"""Our solver and artifact beside MXNet 1.9.1, the built-in's engine (`make test-mxnet`).

MXNet has an environment of its own; it and this one exchange files. For each case we
draw a model and rows, and save the model as our artifact. MXNet opens it by the public
recipe, scores the rows, trains two epochs on them and saves its parameters; we train
from the same file, and compare parameter by parameter.
"""

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from container.serving.app import create_app
from container.serving.served_model import open_with_schema
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import load_model, read_meta, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.training.fit import fit
from tests import artifacts

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / ".venvs" / "mxnet"
PYTHON = ENVIRONMENT / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not (ENVIRONMENT / ".installed").exists(), reason="MXNet's environment is absent: `make test-mxnet` makes it"
)

FEATURE_DIM, NUM_FACTORS, BATCH, N_ROWS, EPOCHS = 300, 6, 50, 520, 2
SETTINGS = {
    "feature_dim": FEATURE_DIM,
    "num_factors": NUM_FACTORS,
    "mini_batch_size": BATCH,
    "epochs": EPOCHS,
    "bias_lr": 0.01,
    "linear_lr": 0.003,
    "factors_lr": 0.002,
    "bias_wd": 0.03,
    "linear_wd": 0.07,
    "factors_wd": 0.05,
}

#: Hyperparameters of a case, and how MXNet's Adam is told of them.
CASES = {
    "plain": ({}, {}),
    "clip_gradient": ({"clip_gradient": 0.01}, {"clip_gradient": 0.01}),
    "eps": ({"eps": 0.01}, {"epsilon": 0.01}),
    "rescale_grad": ({"rescale_grad": 0.5}, {"rescale_grad": 0.5}),
    "no weight decay": ({"_wd": 0.0}, {"wd": 0.0}),
    "all": (
        {"clip_gradient": 0.05, "eps": 0.001, "rescale_grad": 0.1, "_learning_rate": 0.5, "_wd": 0.3},
        {"clip_gradient": 0.05, "epsilon": 0.001, "rescale_grad": 0.1, "learning_rate": 0.5, "wd": 0.3},
    ),
    "not lazy": ({"lazy_update": False}, {"lazy_update": False}),
    #: From a model that solver bayes has learned, with its spread beside it.
    "bayes": ({}, {}),
    "dense": ({}, {}),
    "dense, all": (
        {"clip_gradient": 0.05, "eps": 0.001, "rescale_grad": 0.1},
        {"clip_gradient": 0.05, "epsilon": 0.001, "rescale_grad": 0.1},
    ),
}
PREDICTORS = ["regressor", "binary_classifier"]


def draw(predictor_type, seed):
    """A model, and rows with what may go wrong: an empty row, a stored zero, unseen features, a short last batch."""
    rng = np.random.default_rng(seed)
    both = rng.normal(0, 0.1, (FEATURE_DIM, NUM_FACTORS + 1)).astype(np.float32)
    model = Model(predictor_type, 0.5, both[:, -1], both[:, :-1])
    rows = sp.random(N_ROWS, FEATURE_DIM - 50, density=0.03, random_state=seed, format="csr", dtype=np.float32)
    rows.resize(N_ROWS, FEATURE_DIM)
    rows.data = rows.data * 2 - 0.5
    rows = rows.tolil()
    rows[7] = 0
    rows = rows.tocsr()
    rows.sort_indices()
    rows.data[11] = 0.0
    labels = rng.random(N_ROWS) < 0.4 if predictor_type == "binary_classifier" else rng.normal(1, 1, N_ROWS)
    return model, rows, labels.astype(np.float32)


class Case:
    def __init__(self, name, predictor_type, folder):
        ours, theirs = CASES[name]
        self.folder = folder
        self.is_dense = name.startswith("dense")
        self.hyperparameters = Hyperparameters(predictor_type=predictor_type, **SETTINGS, **ours)
        self.model, self.rows, self.labels = draw(predictor_type, seed=len(name))
        if name == "bayes":
            of_bayes = dataclasses.replace(self.hyperparameters, solver="bayes", epochs=40)
            self.model = fit(lambda epoch: [self.batch()], of_bayes).model
        strings = {key: str(value) for key, value in {**SETTINGS, **ours}.items()}
        folder.mkdir()
        save_model(folder / "model_algo-1", self.model, strings)
        save_spread(folder, self.model)
        np.savez(
            folder / "rows.npz",
            values=self.rows.data,
            indices=self.rows.indices,
            indptr=self.rows.indptr,
            shape=self.rows.shape,
            labels=self.labels,
        )
        self.job = {
            "folder": str(folder),
            "batch": BATCH,
            "epochs": EPOCHS,
            "dense": self.is_dense,
            "optimizer": theirs,
        }

    def batch(self, start=0, stop=N_ROWS):
        rows, labels = self.rows[start:stop], self.labels[start:stop]
        return Batch.from_dense(rows.toarray(), labels) if self.is_dense else Batch.from_csr(rows, labels)

    def ours(self):
        def batches(epoch):
            return [self.batch(start, start + BATCH) for start in range(0, N_ROWS, BATCH)]

        return fit(batches, self.hyperparameters, model=load_model(self.folder / "model_algo-1")).model

    def theirs(self):
        """What MXNet saved, packed as the built-in packs it, and read by our reader."""
        path = self.folder / "model_trained"
        members = {
            "meta.json": json.dumps(read_meta(self.folder / "model_algo-1")),
            "symbol.json": (self.folder / "trained-symbol.json").read_bytes(),
            "params": (self.folder / "trained-0000.params").read_bytes(),
        }
        path.write_bytes(artifacts.zipped(members))
        return load_model(path)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Every case, after MXNet had its turn with all of them in one process."""
    folder = tmp_path_factory.mktemp("cases")
    found = {
        (name, predictor_type): Case(name, predictor_type, folder / f"{number}-{predictor_type}")
        for number, name in enumerate(CASES)
        for predictor_type in PREDICTORS
    }
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps([case.job for case in found.values()]))
    engine = subprocess.run(
        [PYTHON, "-W", "ignore", HERE / "engine.py", jobs],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert engine.returncode == 0, engine.stdout + engine.stderr
    return found


@pytest.fixture(params=PREDICTORS)
def predictor_type(request):
    return request.param


def relative_difference(found, expected):
    """The greatest difference of a group of parameters, relative to the group's root mean square."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.abs(found - expected).max() / np.sqrt((expected**2).mean())


@pytest.mark.parametrize("name", CASES)
def test_two_epochs_learn_what_mxnet_learns(cases, name, predictor_type):
    case = cases[name, predictor_type]
    ours, theirs = case.ours(), case.theirs()
    for what in ("w0", "w", "V"):
        assert relative_difference(getattr(ours, what), getattr(theirs, what)) <= 1e-5, what
        moved = relative_difference(getattr(theirs, what), getattr(case.model, what))
        assert moved > 1e-2, f"training hardly moved {what}, so the comparison shows nothing"


@pytest.mark.parametrize("name", ["plain", "bayes", "dense"])
def test_our_artifact_predicts_in_mxnet_what_it_predicts_here(cases, name, predictor_type):
    case = cases[name, predictor_type]
    theirs = np.load(case.folder / "scores.npy")
    ours = load_model(case.folder / "model_algo-1").predict(case.batch())
    assert np.abs(ours - theirs).max() <= 1e-6


def test_an_endpoint_serves_of_a_bayesian_model_what_mxnet_scores(cases, predictor_type):
    case = cases["bayes", predictor_type]
    assert (case.folder / "spread.npz").exists()  # which the recipe has left alone
    client = create_app(open_with_schema(None, "error")(case.folder), ServingSettings()).test_client()
    instances = [
        {"keys": row.indices.tolist(), "values": row.data.tolist()} for row in (case.rows[i] for i in range(N_ROWS))
    ]
    body = {"instances": instances, "configuration": {"spread": True}}
    found = client.post("/invocations", json=body).json["predictions"]
    theirs = np.load(case.folder / "scores.npy")
    assert np.abs(np.array([item["score"] for item in found]) - theirs).max() <= 1e-5
    assert all(item["std"] > 0 for item in found)


@pytest.mark.parametrize("name", ["plain", "bayes"])
def test_the_recipe_of_the_docs_opens_our_artifact(cases, name, predictor_type):
    case = cases[name, predictor_type]
    docs = (HERE.parents[1] / "docs" / "reference" / "artifact.md").read_text()
    code = re.search(r"```python\n(import mxnet.*?)```", docs, re.DOTALL)[1]
    code += "\nimport numpy\nnumpy.savez('recipe.npz', w0=w0, w=w, v=v)"
    subprocess.run([PYTHON, "-W", "ignore", "-c", code], cwd=case.folder, check=True, capture_output=True)
    found = np.load(case.folder / "recipe.npz")
    assert found["w0"] == [case.model.w0]
    assert np.array_equal(found["w"][:, 0], case.model.w)
    assert np.array_equal(found["v"], case.model.V)


def test_features_that_never_occur_stay_bit_for_bit(cases, predictor_type):
    case = cases["plain", predictor_type]
    for model in (case.ours(), case.theirs()):
        assert np.array_equal(model.V[-50:], case.model.V[-50:])
        assert np.array_equal(model.w[-50:], case.model.w[-50:])


def test_mxnet_reads_storage_types_and_multipliers_from_our_symbol(cases, predictor_type):
    graph = json.loads((cases["plain", predictor_type].folder / "trained-symbol.json").read_text())
    attributes = {node["name"]: node.get("attrs", {}) for node in graph["nodes"]}
    assert attributes["data"]["__storage_type__"] == "2"
    for name, group in (("v", "factors"), ("w1_weight", "linear"), ("w0_weight", "bias")):
        assert attributes[name].get("__storage_type__") == (None if name == "w0_weight" else "1")
        assert float(attributes[name]["__lr_mult__"]) == SETTINGS[f"{group}_lr"]
        assert float(attributes[name]["__wd_mult__"]) == SETTINGS[f"{group}_wd"]
