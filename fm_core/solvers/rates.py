"""Choose learning rates and initial values for mini-batches, using a few rows.

Each rate is tried on most of the rows, and the others choose the best: all start from the same initial parameters, with
the same batches, and each continues while the score of the other rows improves. Some thousand rows take seconds.

Adam's first step moves each parameter by the rate, so a row's score by up to the rate times the sum of its values'
magnitudes: for rows with many values, smaller rates are tried. Initial values are such that the scores of such rows
start with the size of the labels.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for
from fm_core.metrics import metrics_for
from fm_core.solvers.bayes.randomness import generator
from fm_core.solvers.minibatch import MiniBatchSolver

__all__ = ["ROWS_TRIED", "best_rate", "first_sizes"]

#: What is tried, the smallest first: a larger one has to be better by a tenth.
_RATES, _BETTER = (0.001, 0.003, 0.01, 0.03, 0.1), 0.9

#: Where there are many more rows than are tried on, there are more steps too, and smaller ones are better: that one,
#: or the first below it whose steps move a typical score by no more than so much.
_MOST_OF_MANY, _STEP_OF_MANY = 0.001, 0.15

#: A step of Adam may move a typical score by so much, in labels' units, with the smallest rate, and with any.
_FIRST_STEP, _ANY_STEP = 0.2, 100.0

#: Of the rows that are tried on: how many at most, and one in so many is held out.
ROWS_TRIED, _BLOCK = 2000, 5

#: As many first rows, where it is not known how many follow, are taken for the first of many more.
_FEW = 1000

#: Steps at most, and steps without a better score after which a rate is given up.
_STEPS, _PATIENCE = 600, 100

#: Products that the steps of one rate may take, but not less steps than that.
_PRODUCTS, _LEAST_STEPS = 2e9, 60

#: First factors and linear weights at most, and how much of a typical score each may be then.
_FACTORS, _OF_FACTORS = 0.05, 0.1
_LINEAR, _OF_LINEAR = 0.01, 0.1

#: So many rows a column unlearn what first factors say by chance: these may be larger then, which is quicker.
_ENOUGH, _OF_FACTORS_THEN = 10, 1.0


def first_sizes(rows: Batch, num_factors: int, n_rows: int | None = None) -> tuple[float, float]:
    """Choose the standard deviations of first parameters that suit some rows.

    Parameters
    ----------
    rows : Batch
    num_factors : int
    n_rows : int, optional
        Of the whole data; None: many.

    Returns
    -------
    factors, linear : float
        Standard deviations of the factors and of the linear weights.
    """
    are_many = n_rows is None or n_rows >= _ENOUGH * rows.feature_dim
    share = _OF_FACTORS_THEN if are_many else _OF_FACTORS
    squares, fourths = _sums(rows, 2), _sums(rows, 4)
    pairs = float(np.mean(squares**2 - fourths)) / 2 * num_factors
    values = float(squares.mean())
    factors = min(_FACTORS, (share**2 / pairs) ** 0.25) if pairs > 0 else _FACTORS
    return factors, min(_LINEAR, _OF_LINEAR / math.sqrt(values)) if values > 0 else _LINEAR


def _sums(rows: Batch, power: int) -> NDArray[np.float64]:
    """The sum of each row's magnitudes to a power."""
    values = np.abs(rows.values.astype(np.float64)) ** power
    if rows.indptr is None:
        found: NDArray[np.float64] = values.sum(axis=1)
    else:
        of_rows = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
        found = np.bincount(of_rows, values, rows.n_rows).astype(np.float64)
    return found


def _below(rate: float, most: float) -> float:
    """The rate, or the first one of 1, 3, 10, 30 .. below it that is not above `most`."""
    while rate > most:
        rate = float(f"{rate / math.sqrt(10):.0e}")
    return rate


def _ladder(magnitude: float) -> list[float]:
    """The rates to try for rows whose values' magnitudes add up to that, the smallest first."""
    rates = list(_RATES)
    while rates[0] * magnitude > _FIRST_STEP:
        rates.insert(0, _below(rates[0], rates[0] * 0.99))
    return [rate for rate in rates if rate * magnitude <= _ANY_STEP]


def best_rate(hyperparameters: Hyperparameters, rows: Batch, n_rows: int | None = None) -> float:
    """Find the learning rate of linear weights and factors that suits some rows.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Of a mini-batch solver; batches are of at most an eighth of the rows.
    rows : Batch
        With labels.
    n_rows : int, optional
        How many rows there are in all, where that is known.

    Returns
    -------
    rate : float
    """
    are_many = n_rows > ROWS_TRIED if n_rows is not None else rows.n_rows >= _FEW
    rows = rows.slice(0, min(rows.n_rows, ROWS_TRIED))
    magnitude = float(_sums(rows, 1).mean())
    if are_many:
        return _below(_MOST_OF_MANY, _STEP_OF_MANY / magnitude if magnitude > 0 else math.inf)
    rates = _ladder(magnitude)
    numbers = generator(hyperparameters.seed, 0).permutation(rows.n_rows)
    n_held = max(1, rows.n_rows // _BLOCK)
    held, learned = rows.take(numbers[:n_held]), rows.take(numbers[n_held:] if rows.n_rows > 1 else numbers)
    size = max(1, min(hyperparameters.mini_batch_size, learned.n_rows // 8))
    best, found = math.inf, rates[0]
    for rate in rates:
        hp = dataclasses.replace(hyperparameters, bias_lr=rate, linear_lr=rate, factors_lr=rate, mini_batch_size=size)
        loss = _tried(hp, learned, held)
        if loss < _BETTER * best:
            best, found = loss, rate
    return found


def _tried(hp: Hyperparameters, learned: Batch, held: Batch) -> float:
    """The best loss on the rows that are held out."""
    solver = MiniBatchSolver(hp)
    rng = generator(hp.seed, 1)
    best, at = math.inf, 0
    a_step = (hp.mini_batch_size * learned.values.size / learned.n_rows + hp.feature_dim) * (hp.num_factors + 1)
    most = min(_STEPS, max(_LEAST_STEPS, int(_PRODUCTS / a_step)))
    while solver.n_steps < min(most, at + _PATIENCE):
        order = rng.permutation(learned.n_rows)
        try:
            for start in range(0, learned.n_rows, hp.mini_batch_size):
                solver.step(learned.take(order[start : start + hp.mini_batch_size]))
        except DivergenceError:
            break
        totals = metrics_for(hp.predictor_type)
        totals.update(solver.predict(held), held.known_labels, held.weights)
        loss = totals.values()[link_for(hp.predictor_type).loss_metric]
        if loss < best:
            best, at = loss, solver.n_steps
    return best
