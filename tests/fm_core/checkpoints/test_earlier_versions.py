"""A checkpoint of an earlier version goes on: `without_solver.fm` is of one that knew mini-batches only."""

import dataclasses
import shutil

import numpy as np
import pytest

from fm_core.checkpoints.file import read_header
from fm_core.checkpoints.state import Checkpoint
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import CheckpointError
from fm_core.training.fit import fit
from tests.conftest import ROOT
from tests.fm_core.checkpoints.test_file import rewritten
from tests.fm_core.checkpoints.test_writer import batches_of, hyperparameters

#: Written by a job of these hyperparameters, stopped after 5 batches of its third epoch.
FILE = ROOT / "tests/golden/checkpoints/without_solver.fm"
HP = hyperparameters(batch_metrics_publish_interval=1, early_stopping_patience=9)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(FILE, tmp_path / "checkpoint_algo-1_000000000027.fm")
    return tmp_path


def test_it_names_no_solver():
    assert "solver" not in read_header(FILE)


def test_training_goes_on_from_it_to_the_model_of_one_without_interruption(folder):
    data, validation = batches_of(), batches_of(60, seed=1)
    expected = fit(lambda e: data, HP, validation=lambda e: validation)
    resume = Checkpointer(folder, "algo-1", HP).latest()
    assert isinstance(resume, Checkpoint)
    assert (resume.position.epoch, resume.position.n_batches) == (2, 5)
    found = fit(lambda e: data, HP, validation=lambda e: validation, resume=resume)
    # not to the bit: another processor may have written it
    np.testing.assert_allclose(found.model.V, expected.model.V, atol=1e-6)
    np.testing.assert_allclose(found.model.w, expected.model.w, atol=1e-6)
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-6)


@pytest.mark.parametrize(("now", "goes_on"), [(True, True), (False, False)])
def test_a_hyperparameter_that_came_later_was_as_its_default(folder, now, goes_on):
    """Every default leaves what was before the hyperparameter: use_linear, say, had the job been without it."""
    [path] = folder.iterdir()
    rewritten(path, lambda text: text.replace(b'"use_linear": true, ', b""))
    assert "use_linear" not in read_header(path)["hyperparameters"]
    checkpointer = Checkpointer(folder, "algo-1", dataclasses.replace(HP, use_linear=now))
    if goes_on:
        assert isinstance(checkpointer.latest(), Checkpoint)
    else:
        with pytest.raises(CheckpointError, match="use_linear was True and is False"):
            checkpointer.latest()
