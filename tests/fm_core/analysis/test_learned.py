"""What a model of samples tells beside its parameters: in Python, in a file, in the command, in the report."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from fm_core.analysis.learned import learned
from fm_core.artifact.model_file import load_model, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.report.findings import findings
from fm_core.report.history import TrainingRecord
from fm_core.report.page import page
from fm_core.spread import Chain
from fm_core.training.fit import fit
from tests.fm_core.solvers.bayes.problems import ratings
from tests.fm_core.test_spread import make_spread


def fitted(epochs=None, kind="regressor", **more):
    X, y = ratings(80, 50, 3000, is_classifier=kind != "regressor")
    batch = Batch.from_csr(X.astype(np.float32), y)
    hp = Hyperparameters(feature_dim=130, num_factors=4, predictor_type=kind, solver="bayes", epochs=epochs,
                         feature_groups="80,50", **more)  # fmt: skip
    return fit(lambda epoch: iter([batch]), hp).model, hp


@pytest.fixture(scope="module")
def model():
    return fitted()[0]


def test_groups_have_the_sizes_that_were_planted_and_the_noise_is_found(model):
    found = learned(model.spread)
    assert found["noise"] == pytest.approx(0.3, abs=0.03)
    users, items = found["groups"]
    assert (users["first"], users["last"], users["n_features"]) == (0, 79, 80)
    assert (items["first"], items["last"], items["n_features"]) == (80, 129, 50)
    variance = model.spread.scale**2
    for group in (users, items):  # planted: .5, and two factors of .8
        assert variance / group["w_precision"] == pytest.approx(0.25, rel=0.6)
    json.dumps(found, allow_nan=False)


def test_samples_are_worth_fewer_independent_ones_and_it_is_said_whether_more_would_help(model):
    sweeps = learned(model.spread)["sweeps"]
    assert 1 < sweeps["effective"] <= sweeps["samples"]
    assert not sweeps["more_would_help"]  # that was the reason to end
    short = learned(fitted(20)[0].spread)["sweeps"]
    assert short["more_would_help"]
    assert short["gain"] > sweeps["gain"]
    assert learned(fitted(4)[0].spread)["sweeps"] == {
        "samples": 4, "effective": None, "gain": None, "more_would_help": None,
    }  # fmt: skip


def test_what_has_no_chain_has_no_sweeps():
    assert learned(fitted(_bayes_method="variational")[0].spread)["sweeps"] is None
    assert learned(fitted(30, "binary_classifier")[0].spread)["noise"] is None


def test_it_goes_into_the_file_and_the_command_shows_it(model, tmp_path):
    save_model(tmp_path / "model_algo-1", model, {})
    save_spread(tmp_path, model)
    assert learned(load_model(tmp_path).spread) == learned(model.spread)
    command = [sys.executable, "-m", "fm_core.cli", "inspect", str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    n = model.spread.chain.n_samples
    assert f"samples  {n}, worth" in text
    assert "more would hardly help" in text
    assert "80 to       129" in text
    shown = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert shown["learned"] == learned(model.spread)


@pytest.mark.parametrize("is_enough", [True, False, None])
def test_the_report_shows_it_and_says_where_more_sweeps_would_help(is_enough):
    chain = Chain(40, None, None, None) if is_enough is None else Chain(40, 9.6, 0.004, is_enough)
    model, hp = fitted(2)
    record = TrainingRecord()
    record.learned = learned(dataclasses.replace(make_spread(), chain=chain))
    text = page(record, model, hp)
    assert "Groups of features" in text
    assert "<td>1 to 2</td>" in text
    said = [sentence for sentence in findings(record, hp) if "more epochs would gain" in sentence]
    worth = "The model is the mean of 40 samples, worth 10 independent ones: "
    assert said == [f"{worth}more epochs would gain about 0.004 nats a row."] * (is_enough is False)
    assert record.as_document()["learned"] == record.learned
    assert "learned" not in TrainingRecord().as_document()
