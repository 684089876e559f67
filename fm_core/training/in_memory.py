"""fit, where all rows are in memory and nobody has to be asked again: what the estimators do.

The solver is chosen as `auto.choose` says, of dense rows with a share held out, by which training ends.
Where the solver was not named, dense columns and labels are brought to a like size first (solvers/scaling.py), so that
prices of 200,000 are learned as ratings are, and what the model says of extremes is bounded (solvers/extremes.py).
"""

import dataclasses
import logging
import warnings
from collections.abc import Collection

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.links import link_for
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.solvers.auto import choose, with_early_stopping
from fm_core.solvers.extremes import bounded
from fm_core.solvers.scaling import Scaling
from fm_core.training.callbacks import Callback, EpochReport, FitResult, Silent, Together, ValidationReport
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
        Metrics are in the labels' own units.
    model : Model, optional
        Starting point: columns and labels stay as they are then.

    Raises
    ------
    as `fit`
    """
    hp, scaling = hyperparameters, None
    has_validation = validation is not None
    if hp.solver != "minibatch" and "epochs" in open_names:
        hp = dataclasses.replace(hp, epochs=None)
    if hp.solver == "auto":
        table = parameters()
        of_minibatch = [name for name, p in table.items() if "minibatch" in p.only_with or name == "mini_batch_size"]
        as_default = {name: table[name].default for name in of_minibatch if name in open_names}
        is_dense = rows.indptr is None and model is None
        scaling = Scaling.of(rows, hp.predictor_type) if is_dense else None
        tried = rows if scaling is None else scaling.rows(rows)
        choice = choose(dataclasses.replace(hp, **as_default), tried, n_rows=rows.n_rows, has_validation=has_validation)
        _log.info("%s", choice.why)
        hp = choice.hyperparameters
        if hp.solver == "minibatch":
            rows = tried
        else:
            scaling = None
    elif hp.solver == "minibatch":
        hp = with_early_stopping(hp, has_validation, rows.n_rows)
        hp = dataclasses.replace(hp, epochs=hp.epochs or _EPOCHS)
    without = [name for name in hp.without_effect() if name not in open_names]
    if without:
        _log.warning("With solver %s %s has no effect.", hp.solver, ", ".join(without))
    if rows.values.size < _FEW_VALUES:
        num_threads = 1  # what is learned is the same
    told, held_out = callback or Silent(), validation
    if scaling is not None:
        held_out = None if held_out is None else scaling.rows(held_out)
        told = _InUnits(told, _units(hp.predictor_type, scaling.label_scale))
    elif hp.solver == "minibatch":
        told = Together(told, _Warned())
    result = fit(
        lambda epoch: rows.split(hp.mini_batch_size),
        hp,
        num_threads=num_threads,
        validation=None if held_out is None else lambda epoch: held_out.split(_ROWS_SCORED_AT_ONCE),
        callback=told,
        model=model,
    )
    if scaling is None:
        return result
    return dataclasses.replace(result, model=scaling.model(bounded(result.model, rows)))


def _units(predictor_type: str, scale: float) -> dict[str, float]:
    """What each metric is multiplied with, of labels that were divided by `scale`."""
    if link_for(predictor_type).is_classifier:
        return {}
    return {name: scale**2 if name == "mse" else scale for name in metrics_for(predictor_type).names}


class _Warned(Silent):
    """Warns of what the solver remarks."""

    def remarked(self, remark: str) -> None:
        warnings.warn(remark, UserWarning, stacklevel=2)


class _InUnits(Silent):
    """Tells another callback of epochs, in other units."""

    def __init__(self, callback: Callback, units: dict[str, float]) -> None:
        self._callback = callback
        self._units = units

    def started(self, is_dense: bool) -> None:
        self._callback.started(is_dense)

    def epoch(self, report: EpochReport) -> None:
        self._callback.epoch(dataclasses.replace(report, metrics=self._of(report.metrics)))

    def validated(self, report: ValidationReport) -> None:
        self._callback.validated(dataclasses.replace(report, metrics=self._of(report.metrics)))

    def _of(self, metrics: dict[str, float]) -> dict[str, float]:
        return {name: self._units.get(name, 1.0) * value for name, value in metrics.items()}
