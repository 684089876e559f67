"""Learning rates for mini-batches, tried on a few rows: each on most of them, and the rest say which was best.

All are tried from the same initial parameters, on the same batches, and each goes on as long as the rows that it does
not learn from are scored better now and then. Some thousand rows take seconds.
"""

import dataclasses
import math

from fm_core.batch import Batch
from fm_core.errors import DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for
from fm_core.metrics import metrics_for
from fm_core.solvers.bayes.randomness import generator
from fm_core.solvers.minibatch import MiniBatchSolver

__all__ = ["best_rate"]

#: What is tried, the smallest first: a larger one has to be better by a tenth.
_RATES, _BETTER = (0.001, 0.003, 0.01, 0.03, 0.1), 0.9

#: Where there are many more rows than are tried on, there are more steps too, and smaller ones are better.
_MOST_OF_MANY = 0.001

#: Of the rows that are tried on: how many at most, and one in so many is held out.
_ROWS, _BLOCK = 2000, 5

#: As many first rows, where it is not known how many follow, are taken for the first of many more.
_FEW = 1000

#: Steps at most, and steps without a better score after which a rate is given up.
_STEPS, _PATIENCE = 600, 100


def best_rate(hyperparameters: Hyperparameters, rows: Batch, n_rows: int | None = None) -> float:
    """Find the rate of linear weights and factors that suits some rows.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Of a mini-batch solver; batches are of at most an eighth of the rows.
    rows : Batch
        With labels.
    n_rows : int, optional
        How many rows there are in all, where that is known.
    """
    are_many = n_rows > _ROWS if n_rows is not None else rows.n_rows >= _FEW
    rates = [rate for rate in _RATES if not are_many or rate <= _MOST_OF_MANY]
    if len(rates) == 1:
        return rates[0]
    rows = rows.slice(0, min(rows.n_rows, _ROWS))
    numbers = generator(hyperparameters.seed, 0).permutation(rows.n_rows)
    n_held = max(1, rows.n_rows // _BLOCK)
    held, learned = rows.take(numbers[:n_held]), rows.take(numbers[n_held:] if rows.n_rows > 1 else numbers)
    size = max(1, min(hyperparameters.mini_batch_size, learned.n_rows // 8))
    best, found = math.inf, rates[0]
    for rate in rates:
        hp = dataclasses.replace(hyperparameters, linear_lr=rate, factors_lr=rate, mini_batch_size=size)
        loss = _tried(hp, learned, held)
        if loss < _BETTER * best:
            best, found = loss, rate
    return found


def _tried(hp: Hyperparameters, learned: Batch, held: Batch) -> float:
    """The best loss on the rows that are held out."""
    solver = MiniBatchSolver(hp)
    rng = generator(hp.seed, 1)
    best, at = math.inf, 0
    while solver.n_steps < min(_STEPS, at + _PATIENCE):
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
