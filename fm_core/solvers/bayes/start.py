"""A chain that begins with a model: its vectors in the chain's units, brought to the width of a sample."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels._eigen import eigen
from fm_core.model import Model
from fm_core.solvers.bayes.rows import Rows
from fm_core.solvers.bayes.sampler import Units

__all__ = ["check_start", "starting_with", "widened"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


#: What is left of initial values in dimensions that the model does not have.
_FURTHER = np.float32(0.03)


def check_start(model: Model, hyperparameters: Hyperparameters) -> None:
    """Check that training can start from a model; it may have any number of factors.

    Parameters
    ----------
    model : Model
    hyperparameters : Hyperparameters

    Raises
    ------
    ConfigError
        It cannot; the message says why.
    """
    hp = hyperparameters
    if model.predictor_type != hp.predictor_type:
        raise ConfigError(
            f"the model to start from is a {model.predictor_type}, expected a {hp.predictor_type} as the "
            "hyperparameters say"
        )
    if model.feature_dim > hp.feature_dim:
        raise ConfigError(
            f"the model to start from has feature_dim={model.feature_dim}, more than the hyperparameter's "
            f"{hp.feature_dim}: raise it, because a model can grow but not shrink"
        )


def widened(model: Model, feature_dim: int, num_factors: int) -> Model:
    """Return a model with more features and at most `num_factors` dimensions.

    Parameters
    ----------
    model : Model
    feature_dim : int
        At least the model's; the parameters of added features are zero.
    num_factors : int
        If the model has more, its best ones are kept; if fewer, the others are zero.

    Returns
    -------
    widened : Model
    """
    params = np.zeros((feature_dim, num_factors + 1), np.float32)
    V = _reduced(model.V, num_factors, np.ones(model.feature_dim))
    params[: model.feature_dim, : V.shape[1]] = V
    params[: model.feature_dim, -1] = model.w
    return Model.of_params(model.predictor_type, model.w0, params, model.score_range)


def starting_with(model: Model, rows: Rows) -> Callable[[Units, float, Floats], tuple[float, Floats]]:
    """Give what turns a chain's initial values into those of the model, where it has the feature.

    Parameters
    ----------
    model : Model
    rows : Rows

    Returns
    -------
    start : callable
        ``start(units, w0, params)``: `params` is changed.
    """

    def start(units: Units, w0: float, params: Floats) -> tuple[float, Floats]:
        columns = np.flatnonzero(rows.features < model.feature_dim)
        features = rows.features[columns]
        typical = rows.typical[rows.groups[columns]]
        own = model.V[features] * (typical / math.sqrt(units.scale))[:, np.newaxis]
        V = _reduced(own, params.shape[1] - 1, rows.counts[columns].astype(np.float64))
        params[:, V.shape[1] : -1] *= _FURTHER
        params[columns, : V.shape[1]] = V
        params[columns, -1] = model.w[features] * typical / units.scale
        return (model.w0 - units.mean) / units.scale, params

    return start


def _reduced(V: NDArray[np.floating], rank: int, weights: Doubles) -> Doubles:
    """The best dimensions of a matrix: of the whole, if it has no more."""
    exact = V.astype(np.float64)
    if exact.shape[1] <= rank:
        return exact
    # not the BLAS, whose threads decide bits
    gram = np.einsum("ij,i,ik->jk", exact, weights, exact, optimize=False)
    found: Doubles = np.einsum("ij,jk->ik", exact, eigen(gram)[1][:, :rank], optimize=False)
    return found
