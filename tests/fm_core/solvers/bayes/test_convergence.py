"""How far a mean is from where it goes."""

import numpy as np
import pytest

from fm_core.solvers.bayes.convergence import TOLERANCE, Convergence, tolerated


def chain(n, correlation, n_probes=400, seed=0):
    """Autoregressive scores of variance 1."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n_probes)
    for _ in range(n):
        yield z.astype(np.float32)
        z = correlation * z + np.sqrt(1 - correlation**2) * rng.normal(size=n_probes)


@pytest.mark.parametrize(("n", "correlation"), [(300, 0.0), (1000, 0.5), (3000, 0.9)])
def test_effective_samples_are_those_of_the_correlation(n, correlation):
    found = Convergence(400)
    for z in chain(n, correlation):
        found.add(z)
    outlook = found.outlook(alpha=2.0)
    expected = n * (1 - correlation) / (1 + correlation)
    assert outlook.n_samples == n
    assert outlook.effective == pytest.approx(expected, rel=0.15)
    assert outlook.cost == pytest.approx(1 / expected, rel=0.15)  # half of alpha times the variance of the mean
    assert outlook.is_enough == (outlook.cost <= TOLERANCE)


def test_a_classifiers_rows_count_by_the_curvature_of_their_loss():
    found = Convergence(400)
    for z in chain(200, 0):
        found.add(z + 8)  # certain
    assert found.outlook(alpha=None).cost < 0.01 * found.outlook(alpha=1.0).cost
    np.testing.assert_allclose(found.mean_probability, 1, atol=0.01)


def test_a_few_samples_say_nothing():
    found = Convergence(400)
    for z in chain(7, 0):
        found.add(z)
    assert np.isnan(found.outlook(1.0).cost)
    assert not found.outlook(1.0).is_enough


@pytest.mark.parametrize(("n_walked", "times"), [(0, 1), (2e8, 1), (3e8, 1.5), (6e8, 3), (1e15, 3)])
def test_much_data_has_to_gain_more_by_a_sweep_but_never_a_thousandth_of_a_nat(n_walked, times):
    assert tolerated(n_walked) == pytest.approx(times * TOLERANCE)
    assert tolerated(n_walked) < 1e-3


def test_it_goes_on_where_it_was_and_forgets():
    scores = list(chain(90, 0.3))
    whole, cut = Convergence(400), Convergence(400)
    for z in scores:
        whole.add(z)
    for z in scores[:40]:
        cut.add(z)
    resumed = Convergence(400)
    resumed.restore({name: array.copy() for name, array in cut.arrays().items()})
    for z in scores[40:]:
        resumed.add(z)
    assert resumed.outlook(1.0) == whole.outlook(1.0)
    whole.restart()
    for z in scores[40:]:
        whole.add(z)
    fresh = Convergence(400)
    for z in scores[40:]:
        fresh.add(z)
    assert fresh.outlook(1.0) == whole.outlook(1.0)
