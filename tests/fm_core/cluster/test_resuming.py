"""Trainings that are stopped anywhere, by any number of hosts, and go on with any other: the model of one host.

Hosts are threads, and share a folder, as SageMaker restores the files of all of them on each.
"""

import itertools
import logging
import shutil

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.checkpoints.file import read_header
from fm_core.checkpoints.reshard import complete_steps
from fm_core.checkpoints.writer import Checkpointer
from fm_core.cluster.checkpoints import SharedCheckpointer
from fm_core.cluster.data import DistributedData, local_hyperparameters
from fm_core.cluster.sharded import fit_together
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import fit
from tests.fm_core.cluster.members import together

FEATURE_DIM = 7
#: Rows of a step of all hosts.
TOTAL = 12
SAME_DATA = {"fingerprint": {"data": "x"}, "interval": 1e9}


def rows(n, seed=0, dense=False):
    random = np.random.default_rng(seed)
    X = scipy.sparse.random(n, FEATURE_DIM, 0.4, "csr", np.float32, random_state=random)
    y = random.normal(size=n).astype(np.float32)
    return Batch.from_dense(X.toarray(), y) if dense else Batch.from_csr(X, y)


class Told:
    """A callback that keeps each epoch's last words, and asks for a stop after so many steps, or while validating."""

    def __init__(self, stops_after=None, stops_in_validation_of=None):
        self.left = stops_after
        self.epochs, self.validations, self.resumed_at = {}, {}, None
        self.stops_in_validation_of = stops_in_validation_of
        self.stopped = False

    def should_stop(self):
        return self.stopped

    def resumed(self, report):
        self.resumed_at = (report.epoch, report.n_batches)

    def started(self, is_dense):
        pass

    def batch(self, report):
        if self.left is not None:
            self.left -= 1
            self.stopped = self.stopped or self.left <= 0

    def epoch(self, report):
        self.epochs[report.epoch] = (report.n_records, report.metrics)

    def validated(self, report):
        self.validations[report.epoch] = (report.n_records, report.metrics, report.is_best)

    def validation(self, data):
        def batches(epoch):
            self.stopped = self.stopped or epoch == self.stops_in_validation_of
            return data.split(5)

        return batches


def run(folder, size, told, data, validation=None, total=TOTAL, **hyperparameters):
    """Go on from what the folder holds, with so many hosts; give the whole model, as w0 and rows, and the result."""
    m = total // size
    hp = Hyperparameters(
        feature_dim=FEATURE_DIM, num_factors=2, predictor_type="regressor", mini_batch_size=m,
        batch_metrics_publish_interval=1, **{"linear_lr": 0.03, "factors_lr": 0.03, "eps": 1e-3} | hyperparameters,
    )  # fmt: skip
    batches = None if validation is None else told.validation(validation)
    if size == 1:
        checkpointer = Checkpointer(folder, "h0", hp, **SAME_DATA)
        result = fit(
            lambda epoch: data.split(m), hp, validation=batches, callback=told, should_stop=told.should_stop,
            resume=checkpointer.latest(), checkpointer=checkpointer,
        )  # fmt: skip
        checkpointer.close()
        return result.model.w0, np.column_stack([result.model.V, result.model.w]), result

    def task(member):
        checkpointer = SharedCheckpointer(
            member, folder, f"h{member.rank}", local_hyperparameters(hp, member), whole=hp, is_replicated=True,
            **SAME_DATA,
        )  # fmt: skip
        resume = checkpointer.latest()
        result = fit_together(
            DistributedData(lambda epoch: data.split(m), True), hp, member,
            validation=None if batches is None else DistributedData(batches, True),
            callback=told if member.rank == 0 else None, should_stop=told.should_stop, resume=resume,
            checkpointer=checkpointer,
        )  # fmt: skip
        checkpointer.close()
        return result

    results = together(size, task)
    whole = np.empty((FEATURE_DIM, 3), np.float32)
    for rank, result in enumerate(results):
        n = len(range(rank, FEATURE_DIM, size))
        whole[rank::size] = np.column_stack([result.model.V, result.model.w])[:n]
    return results[0].model.w0, whole, results[0]


STOPS = st.one_of(
    st.builds(lambda n: {"stops_after": n}, st.integers(1, 12)),
    st.builds(lambda epoch: {"stops_in_validation_of": epoch}, st.integers(0, 3)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(st.tuples(st.sampled_from([1, 2, 3]), STOPS), max_size=4),
    last=st.sampled_from([1, 2, 3]),
    n_rows=st.sampled_from([5, 12, 37, 48]),
    dense=st.booleans(),
    changes=st.sampled_from(
        [{}, {"shuffle": True, "shuffle_buffer_size": 20}, {"early_stopping_patience": 1}, {"_optimizer": "ftrl"}]
    ),
)
def test_whoever_goes_on_it_is_the_model_of_one_host(tmp_path, caplog, runs, last, n_rows, dense, changes):
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    caplog.clear()
    data, validation = rows(n_rows, dense=dense), rows(11, 1, dense)
    changes = {"epochs": 4, **changes}
    expected_told = Told()
    w0, params, expected = run(tmp_path / "whole", 1, expected_told, data, validation, **changes)
    shutil.rmtree(tmp_path / "whole")
    epochs, validations = {}, {}
    for size, stop in [*runs, (last, {})]:
        told = Told(**stop)
        found_w0, found, result = run(folder, size, told, data, validation, **changes)
        epochs |= told.epochs
        validations |= told.validations
    assert not result.stopped
    close = {"rtol": 2e-4, "atol": 2e-5}
    np.testing.assert_allclose(found, params, **close)
    np.testing.assert_allclose(found_w0, w0, **close)
    assert result.epochs_done == expected.epochs_done
    assert {epoch: n for epoch, (n, _) in epochs.items()} == {e: n for e, (n, _) in expected_told.epochs.items()}
    assert {epoch: (n, best) for epoch, (n, _, best) in validations.items()} == {
        epoch: (n, best) for epoch, (n, _, best) in expected_told.validations.items()
    }
    for epoch, (_, metrics) in expected_told.epochs.items():
        np.testing.assert_allclose(epochs[epoch][1]["mse"], metrics["mse"], rtol=1e-3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == []


@pytest.mark.parametrize("total", [6, 24])
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations([1, 2, 3], 2)))
def test_an_epoch_that_is_done_stays_so_with_batches_of_another_size(tmp_path, caplog, before, after, total):
    """Its last batch was a short one: what is done is counted in rows."""
    data, validation = rows(30), rows(11, 1)
    run(tmp_path, before, Told(stops_in_validation_of=0), data, validation, epochs=2)
    told = Told()
    run(tmp_path, after, told, data, validation, total=total, epochs=2)
    assert told.resumed_at == (0, -(-30 // total))
    assert {epoch: n for epoch, (n, _) in told.epochs.items()} == {0: 30, 1: 30}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_hosts_that_found_nothing_left_to_do_are_no_dead_end(tmp_path):
    """They write where training ended under names that other hosts have used."""
    data = rows(30)
    for size in (2, 1, 2):
        told = Told()
        run(tmp_path, size, told, data, epochs=2)
    assert told.epochs == {}
    told = Told()
    w0, params, _ = run(tmp_path, 2, told, data, epochs=3)
    assert told.resumed_at == (2, 0)
    expected_w0, expected, _ = run(tmp_path / "whole", 1, Told(), data, epochs=3)
    np.testing.assert_allclose(params, expected, rtol=2e-4, atol=2e-5)
    assert w0 == pytest.approx(expected_w0, rel=1e-4)


@pytest.mark.parametrize("sizes", [(2, 1, 1), (3, 2, 2), (2, 3, 3)], ids=str)
def test_records_that_nobody_knows_are_not_said_to_be_others(tmp_path, caplog, sizes):
    """Hosts cannot know the labels that others have seen; nor can those who go on from them in the same epoch."""
    data = rows(40 * TOTAL)
    for size in sizes:
        run(tmp_path, size, told := Told(stops_after=1), data, epochs=1)
        assert told.resumed_at is None or 0 < told.resumed_at[1] < 40
    assert told.resumed_at is not None
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_step_that_one_host_has_not_kept_is_no_dead_end_for_one_host(tmp_path):
    data = rows(30)
    run(tmp_path, 2, Told(stops_after=2), data, epochs=4)
    run(tmp_path, 2, Told(stops_after=2), data, epochs=4)
    newest = max(tmp_path.glob("checkpoint_h1_*.fm"))
    newest.unlink()  # host 2 was killed before
    complete = read_header(complete_steps(tmp_path)[0].paths[0])["position"]
    told = Told()
    run(tmp_path, 1, told, data, epochs=4)
    assert told.resumed_at == (complete["epoch"], complete["n_batches"])


def test_three_that_were_kept_because_of_a_kill_are_all_known(tmp_path):
    """By hosts a step apart, which had written one and not removed the oldest; the newest of both is damaged."""
    data, every, last = rows(60), tmp_path / "every", tmp_path / "last"
    every.mkdir()
    last.mkdir()
    for _ in range(4):
        run(tmp_path, 2, Told(stops_after=1), data, epochs=4)
        for path in tmp_path.glob("checkpoint_*.fm"):
            shutil.copy2(path, every)
    of_first, of_second = (sorted(every.glob(f"checkpoint_h{rank}_*.fm"))[:4] for rank in range(2))
    for path in (*of_first[1:], *of_second[:3]):
        shutil.copy2(path, last)
    newest = last / of_second[2].name
    newest.write_bytes(newest.read_bytes()[:-1])
    told = Told(stops_after=1)
    run(last, 2, told, data, epochs=4)
    position = read_header(of_first[1])["position"]
    assert told.resumed_at == (position["epoch"], position["n_batches"])


@pytest.mark.parametrize(("size", "total"), [(1, 6), (2, 6), (3, 6), (2, 24)])
def test_shuffled_batches_of_another_size_begin_their_epoch_anew_and_that_is_said(tmp_path, caplog, size, total):
    """Of a buffer that does not hold all rows, the order depends on how it is filled."""
    data = rows(100)
    shuffled = {"shuffle": True, "shuffle_buffer_size": 30, "epochs": 2}
    run(tmp_path, 2 if size != 2 else 3, Told(stops_after=3), data, **shuffled)
    told = Told()
    run(tmp_path, size, told, data, total=total, **shuffled)
    assert told.resumed_at == (0, 0)
    assert {epoch: n for epoch, (n, _) in told.epochs.items()} == {0: 100, 1: 100}
    assert (
        f"Epoch 0 starts again, because batches of {total} rows are shuffled differently from those of 12"
        in caplog.text
    )


@pytest.mark.parametrize("first", range(9, 13))
def test_checkpoints_within_epochs_do_not_cease(tmp_path, monkeypatch, first):
    """One asked for with the last plan of an epoch, the eleventh, which no step follows, is asked for again."""
    calls, written = [], []

    def is_due(self, *, epoch_end=False):
        if epoch_end or self.host != "h0":
            return False
        calls.append(None)
        return len(calls) >= first

    def noted(self, position, solver, best):
        written.append(position.epoch)
        write(self, position, solver, best)

    write = SharedCheckpointer.write
    monkeypatch.setattr(Checkpointer, "is_due", is_due)
    monkeypatch.setattr(SharedCheckpointer, "write", noted)
    run(tmp_path, 2, Told(), rows(10 * TOTAL), epochs=4)
    assert {1, 2, 3} <= set(written)
