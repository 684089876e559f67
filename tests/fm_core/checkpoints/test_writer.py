"""Trainings that are cut off and go on, and what becomes of the folder."""

import errno
import logging
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.checkpoints import file as checkpoint
from fm_core.checkpoints.writer import Checkpointer, due
from fm_core.errors import CheckpointError, DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.minibatch import MiniBatch, MiniBatchSolver
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

D = 60
#: A feature that no row has.
UNUSED = 7


def hyperparameters(**changes):
    facts = {"feature_dim": D, "num_factors": 3, "predictor_type": "binary_classifier", "epochs": 4}
    return Hyperparameters(**facts | {"mini_batch_size": 20, "factors_lr": 0.01} | changes)


def batches_of(n_rows=210, dense=False, seed=0):
    random = np.random.default_rng(seed)
    rows = sp.random(n_rows, D, 0.05, "csr", np.float32, random_state=random)
    rows = sp.csr_matrix(rows.multiply(np.arange(D) != UNUSED)).astype(np.float32)
    rows.eliminate_zeros()
    labels = (rows @ random.normal(size=D) > 0).astype(np.float32)
    made = Batch.from_dense if dense else Batch.from_csr
    rows = rows.toarray() if dense else rows
    return [made(rows[i : i + 20], labels[i : i + 20]) for i in range(0, n_rows, 20)]


class Told(Silent):
    """All that the callback is told, times left out."""

    def __init__(self, stops_at=None):
        self.said = []
        self.stops_at = stops_at
        self.stopped = False

    def resumed(self, report):
        self.report = report

    def batch(self, report):
        if (report.epoch, report.batch) == self.stops_at:
            self.stopped = True
        self.said.append(("batch", report.epoch, report.batch, report.metrics))

    def epoch(self, report):
        self.said.append(("epoch", report.epoch, report.metrics, report.n_records, report.n_batches))

    def validated(self, report):
        self.said.append(("validated", report.epoch, report.metrics, report.n_records, report.is_best))


def same(a, b):
    return a.w0 == b.w0 and a.w.tobytes() == b.w.tobytes() and a.V.tobytes() == b.V.tobytes()


class Cut:
    """`should_stop` that is true from the n-th time on."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left < 0


def run(folder, hp, data, stop=None, validation=None, has_copy=True, interval=0.0, stops_at=None):
    """Go on from what the folder holds, as a job does."""
    told = Told(stops_at)
    stop = stop or (lambda: told.stopped)
    checkpointer = Checkpointer(folder, "algo-1", hp, interval=interval, has_copy=has_copy)
    resume = checkpointer.latest()
    result = fit(
        lambda e: data, hp, callback=told, should_stop=stop, resume=resume, checkpointer=checkpointer,
        validation=validation and (lambda e: validation),
    )  # fmt: skip
    checkpointer.close()
    return result, told, checkpointer


KINDS = {
    "lazy adam": ({}, {}),
    "every feature": ({"lazy_update": False}, {}),
    "dense": ({}, {"dense": True}),
    "sgd": ({"_optimizer": "sgd"}, {}),
    "adagrad": ({"_optimizer": "adagrad"}, {}),
    "ftrl": ({"_optimizer": "ftrl"}, {}),
    "shuffled": ({"shuffle": True, "shuffle_buffer_size": 70}, {}),
    "regressor": ({"predictor_type": "regressor"}, {}),
    "stops early": ({"early_stopping_patience": 1, "epochs": 30, "factors_lr": 0.3, "linear_lr": 0.3}, {}),
}


@pytest.mark.parametrize("has_copy", [True, False], ids=["in the background", "with a pause"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_cut_off_many_times_gives_the_model_and_metrics_of_one_that_was_not(tmp_path, kind, has_copy):
    changes, of_data = KINDS[kind]
    hp = hyperparameters(batch_metrics_publish_interval=3, **changes)
    data, validation = batches_of(**of_data), batches_of(60, seed=1, **of_data)
    whole = Told()
    expected = fit(lambda e: data, hp, callback=whole, validation=lambda e: validation)
    random = np.random.default_rng(5)
    said = {}
    for n_runs in range(200):  # noqa: B007
        stop = Cut(int(random.integers(0, 20)))
        result, told, _ = run(tmp_path, hp, data, stop, validation, has_copy)
        for words in told.said:  # an epoch whose validation was cut off is told again
            assert said.setdefault(words[:3] if words[0] == "batch" else words[:2], words) == words
        if not result.stopped:
            break
    assert n_runs > 3
    assert list(said.values()) == whole.said
    assert same(result.model, expected.model)
    assert (result.epochs_done, result.metrics) == (expected.epochs_done, expected.metrics)


def test_every_checkpoint_written_in_the_background_leads_to_the_same_model(tmp_path, monkeypatch):
    hp, data = hyperparameters(epochs=9), batches_of()
    write, kept = checkpoint.write, []

    def slow(path, taken, *args, **kwargs):
        time.sleep(0.001)  # training is far ahead by now
        write(path, taken, *args, **kwargs)
        kept.append(shutil.copy(path, tmp_path / f"{len(kept)}"))

    monkeypatch.setattr(checkpoint, "write", slow)
    run(tmp_path / "c", hp, [*data, *data, *data])  # also with rows that nothing touches for long
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "c")
    assert len(kept) > 2
    whole = fit(lambda e: [*data, *data, *data], hp).model
    for path in kept:
        resume = checkpoint.read(path, MiniBatch(), hp, {})
        assert same(fit(lambda e: [*data, *data, *data], hp, resume=resume).model, whole)


def test_more_epochs_go_on_where_a_finished_training_ended(tmp_path):
    data = batches_of()
    run(tmp_path, hyperparameters(epochs=2), data)
    result, told, _ = run(tmp_path, hyperparameters(epochs=4), data)
    assert same(result.model, fit(lambda e: data, hyperparameters()).model)
    assert told.said[0][:3] == ("batch", 2, 0)


def test_a_finished_training_is_not_done_again_and_reads_no_data(tmp_path):
    first = run(tmp_path, hyperparameters(), batches_of())[0]
    again, told, _ = run(tmp_path, hyperparameters(), None)
    assert same(again.model, first.model)
    assert told.said == []
    assert told.report.metrics == first.metrics == again.metrics
    assert told.report.passes == [(210, 11, 4)]


def test_the_last_two_are_kept_and_what_others_put_there_is_left_alone(tmp_path):
    others = ["checkpoint_algo-2_000000000001.fm", "checkpoint_algo-1_000000000009.fm.sagemaker-uploaded", "note"]
    stale = ".checkpoint_algo-1_000000000003.fm.tmp"
    theirs = ".checkpoint_algo-2_000000000003.fm.tmp"
    for name in (*others, stale, theirs):
        (tmp_path / name).write_text("x")
    _, _, checkpointer = run(tmp_path, hyperparameters(), batches_of())
    names = [path.name for path in checkpointer.paths()]
    assert len(names) == 2
    assert names[0] == "checkpoint_algo-1_000000000044.fm"
    assert {entry.name for entry in tmp_path.iterdir()} == {*others, theirs, *names}


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog):
    hp, data = hyperparameters(), batches_of()
    expected = run(tmp_path / "c", hp, data)[0].model
    newest, before = Checkpointer(tmp_path / "c", "algo-1", hp).paths()
    newest.write_bytes(newest.read_bytes()[:-5])
    with caplog.at_level(logging.INFO):
        result, _, checkpointer = run(tmp_path / "c", hp, data)
    assert same(result.model, expected)
    assert f"{newest} has " in caplog.text
    assert "using the checkpoint before it" in caplog.text
    assert f"Resuming from checkpoint {before}" in caplog.text
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert checkpointer.paths()[0] == newest  # written anew


def test_no_whole_checkpoint_is_an_error_and_nothing_is_removed(tmp_path):
    hp = hyperparameters()
    run(tmp_path, hp, batches_of())
    checkpointer = Checkpointer(tmp_path, "algo-1", hp)
    for path in checkpointer.paths():
        path.write_bytes(b"x")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    with pytest.raises(
        CheckpointError, match=r"all checkpoints are damaged: .* is not a checkpoint.*another checkpoint fold"
    ):
        checkpointer.latest()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names


def test_a_checkpoint_of_another_job_is_refused_even_if_an_older_one_fits(tmp_path):
    run(tmp_path, hyperparameters(), batches_of())
    with pytest.raises(CheckpointError, match="seed was 0 and is 1"):
        run(tmp_path, hyperparameters(seed=1), batches_of())


def test_shorter_data_is_refused(tmp_path):
    hp, data = hyperparameters(batch_metrics_publish_interval=1), batches_of()
    assert run(tmp_path, hp, data, stops_at=(1, 7))[0].stopped
    with pytest.raises(DataError, match="epoch 1 has 2 batches, but the checkpoint was written after 8 of them"):
        run(tmp_path, hp, data[:2])


@pytest.mark.parametrize("moved", [False, True])
def test_data_in_another_order_is_said(tmp_path, caplog, moved):
    hp, data = hyperparameters(batch_metrics_publish_interval=1), batches_of()
    run(tmp_path, hp, data, stops_at=(1, 7))
    run(tmp_path, hp, [data[1], data[0], *data[2:]] if moved else data)
    assert ("or their order has" in caplog.text) == moved


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_checkpoint_that_cannot_be_written_does_not_end_training(tmp_path, monkeypatch, caplog, number):
    hp, data = hyperparameters(batch_metrics_publish_interval=1), batches_of()
    run(tmp_path, hp, data, stops_at=(3, 3))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(number, "no luck")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        result, _, _ = run(tmp_path, hp, data)
    assert not result.stopped
    assert same(result.model, fit(lambda e: data, hp).model)
    assert "could not be written: no luck; it takes " in caplog.text
    assert ("3 of them need space" in caplog.text) == (number == errno.ENOSPC)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        CheckpointError, match=r"the checkpoint folder .*file cannot be written to: .*; make it writable"
    ):
        Checkpointer(tmp_path / "file", "algo-1", hyperparameters())


@pytest.mark.parametrize("has_copy", [True, False])
def test_a_training_that_diverges_keeps_the_last_finite_checkpoint(tmp_path, has_copy):
    hp, data = hyperparameters(epochs=3000), batches_of()

    class Poison(Silent):
        """Overflow one parameter that no later batch uses: scores stay finite for ever."""

        def epoch(self, report):
            if report.epoch == 1:
                checkpointer.solver.arrays()["params"][UNUSED, 0] = np.inf

    checkpointer = Checkpointer(tmp_path, "algo-1", hp, interval=0.0, has_copy=has_copy)
    start = checkpointer.start

    def watched(solver, resumed):
        checkpointer.solver = solver
        start(solver, resumed)

    checkpointer.start = watched
    if has_copy:  # the copy takes what was marked, and this row never is
        checkpointer.mark = lambda features: type(checkpointer).mark(checkpointer, None)
    with pytest.raises(
        DivergenceError,
        match=r"epoch \d+, after \d+ batches: a parameter .*linear_lr=0.001 .*; the last finite checkpoint is",
    ):
        fit(lambda e: data, hp, callback=Poison(), checkpointer=checkpointer)
    checkpointer.close()
    for path in checkpointer.paths():
        assert np.isfinite(checkpointer.read(path).arrays["params"]).all()


def test_scores_that_diverge_name_the_checkpoint_too(tmp_path):
    data = batches_of()
    hp = hyperparameters(_optimizer="sgd", linear_lr=1e30, predictor_type="regressor", epochs=50)
    with pytest.raises(DivergenceError, match=r"epoch 0, batch \d+: .*linear_lr=1e\+30") as caught:
        run(tmp_path, hp, data)
    kept = Checkpointer(tmp_path, "algo-1", hp).paths()
    assert bool(kept) == ("the last finite checkpoint is" in str(caught.value))


def test_closing_does_not_begin_what_there_is_no_time_for(tmp_path):
    hp, data = hyperparameters(), batches_of()
    checkpointer = Checkpointer(tmp_path, "algo-1", hp, interval=1000)
    result = fit(lambda e: data, hp, checkpointer=checkpointer)
    assert result.epochs_done == 4
    checkpointer.close(give_up=lambda: True)
    assert "checkpoint_algo-1_000000000044.fm" not in [path.name for path in checkpointer.paths()]


def test_a_write_in_progress_is_given_up_when_there_is_no_time(tmp_path, monkeypatch, caplog):
    hp, data = hyperparameters(epochs=1), batches_of()
    reached, write = threading.Event(), checkpoint.write

    def slow(path, *args, give_up, **kwargs):
        reached.set()
        while not give_up():
            time.sleep(0.01)
        write(path, *args, give_up=give_up, **kwargs)

    monkeypatch.setattr(checkpoint, "write", slow)
    checkpointer = Checkpointer(tmp_path, "algo-1", hp, interval=0)
    fit(lambda e: data, hp, checkpointer=checkpointer)
    assert reached.is_set()
    checkpointer.close(give_up=lambda: True)
    assert list(tmp_path.iterdir()) == []
    assert "There is no time to write checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("has_copy", "cost", "elapsed", "expected"),
    [
        (True, 1.0, 0, [False, False]),
        (True, 1.0, 31, [False, True]),
        (True, 1.0, 61, [True, True]),
        (True, 10.0, 61, [True, True]),
        (False, 10.0, 61, [False, False]),  # training waits for every write
        (False, 10.0, 301, [True, True]),
        (False, 1.0, 31, [False, True]),
    ],
)
def test_checkpoints_are_due_by_the_clock_and_at_ends_of_epochs(has_copy, cost, elapsed, expected):
    found = [due(elapsed, interval=60, cost=cost, has_copy=has_copy, epoch_end=end) for end in (False, True)]
    assert found == expected


def test_none_is_due_before_training_has_started(tmp_path):
    checkpointer = Checkpointer(tmp_path, "algo-1", hyperparameters(), interval=0)
    assert not checkpointer.is_due()
    checkpointer.start(MiniBatchSolver(hyperparameters()), None)
    assert checkpointer.is_due()


def test_the_copy_takes_no_memory_for_features_that_never_occurred(tmp_path):
    hp = hyperparameters(feature_dim=100_000, num_factors=500, _optimizer="adagrad")
    solver = MiniBatchSolver(hp)  # 200 MB of state, pages that nothing has written to

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    checkpointer = Checkpointer(tmp_path, "algo-1", hp)
    before = resident()
    checkpointer.start(solver, None)
    assert resident() - before < 250e6  # of the parameters alone
    checkpointer.close()
