"""fit for rows in memory, as the estimators use it.

`auto.choose` chooses the solver; for dense rows, a share is held out for early stopping. Dense columns and labels are
then scaled (solvers/standardized.py), so that prices of 200,000 are learned like ratings, and the effect of extreme
values is bounded (solvers/extremes.py).
"""

import dataclasses
import logging
import warnings
from collections.abc import Collection

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.model import Model
from fm_core.solvers.auto import choose, with_early_stopping
from fm_core.training.callbacks import Callback, FitResult, Logged, Silent, Together
from fm_core.training.fit import fit

__all__ = ["fit_rows"]

_ROWS_SCORED_AT_ONCE = 100_000

#: Of mini-batches that are asked for by name, without early stopping.
_EPOCHS = 30

#: Rows of fewer values are not worth a second thread.
_FEW_VALUES = 200_000

_log = logging.getLogger(__name__)


def fit_rows(
    rows: Batch,
    hyperparameters: Hyperparameters,
    *,
    open_names: Collection[str] = (),
    validation: Batch | None = None,
    num_threads: int = 1,
    callback: Callback | None = None,
    model: Model | None = None,
) -> FitResult:
    """Train a model.

    Parameters
    ----------
    rows : Batch
        With labels.
    hyperparameters : Hyperparameters
    open_names : collection of str
        The hyperparameters that nobody has given.
    validation : Batch, optional
    num_threads : int
    callback : Callback, optional
    model : Model, optional
        Starting point.

    Returns
    -------
    result : FitResult

    Raises
    ------
    as `fit`
    """
    hp = hyperparameters
    has_validation = validation is not None
    if hp.solver != "minibatch" and "epochs" in open_names:
        hp = dataclasses.replace(hp, epochs=None)
    if hp.solver == "auto":
        table = parameters()
        of_minibatch = [name for name, p in table.items() if "minibatch" in p.only_with or name == "mini_batch_size"]
        as_default = {name: table[name].default for name in of_minibatch if name in open_names}
        choice = choose(dataclasses.replace(hp, **as_default), rows, n_rows=rows.n_rows, has_validation=has_validation)
        _log.info("%s", choice.why)
        hp = choice.hyperparameters
    elif hp.solver == "minibatch":
        hp = with_early_stopping(hp, has_validation, rows.n_rows)
        hp = dataclasses.replace(hp, epochs=hp.epochs or _EPOCHS)
    without = [name for name in hp.without_effect() if name not in open_names]
    if without:
        _log.warning("With solver %s %s has no effect.", hp.solver, ", ".join(without))
    if rows.values.size < _FEW_VALUES:
        num_threads = 1  # what is learned is the same
    told, held_out = callback or Logged(), validation
    if hp.solver == "minibatch" and not hp.standardize:
        told = Together(told, _Warned())
    return fit(
        lambda epoch: rows.split(hp.mini_batch_size),
        hp,
        num_threads=num_threads,
        validation=None if held_out is None else lambda epoch: held_out.split(_ROWS_SCORED_AT_ONCE),
        callback=told,
        model=model,
    )


class _Warned(Silent):
    """Warns of what the solver remarks."""

    def remarked(self, remark: str) -> None:
        warnings.warn(remark, UserWarning, stacklevel=2)
