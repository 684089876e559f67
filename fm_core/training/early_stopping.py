"""Early stopping: the best epoch by its validation loss, its model, and when to stop."""

import logging
import math

import numpy as np
from numpy.typing import NDArray

from fm_core.checkpoints.state import Checkpoint
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for
from fm_core.model import Model

__all__ = ["BestEpoch", "check_validation"]

_log = logging.getLogger(__name__)


def check_validation(hyperparameters: Hyperparameters, validation: object) -> None:
    """Check that early stopping has validation data.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    validation : any
        None: there is no validation data.

    Raises
    ------
    ConfigError
        `early_stopping_patience` is set, and there is no validation data and none is held out.
    """
    patience = hyperparameters.early_stopping_patience
    if patience is not None and validation is None and not hyperparameters.validation_fraction:
        raise ConfigError(f"early_stopping_patience is {patience}, which needs validation data, and there is none")


class BestEpoch:
    """The best epoch so far; a copy of its model is kept if early stopping was asked for.

    Attributes
    ----------
    value : float
        Its validation loss, or of a loss that compares items the negative of its NDCG; infinite if there is none yet.
    epoch : int
    params : ndarray of float32, shape (feature_dim, num_factors + 1), or None
        Rows ``[v_i | w_i]`` of the copy.
    model : Model or None
        The copy, whose w and V are views of `params`.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._predictor_type = hyperparameters.predictor_type
        self._metric, self._sign = link_for(self._predictor_type).loss_metric, 1
        if hyperparameters.loss != "pointwise":
            self._metric, self._sign = f"ndcg_at_{hyperparameters.ranking_k}", -1
        self._patience = hyperparameters.early_stopping_patience
        self.value = math.inf
        self.epoch = 0
        self.params: NDArray[np.float32] | None = None
        self.model: Model | None = None

    @property
    def w0(self) -> float:
        """The bias of the copy; 0 if there is none."""
        return self.model.w0 if self.model else 0.0

    def is_best(self, metrics: dict[str, float], epoch: int) -> bool:
        """Return whether an epoch is better than all before it, and remember it if so.

        Parameters
        ----------
        metrics : dict of str to float
            The validation metrics of the epoch.
        epoch : int
            From 0.

        Returns
        -------
        is_best : bool
        """
        value = self._sign * metrics.get(self._metric, self._sign * math.inf)
        if self.is_kept and not math.isfinite(value):
            _log.warning(
                "The validation loss of epoch %d is %s, so it cannot be the best epoch%s: lower the learning rates, "
                "or check the values of the validation data.",
                epoch, value, "" if math.isfinite(self.value) else "; there is none so far, and early stopping would "
                "keep the last model",
            )  # fmt: skip
        if not value < self.value:
            return False
        self.value, self.epoch = value, epoch
        return True

    @property
    def is_kept(self) -> bool:
        """Whether the best epoch's model is what training gives."""
        return self._patience is not None

    def keep(self, model: Model) -> None:
        """Copy the model of the best epoch.

        Parameters
        ----------
        model : Model
        """
        if self.params is None:
            self.params = np.empty((model.feature_dim, model.num_factors + 1), np.float32)
        self.params[:, :-1], self.params[:, -1] = model.V, model.w
        self.model = Model.of_params(self._predictor_type, model.w0, self.params)

    def is_out_of_patience(self, epoch: int) -> bool:
        """Return whether training ends after an epoch, because the validation score has not improved for too long.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        is_over : bool
        """
        return self._patience is not None and epoch - self.epoch >= self._patience

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Restore the best epoch from a checkpoint.

        Parameters
        ----------
        checkpoint : Checkpoint
        """
        at = checkpoint.position
        self.value, self.epoch = at.best_value, at.best_epoch
        if checkpoint.best is not None:
            self.params = checkpoint.best
            self.model = Model.of_params(self._predictor_type, at.best_bias, self.params)
