"""What docs/explanation/scaling.md computes with is what real processes send."""

import numpy as np
import pytest
import scipy.sparse

from benchmarks import members, traffic
from fm_core.cluster.wire import ITEMSIZE
from fm_core.metrics import metrics_for

M = 40


def rows_of(n_rows, seed=0, dim=300, fields=7):
    """Rows of one-hot fields, of which some are frequent."""
    random = np.random.default_rng(seed)
    columns = (random.random((n_rows, fields)) ** 3 * (dim // fields)).astype(np.int32) + np.arange(fields) * (
        dim // fields
    )
    indptr = np.arange(0, columns.size + 1, fields)
    X = scipy.sparse.csr_matrix((np.ones(columns.size, np.float32), columns.ravel(), indptr), (n_rows, dim))
    return X, (random.random(n_rows) < 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "n_rows", "changes"),
    [
        (2, 8 * M, {}),
        (3, 7 * M + 11, {"num_factors": 20, "batch_metrics_publish_interval": 2}),  # members run out at different steps
        (4, 2 * M, {"predictor_type": "regressor"}),  # two of them never have a row
        (2, 8 * M, {"num_factors": 4000}),  # by sums, both ways at once
        (3, 4 * M, {"num_factors": 64, "_wire_dtype": "bfloat16"}),
    ],
)
def test_the_formula_is_what_the_members_count(tmp_path, size, n_rows, changes):
    pytest.importorskip("torch")
    X, y = rows_of(n_rows)
    hp = {"feature_dim": X.shape[1], "num_factors": 5, "predictor_type": "binary_classifier",
          "mini_batch_size": M, "batch_metrics_publish_interval": 500} | changes  # fmt: skip
    found = members.run(members.keep(tmp_path, X, y), size, **hp)
    steps = [
        traffic.data_of(
            [X[i : i + M].indices for i in range(at, at + size * M, M)],
            [max(0, min(M, n_rows - i)) for i in range(at, at + size * M, M)],
            size,
        )
        for at in range(0, n_rows, size * M)
    ]
    n_sums = len(metrics_for(hp["predictor_type"]).sums())
    itemsize = ITEMSIZE[hp.get("_wire_dtype", "float32")]
    expected = traffic.of_a_pass(steps, hp["num_factors"], n_sums, hp["batch_metrics_publish_interval"], itemsize)
    assert [each.bytes for each in found] == [[by.keys, by.rows] for by in expected]
    assert [each.messages for each in found] == [[by.key_messages, by.row_messages] for by in expected]


@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_the_simple_formula_is_near_it_where_features_are_spread_evenly(size):
    random = np.random.default_rng(1)
    batches = [random.integers(0, 1_000_000, 20_000).astype(np.int32) for _ in range(size)]
    steps = [traffic.data_of(batches, [100_000] * size, size)]
    exact = traffic.of_a_pass(steps, 16, 0, 1)
    distinct = np.mean([len(np.unique(features)) for features in batches])
    simple = traffic.expected(distinct, 16, size)
    # what is said once a pass, that it is over, is not a step's
    nothing = np.zeros((size, size), np.int64)
    once = traffic.of_a_pass([traffic.StepData(nothing, nothing, nothing[0])], 16, 0, 1)[0].keys / 2
    assert np.mean([sent.total for sent in exact]) - once == pytest.approx(simple.total, rel=0.005)


def test_a_step_takes_longest_where_the_network_is_slow():
    sent = traffic.Sent(keys=1e6, rows=20e6)
    assert traffic.seconds_of_a_step(0.01, sent, 1, 1e9, 1e-4) == 0.01
    assert traffic.seconds_of_a_step(0.01, sent, 4, 1e9, 0) == pytest.approx(0.03)
    # keys that take longer than all the rest are what the step waits for
    assert traffic.seconds_of_a_step(0.01, traffic.Sent(keys=50e6, rows=1e6), 4, 1e9, 0) == pytest.approx(0.051)
