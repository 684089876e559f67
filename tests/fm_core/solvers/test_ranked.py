"""Learning an order from positives: what is drawn, what is kept, what is learned."""

import dataclasses
import itertools

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.checkpoints.file import Checkpoint
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.solvers.positives import Positives
from fm_core.solvers.ranked import RankedMiniBatch
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

N_USERS, N_ITEMS, N_GENRES = 40, 60, 3
#: users, then an hour, then items, then genres
ITEMS = N_USERS + 1
FEATURE_DIM = ITEMS + N_ITEMS + N_GENRES
HP = Hyperparameters(
    feature_dim=FEATURE_DIM, num_factors=4, predictor_type="binary_classifier", epochs=6, mini_batch_size=32,
    loss="softmax", negatives=5, user_features=f"0:{N_USERS}", seed=3, linear_lr=0.02, factors_lr=0.02,
    item_features=f"{ITEMS}:{ITEMS + N_ITEMS},{ITEMS + N_ITEMS}:{FEATURE_DIM}", factors_init_sigma=0.05,
)  # fmt: skip


def pairs(seed=0, n=1500):
    """Users like items of their own parity, and the fewer the higher their number."""
    random = np.random.default_rng(seed)
    users = random.integers(0, N_USERS, n)
    items = (random.random(n) ** 2 * N_ITEMS / 2).astype(int) * 2 + users % 2
    return users, items


def batches(users, items, labels=None, size=HP.mini_batch_size):
    n = len(users)
    keys = np.column_stack([users, np.full(n, N_USERS), ITEMS + items, ITEMS + N_ITEMS + items % N_GENRES])
    values = np.ones((n, 4), np.float32)
    values[:, 1] = np.arange(n) % 24 / 24
    labels = np.ones(n, np.float32) if labels is None else labels
    made = [
        Batch(
            FEATURE_DIM, values[i : i + size].ravel(), np.arange(len(users[i : i + size]) + 1) * 4,
            keys[i : i + size].astype(np.int32).ravel(), labels[i : i + size],
        )
        for i in range(0, n, size)
    ]  # fmt: skip
    return lambda epoch: made


USERS, KNOWN = pairs()
DATA = batches(USERS, KNOWN)


def params(result):
    return np.column_stack([result.model.V, result.model.w])


@pytest.mark.parametrize("loss", ["pairwise", "softmax", "warp"])
@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_it_learns_who_likes_what(loss, sampling):
    hp = dataclasses.replace(HP, loss=loss, negative_sampling=sampling, epochs=15)
    algorithm = registry.algorithm(hp)
    result = fit(DATA, hp, algorithm=algorithm)
    assert result.metrics["ranking_accuracy"] > 0.75
    V, w = result.model.V, result.model.w
    z = V[:N_USERS] @ V[ITEMS : ITEMS + N_ITEMS].T + w[ITEMS : ITEMS + N_ITEMS]
    same = (np.arange(N_USERS)[:, np.newaxis] + np.arange(N_ITEMS)) % 2 == 0
    assert (z[:, ::2].mean(axis=1) > z[:, 1::2].mean(axis=1)).tolist() == same[:, 0].tolist()


def test_threads_and_grouping_ahead_change_no_bit():
    one = params(fit(DATA, HP))
    for num_threads in (2, 3):
        assert params(fit(DATA, HP, num_threads=num_threads)).tobytes() == one.tobytes()


def test_the_bias_and_linear_weights_of_contexts_stay():
    hp = dataclasses.replace(HP, linear_wd=0.0, bias_init_value=0.25, bias_init_method="constant")
    model = fit(DATA, hp).model
    begun = fit(DATA, dataclasses.replace(hp, epochs=1), should_stop=lambda: True).model
    assert model.w0 == begun.w0 == 0.25
    assert (model.w[:ITEMS] == begun.w[:ITEMS]).all()
    assert (model.w[ITEMS:] != begun.w[ITEMS:]).all()


class Stops(Silent):
    def __init__(self, at):
        self.at, self.stopped = at, False

    def batch(self, report):
        self.stopped = self.stopped or (report.epoch, report.batch) == self.at


@pytest.mark.parametrize("at", [(0, 3), (2, 0), (4, 20)])
def test_it_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path, at):
    hp = dataclasses.replace(HP, batch_metrics_publish_interval=1, shuffle=True, shuffle_buffer_size=200)
    whole = params(fit(DATA, hp))
    stops = Stops(at)
    algorithm = registry.algorithm(hp)
    checkpointer = Checkpointer(tmp_path, "algo-1", hp, interval=0)
    fit(DATA, hp, algorithm=algorithm, callback=stops, should_stop=lambda: stops.stopped, checkpointer=checkpointer)
    checkpointer.close()
    found = Checkpointer(tmp_path, "algo-1", hp).latest()
    assert isinstance(found, Checkpoint)
    assert params(fit(DATA, hp, resume=found)).tobytes() == whole.tobytes()


def test_records_that_are_no_positives_are_left_out():
    labels = (np.arange(len(USERS)) % 3 != 0).astype(np.float32)
    positives = Positives(HP, batches(USERS, KNOWN, labels)(0))
    kept = labels > 0
    assert sum(positives.ranked(b, 2, 1, 0).n_contexts for b in batches(USERS, KNOWN, labels)(0)) == kept.sum()
    known = {(u, i) for u, i in zip(USERS[kept].tolist(), KNOWN[kept].tolist(), strict=True)}
    assert len(positives.known) == len(known)


def test_no_negative_is_a_known_positive_and_each_has_its_items_features():
    positives = Positives(HP, DATA(0))
    known = set(zip(USERS.tolist(), KNOWN.tolist(), strict=True))
    assert positives.items.tolist() == sorted({int(i) + ITEMS for i in KNOWN})
    for batch in DATA(0)[:5]:
        n, indptr, keys, values = positives.ranked(batch, 4, key=9, first_row=0)
        rows = [keys[a:b].tolist() for a, b in itertools.pairwise(indptr)]
        assert (values[indptr[n] :] == 1).all()
        for r, context in enumerate(rows[:n]):
            items = rows[n + 5 * r : n + 5 * r + 5]
            assert context == batch.indices[4 * r : 4 * r + 2].tolist()
            assert items[0] == batch.indices[4 * r + 2 : 4 * r + 4].tolist()
            for item, genre in items[1:]:
                assert (context[0], item - ITEMS) not in known
                assert genre == ITEMS + N_ITEMS + (item - ITEMS) % N_GENRES


def test_epochs_draw_differently_and_a_seed_repeats():
    algorithm = RankedMiniBatch()
    algorithm.look(HP, DATA(0))

    def drawn(hp, epoch, n_batches=0):
        algorithm._hp = hp
        algorithm.begin_epoch(type("At", (), {"epoch": epoch, "n_batches": n_batches}))
        return [algorithm.prepare(batch).rows.indices.tolist() for batch in DATA(0)[n_batches : n_batches + 2]]

    assert drawn(HP, 0) == drawn(HP, 0)
    assert drawn(HP, 0) != drawn(HP, 1)
    assert drawn(HP, 0) != drawn(dataclasses.replace(HP, seed=4), 0)
    assert drawn(HP, 0)[1] == drawn(HP, 0, n_batches=1)[0]


def test_validation_is_the_order_of_all_items():
    users, items = pairs(seed=1, n=200)
    told = []

    class Told(Silent):
        def validated(self, report):
            told.append(report)

    hp = dataclasses.replace(HP, ranking_k=5, early_stopping_patience=2, epochs=12)
    fit(DATA, hp, validation=batches(users, items), callback=Told())
    names = [f"{name}_at_5" for name in ("ndcg", "precision", "recall", "map", "mrr", "coverage")]
    assert list(told[0].metrics) == names
    best = max(range(len(told)), key=lambda i: told[i].metrics["ndcg_at_5"])
    assert [report.is_best for report in told].count(True) >= 1
    assert told[best].is_best
    assert len(told) <= best + 3
    assert told[best].metrics["ndcg_at_5"] > told[0].metrics["ndcg_at_5"] or best == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"user_features": ""}, "loss is softmax, which needs user_features: set it"),
        ({"item_features": ""}, "loss is softmax, which needs item_features: set it"),
        ({"user_features": "0:10,10:20"}, "user_features is '0:10,10:20', expected 1 range of features"),
        ({"user_features": "5:5"}, "user_features is '5:5', expected ranges within 0:104 such as"),
        ({"item_features": "50:105"}, "item_features is '50:105', expected ranges within 0:104"),
        ({"item_features": "50:60,55:70"}, "expected ranges that do not overlap"),
        ({"item_features": "39:60"}, "user_features and item_features share a feature"),
    ],
)
def test_features_that_are_not_said_well_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        dataclasses.replace(HP, **changes)


def test_a_record_without_one_user_and_one_item_is_refused():
    bad = Batch(FEATURE_DIM, np.ones(3, np.float32), np.array([0, 3]), np.array([1, 2, ITEMS], np.int32),
                np.ones(1, np.float32))  # fmt: skip
    with pytest.raises(DataError, match="record 1500 of a pass has 2 features in 0:40, the ids of user_features"):
        fit(lambda epoch: [*DATA(0), bad], HP)
    nobody = Batch(
        FEATURE_DIM, np.ones(1, np.float32), np.array([0, 1]), np.array([2], np.int32), np.ones(1, np.float32)
    )
    with pytest.raises(DataError, match="record 0 of a pass has 0 features in 41:101, the ids of item_features"):
        fit(lambda epoch: [nobody], HP)


def test_data_that_cannot_be_ranked_is_refused():
    with pytest.raises(DataError, match="no positive, expected at least one record whose label is above 0"):
        fit(batches(USERS, KNOWN, np.zeros(len(USERS), np.float32)), HP)
    with pytest.raises(ConfigError, match="is 1: expected at least 2"):
        fit(batches(np.arange(40) % N_USERS, np.zeros(40, int)), HP)
    dense = Batch.from_dense(np.ones((3, FEATURE_DIM)), np.ones(3))
    with pytest.raises(DataError, match="records are dense, expected sparse ones"):
        fit(lambda epoch: [dense], HP)


def test_a_user_who_has_everything_has_no_negatives():
    users = np.concatenate([USERS, np.full(N_ITEMS, 7)])
    items = np.concatenate([KNOWN, np.arange(N_ITEMS)])
    algorithm = RankedMiniBatch()
    algorithm.look(HP, batches(users, items)(0))
    algorithm.begin_epoch(type("At", (), {"epoch": 0, "n_batches": 0}))
    n = sum(algorithm.prepare(batch).rows.n_contexts for batch in batches(users, items)(0))
    assert n == (users != 7).sum()
    result = fit(batches(np.full(40, 7), np.arange(40)), dataclasses.replace(HP, epochs=1))
    assert np.isnan(result.metrics["ranking_loss"])


def test_several_hosts_are_refused():
    with pytest.raises(ConfigError, match=r"solver ranked \(loss=softmax\) trains on one host, but there are 2"):
        registry.combination(HP, 2)


def test_training_that_has_to_stop_while_it_looks_stops():
    n = 0

    def should_stop():
        return n > 3

    def data(epoch):
        nonlocal n
        for batch in DATA(0):
            n += 1
            yield batch

    assert fit(data, HP, should_stop=should_stop).stopped
