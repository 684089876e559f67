"""The loop with a solver that it has never heard of: it trains, is kept, goes on, stops and is told of as any other."""

import numpy as np
import pytest
import scipy.sparse

from fm_core.batch import Batch
from fm_core.checkpoints.state import Checkpoint
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import CheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit
from fm_core.training.memory import memory_needed
from tests.fm_core.training.fake_solver import Mean, MeanSolver

M, N = 10, 55
LABELS = np.random.default_rng(0).normal(3, 1, N).astype(np.float32)


def hyperparameters(**changes):
    return Hyperparameters(
        **{"feature_dim": 4, "num_factors": 2, "predictor_type": "regressor", "mini_batch_size": M, "epochs": 3}
        | {"batch_metrics_publish_interval": 2}
        | changes
    )


def batches(epoch=0):
    rows = scipy.sparse.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(N) % 4])
    return [Batch.from_csr(rows[i : i + M], LABELS[i : i + M]) for i in range(0, N, M)]


class Told(Silent):
    """All that is told, times left out; asks to stop at a batch that is published."""

    def __init__(self, stops_at=None):
        self.said, self.stops_at, self.stopped = [], stops_at, False

    def resumed(self, report):
        self.said.append(("resumed", report.epoch, report.n_batches))

    def started(self, is_dense):
        self.said.append(("started", is_dense))

    def batch(self, report):
        self.stopped = self.stopped or (report.epoch, report.batch) == self.stops_at
        self.said.append(("batch", report.epoch, report.batch, report.metrics))

    def epoch(self, report):
        self.said.append(("epoch", report.epoch, report.metrics, report.n_records, report.n_batches))

    def validated(self, report):
        self.said.append(("validated", report.epoch, report.metrics, report.is_best))


@pytest.mark.parametrize("needs", ["stream", "resident"])
def test_it_trains_and_is_told_of(needs):
    algorithm, told = Mean(needs), Told()
    result = fit(batches, hyperparameters(), algorithm=algorithm, validation=batches, callback=told)
    assert result.model.w0 == pytest.approx(LABELS.mean(dtype=np.float64))
    assert [words[:3] for words in told.said if words[0] == "batch"] == [
        ("batch", epoch, batch) for epoch in range(3) for batch in (0, 2, 4)
    ]
    ends = [words for words in told.said if words[0] == "epoch"]
    assert [(epoch, n_records, n_batches) for _, epoch, _, n_records, n_batches in ends] == [
        (epoch, N, 6) for epoch in range(3)
    ]
    assert result.metrics == ends[-1][2]
    assert [words[3] for words in told.said if words[0] == "validated"] == [True, False, False]
    assert algorithm.n_loaded == (needs == "resident")


@pytest.mark.parametrize("needs", ["stream", "resident"])
@pytest.mark.parametrize("has_copy", [True, False])
@pytest.mark.parametrize("stops_at", [(0, 2), (1, 0), (2, 4)])
def test_it_is_kept_stopped_and_goes_on(tmp_path, needs, has_copy, stops_at):
    hp = hyperparameters(early_stopping_patience=5)
    whole = Told()
    expected = fit(batches, hp, algorithm=Mean(needs), validation=batches, callback=whole)
    said = []
    for at in (stops_at, None):
        told = Told(at)
        checkpointer = Checkpointer(tmp_path, "algo-1", hp, algorithm=Mean(needs), interval=0, has_copy=has_copy)
        resume = checkpointer.latest()
        result = fit(
            batches, hp, algorithm=Mean(needs), validation=batches, callback=told, checkpointer=checkpointer,
            resume=resume, should_stop=lambda told=told: told.stopped,
        )  # fmt: skip
        checkpointer.close()
        assert result.stopped == (at is not None)
        said += [words for words in told.said if words[0] in ("batch", "epoch", "validated")]
    assert isinstance(resume, Checkpoint)
    assert resume.position.n_steps == stops_at[0] * 6 + stops_at[1] + 1
    assert result.model.w0 == expected.model.w0
    assert result.metrics == expected.metrics
    assert said == [words for words in whole.said if words[0] in ("batch", "epoch", "validated")]


def test_a_job_without_time_reads_its_model_alone(tmp_path):
    checkpointer = Checkpointer(tmp_path, "algo-1", hyperparameters(), algorithm=Mean())
    fit(batches, hyperparameters(), algorithm=Mean(), checkpointer=checkpointer)
    checkpointer.close()
    found = checkpointer.latest(lambda: True)
    assert (found if isinstance(found, Model) else Mean().model_of(hyperparameters(), found.arrays)).w0 == (
        pytest.approx(LABELS.mean(dtype=np.float64))
    )


def test_a_checkpoint_of_another_solver_is_refused(tmp_path):
    checkpointer = Checkpointer(tmp_path, "algo-1", hyperparameters(), algorithm=Mean())
    fit(batches, hyperparameters(), algorithm=Mean(), checkpointer=checkpointer)
    checkpointer.close()
    with pytest.raises(CheckpointError, match=r"was written by solver mean, and this job's is minibatch: restore that"):
        Checkpointer(tmp_path, "algo-1", hyperparameters()).latest()


def test_it_says_itself_when_it_is_done():
    told = Told()
    result = fit(batches, hyperparameters(seed=1, epochs=100), algorithm=Mean(), callback=told)
    assert result.epochs_done == 1
    assert not result.stopped


def test_a_stop_before_the_first_row_gives_its_initial_model():
    result = fit(batches, hyperparameters(), algorithm=Mean(), should_stop=lambda: True)
    assert (result.model.w0, result.stopped, result.epochs_done) == (0, True, 0)


def test_other_labels_are_said_of_rows_in_memory_too(tmp_path, caplog):
    for change in (0, 1):
        told = Told((0, 2) if not change else None)
        checkpointer = Checkpointer(tmp_path, "algo-1", hyperparameters(), algorithm=Mean("resident"))
        fit(
            lambda epoch, change=change: batches()[::-1] if change else batches(),
            hyperparameters(), algorithm=Mean("resident"), checkpointer=checkpointer, callback=told,
            resume=checkpointer.latest(), should_stop=lambda told=told: told.stopped,
        )  # fmt: skip
        checkpointer.close()
    assert "or their order has" in caplog.text


class Unfinished(MeanSolver):
    """Its arrays mean nothing but at the end of an epoch."""

    def epoch(self, data, at):
        *points, last = super().epoch(data, at)
        for point in points:
            yield point._replace(is_resumable=False)
        yield last


def test_nothing_is_kept_where_an_epoch_cannot_be_resumed(tmp_path):
    algorithm, told = Mean(), Told((1, 2))
    algorithm.make = lambda hp, *, is_dense=False, model=None, state=None: Unfinished(hp, state)
    checkpointer = Checkpointer(tmp_path, "algo-1", hyperparameters(), algorithm=algorithm, interval=0)
    fit(
        batches, hyperparameters(), algorithm=algorithm, checkpointer=checkpointer, callback=told,
        should_stop=lambda: told.stopped,
    )  # fmt: skip
    checkpointer.close()
    assert [checkpointer.read(path).position.n_batches for path in checkpointer.paths()] in ([0, 6], [0], [6])


class Diverging(MeanSolver):
    remedy = ", which no rate would help"

    def epoch(self, data, at):
        yield next(super().epoch(data, at))
        raise DivergenceError("the mean is gone")


def test_divergence_is_told_with_its_place():
    algorithm = Mean()
    algorithm.make = lambda hp, *, is_dense=False, model=None, state=None: Diverging(hp, state)
    with pytest.raises(DivergenceError, match=r"^epoch 0, batch 1: the mean is gone$"):
        fit(batches, hyperparameters(), algorithm=algorithm)


def test_a_model_that_is_not_finite_is_told_with_the_solvers_remedy(monkeypatch):
    broken = Model.of_params("regressor", 0.0, np.full((4, 3), np.nan, np.float32))
    monkeypatch.setattr(MeanSolver, "model", broken)
    monkeypatch.setattr(MeanSolver, "remedy", ", so add rows")
    with pytest.raises(DivergenceError, match=r"epoch 3, after 0 batches: parameters of .* finite, so add rows$"):
        fit(batches, hyperparameters(), algorithm=Mean())


def test_memory_is_the_solvers_and_that_of_the_best_epoch():
    assert memory_needed(hyperparameters(), Mean()) == 16
    assert memory_needed(hyperparameters(early_stopping_patience=1), Mean()) == 16 + 4 * 4 * 3
