"""Solver `auto`: chooses a solver, and explains the choice.

=====================================  ====================================================================
data                                   solver
=====================================  ====================================================================
sparse, and it fits in memory          bayes: nothing to tune
dense, or nearly so                    minibatch of columns and labels of like size (standardized.py), with a share
                                       of the rows held out, until these are scored no better; the best epoch is
                                       kept
sparse, and it does not fit            online: each row once, nothing to tune either
several hosts, a loss that ranks, ...  minibatch: bayes does not do it
=====================================  ====================================================================

Dense, correlated columns are what sampling is slow at, and what one rate fits well. A checkpoint that is there decides.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.solvers.rates import ROWS_TRIED, best_rate, first_sizes
from fm_core.solvers.scaling import Scaling

__all__ = ["Choice", "choose", "of_dense", "of_stream", "with_early_stopping"]

#: Rows of so many numbers other than zero, and of such a share of all features, are as good as dense.
_MANY, _SHARE = 64, 0.05

#: Dense rows of no more numbers other than zero are sparse ones that are written in full, as one-hot columns are.
_FILLED = 0.2

#: Of dense data: what the hyperparameters leave open, beside the rates (rates.py). Chosen on held-out parts of MNIST's
#: training set and of made-up rows.
_OF_DENSE: dict[str, Any] = {"mini_batch_size": 200, "shuffle": True, "standardize": True}
_EPOCHS, _HELD_OUT = 1000, 0.1

#: Of few rows so many are held out, but no more than a third: a dozen say nothing.
_LEAST_HELD_OUT = 40

#: Epochs without a better score: at least, and so many steps where it is known how many there are in an epoch.
_PATIENCE, _STEPS, _MOST = 8, 150, 30

#: Rows in a batch, where one holds all: so many batches come to an epoch, but no less rows than that.
_BATCHES, _LEAST_ROWS = 16, 10


class Choice(NamedTuple):
    """A solver, and why.

    Attributes
    ----------
    hyperparameters : Hyperparameters
        Whose `solver` is not auto.
    why : str
        A sentence for the log; empty if there was nothing to choose.
    """

    hyperparameters: Hyperparameters
    why: str


def choose(
    hyperparameters: Hyperparameters,
    first: Batch | None,
    *,
    n_hosts: int = 1,
    has_validation: bool = False,
    before: str | None = None,
    n_rows: int | None = None,
) -> Choice:
    """Choose a solver.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    first : Batch or None
        The first rows; None: there is none.
    n_hosts : int
    has_validation : bool
        Whether there is validation data, so that none has to be held out.
    before : str, optional
        The solver that a checkpoint was written by.
    n_rows : int, optional
        How many rows there are, where that is known.

    Returns
    -------
    choice : Choice
        The hyperparameters to train with, and a sentence that explains them.
    """
    hp = hyperparameters
    if hp.solver != "auto":
        return Choice(with_early_stopping(hp, has_validation, n_rows), "")
    reason = _unfit_for_sampling(hp, n_hosts)
    if reason:
        return Choice(_with(hp, solver="minibatch"), f"Solver auto trains with minibatch: {reason}.")
    if before == "bayes":
        return Choice(_with(hp, solver="bayes"), "Solver auto continues with bayes, which wrote the checkpoint.")
    if before == "online":
        return Choice(of_stream(hp), "Solver auto continues with online, which wrote the checkpoint.")
    if first is None:
        return Choice(_with(hp, solver="minibatch"), "")
    kind = _density(first)
    if kind:
        chosen = of_dense(hp, first, has_validation, n_rows)
        until = f"at most {chosen.epochs} epochs, or when {chosen.early_stopping_patience} in a row do not improve"
        on = (
            "the validation data"
            if has_validation
            else f"{chosen.validation_fraction:.0%} of the rows, which are held out"
        )
        rates = f"with linear_lr={chosen.linear_lr:g} and factors_lr={chosen.factors_lr:g}"
        return Choice(
            chosen, f"Solver auto trains with minibatch, {rates}: {kind}. It stops after {until} the score of {on}."
        )
    if before is not None:
        return Choice(
            _with(hp, solver="minibatch"), "Solver auto continues with minibatch, which wrote the checkpoint."
        )
    return Choice(
        _with(hp, solver="bayes"), "Solver auto trains with bayes: the data is sparse, and is kept in memory."
    )


def _patience_for(n_rows: int, mini_batch_size: int) -> int:
    """Epochs without a better score after which training ends, where it is known how many rows there are."""
    return min(_MOST, max(_PATIENCE, _STEPS * mini_batch_size // max(1, n_rows)))


def of_dense(
    hyperparameters: Hyperparameters, first: Batch, has_validation: bool, n_rows: int | None = None
) -> Hyperparameters:
    """Mini-batches with early stopping, for what the hyperparameters leave as it is by default.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    first : Batch
        The first rows: all of them, where they are fewer than a batch. Rates are tried on them.
    has_validation : bool
        Whether there is validation data.
    n_rows : int, optional
        How many there are, where that is known.

    Returns
    -------
    hyperparameters : Hyperparameters
        A copy with solver minibatch and early stopping.
    """
    hp, table = hyperparameters, parameters()
    patience, changes = _PATIENCE, dict(_OF_DENSE)
    if n_rows is None and first.n_rows < hp.mini_batch_size:
        n_rows = first.n_rows
    tried = first.slice(0, min(first.n_rows, ROWS_TRIED))
    tried = Scaling.of([tried], hp.feature_dim, hp.predictor_type).rows(tried)
    changes["factors_init_sigma"], changes["linear_init_sigma"] = first_sizes(tried, hp.num_factors, n_rows)
    if n_rows is not None:
        changes["mini_batch_size"] = min(changes["mini_batch_size"], max(_LEAST_ROWS, n_rows // _BATCHES))
        patience = _patience_for(n_rows, changes["mini_batch_size"])
    hp = _with(hp, **{name: value for name, value in changes.items() if getattr(hp, name) == table[name].default})
    fraction = hp.validation_fraction
    if fraction is None:
        fraction = _HELD_OUT if n_rows is None else max(_HELD_OUT, min(1 / 3, _LEAST_HELD_OUT / max(1, n_rows)))
    hp = _with(
        hp,
        solver="minibatch",
        epochs=hp.epochs or _EPOCHS,
        early_stopping_patience=hp.early_stopping_patience or patience,
        validation_fraction=None if has_validation else fraction,
    )
    if any(getattr(hp, name) != table[name].default for name in ("linear_lr", "factors_lr")):
        return hp
    rate = best_rate(hp, tried, n_rows)
    if n_rows is not None and n_rows <= ROWS_TRIED:
        # the bias is right from the start, and few rows in a batch would move it back and forth
        of_bias = {"bias_lr": rate, "bias_wd": 0.0}
        hp = _with(hp, **{name: value for name, value in of_bias.items() if getattr(hp, name) == table[name].default})
    # a model overfits pairs of more columns than there are rows, and the bias makes up for what they say there
    share = 1.0 if n_rows is None else min(1.0, n_rows / hp.feature_dim)
    return _with(hp, linear_lr=rate, factors_lr=float(f"{share * rate:.2g}"))


def of_stream(hyperparameters: Hyperparameters) -> Hyperparameters:
    """Return the hyperparameters for sparse data that does not fit in memory.

    Parameters
    ----------
    hyperparameters : Hyperparameters

    Returns
    -------
    hyperparameters : Hyperparameters
        A copy with solver online.
    """
    return _with(hyperparameters, solver="online")


def with_early_stopping(hyperparameters: Hyperparameters, has_validation: bool, n_rows: int | None) -> Hyperparameters:
    """Resolve `early_stopping` of the mini-batch solver into epochs, patience and a held-out share.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    has_validation : bool
        Whether there is validation data, so that no rows are held out.
    n_rows : int or None
        Of the training data, if known: few rows get more patience.

    Returns
    -------
    hyperparameters : Hyperparameters
        Unchanged for other solvers, or without `early_stopping`.
    """
    hp = hyperparameters
    if hp.solver != "minibatch" or not hp.early_stopping or hp.validation_fraction == 0:
        return hp
    patience = _PATIENCE if n_rows is None else _patience_for(n_rows, hp.mini_batch_size)
    return _with(
        hp,
        epochs=hp.epochs or _EPOCHS,
        validation_fraction=None if has_validation else hp.validation_fraction or _HELD_OUT,
        early_stopping_patience=hp.early_stopping_patience or patience,
    )


def _with(hp: Hyperparameters, **changes: Any) -> Hyperparameters:
    return dataclasses.replace(hp, **changes)


def _unfit_for_sampling(hp: Hyperparameters, n_hosts: int) -> str:
    if n_hosts > 1:
        return f"there are {n_hosts} hosts"
    if hp.loss != "pointwise":
        return f"loss is {hp.loss}"
    missing = [name for name in ("use_bias", "use_linear") if not getattr(hp, name)]
    return f"{missing[0]} is false" if missing else ""


def _density(first: Batch) -> str:
    """Why the rows are as good as dense; empty if they are not."""
    a_row = np.count_nonzero(first.values) / max(1, first.n_rows)
    is_filled = a_row > _FILLED * first.feature_dim
    if first.indptr is None and is_filled:
        return "the data is dense"
    if a_row >= _MANY and a_row >= _SHARE * first.feature_dim:
        return f"rows have {a_row:.0f} non-zeros on average, of {first.feature_dim} features"
    return ""
