"""The parameters of a model with the optimizer's state, and the numbers of one update.

All code that computes an update uses these: kernels (minibatch.py, ranked.py), devices (minibatch_torch.py) and hosts
(cluster/sharded_solver.py).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import first_not_finite, is_finite
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, Step
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model
from fm_core.partition import WHOLE, Partition
from fm_core.solvers.base import Learner, SolverState

__all__ = ["Floats", "Parameters", "ParametersLearner", "check_finite", "labels_of", "rates", "remedy"]

Floats = NDArray[np.float32]

#: Where Adam or AdaGrad divide by an infinite root, parameters stand still for ever, and nothing else shows it.
_OVERFLOW = "is no longer finite (a gradient, or its square, is too large for float32: scale labels and values down)"


class Parameters:
    """The parameters of a model, and the optimizer's state.

    Attributes
    ----------
    params : ndarray of float32, shape (n_features, num_factors + 1)
        Rows ``[v_i | w_i]``.
    state : ndarray of float32, shape (n_features, n_states * (num_factors + 1))
        The optimizer's; pages of features never seen are never touched.
    bias : ndarray of float32, shape (3,)
        w0 and its state.
    n_steps : int
        Updates so far: the t of Adam's bias correction.
    """

    def __init__(self, params: Floats, state: Floats, bias: Floats, n_steps: int) -> None:
        self.params = params
        self.state = state
        self.bias = bias
        self.n_steps = n_steps

    @classmethod
    def begin(
        cls,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        partition: Partition = WHOLE,
    ) -> "Parameters":
        """Create the initial parameters.

        Parameters
        ----------
        hyperparameters : Hyperparameters
            Of the whole model.
        num_threads : int
            Threads that draw.
        model : Model, optional
            Starting point; features beyond its own, and everything without it, is initialised as the hyperparameters
            say.
        partition : Partition
            Whose features.

        Returns
        -------
        parameters : Parameters

        Raises
        ------
        ConfigError
            The model does not match the hyperparameters.
        """
        hp = hyperparameters
        initial = Model.initialise(hp, num_threads, partition)
        params: Floats | None = initial.V.base
        assert params is not None
        bias = np.array([initial.w0, 0, 0], np.float32)
        if model is not None:
            _check_start(model, hp)
            rows, n = partition.rows, partition.n_features(model.feature_dim)
            params[:n, :-1] = model.V[rows]
            if hp.use_linear:
                params[:n, -1] = model.w[rows]
            if hp.use_bias:
                bias[0] = model.w0
        # zeros come as untouched pages from the system
        state = np.zeros((len(params), OPTIMIZERS[hp._optimizer].n_states * (hp.num_factors + 1)), np.float32)
        return cls(params, state, bias, 0)

    @classmethod
    def make(
        cls,
        hyperparameters: Hyperparameters,
        num_threads: int,
        model: Model | None,
        state: SolverState | None,
        partition: Partition = WHOLE,
    ) -> "Parameters":
        """Restore a state, or `begin` if there is none.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        num_threads : int
        model : Model or None
            The model to start from.
        state : SolverState or None
            The state of a checkpoint.
        partition : Partition
            The features that this host keeps.

        Returns
        -------
        parameters : Parameters
        """
        if state is not None:
            return cls.of_state(state)
        return cls.begin(hyperparameters, num_threads, model, partition)

    @classmethod
    def of_state(cls, state: SolverState) -> "Parameters":
        """Restore the state of a checkpoint.

        Parameters
        ----------
        state : SolverState

        Returns
        -------
        parameters : Parameters
        """
        arrays = state.arrays
        return cls(arrays["params"], arrays["state"], arrays["bias"], state.n_steps)

    def arrays(self) -> dict[str, Floats]:
        """The arrays themselves by their names in a checkpoint."""
        return {"bias": self.bias, "params": self.params, "state": self.state}

    def check(self, features: NDArray[np.int32] | None = None) -> None:
        """Check that all numbers are finite.

        Parameters
        ----------
        features : ndarray of int32, optional
            Whose parameters and state to look at; by default the state of all: the model's parameters are looked at
            wherever they go to.

        Raises
        ------
        DivergenceError
            One is not.
        """
        if not is_finite(self.bias):
            raise DivergenceError(f"the bias {_OVERFLOW}")
        if features is not None and not is_finite(self.params[features]):
            raise DivergenceError("parameters are no longer finite")
        row = first_not_finite(self.state if features is None else self.state[features])
        if row is not None:
            row = row if features is None else int(features[row])
            raise DivergenceError(f"the optimizer's state of features from {row} on {_OVERFLOW}")

    def model(self, predictor_type: str) -> Model:
        """Return the current model, which shares the arrays.

        Parameters
        ----------
        predictor_type : str

        Returns
        -------
        model : Model
        """
        return Model.of_params(predictor_type, float(self.bias[0]), self.params)


def _check_start(model: Model, hp: Hyperparameters) -> None:
    found = (model.predictor_type, model.num_factors)
    if found != (hp.predictor_type, hp.num_factors):
        raise ConfigError(
            f"the model to start from is a {found[0]} with num_factors={found[1]}, expected "
            f"{hp.predictor_type} with num_factors={hp.num_factors} as the hyperparameters say"
        )
    if model.feature_dim > hp.feature_dim:
        raise ConfigError(
            f"the model to start from has feature_dim={model.feature_dim}, more than the hyperparameter's "
            f"{hp.feature_dim}: raise it, because a model can grow but not shrink"
        )


def rates(hyperparameters: Hyperparameters, n_steps: int) -> Step:
    """Return the numbers of one update.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    n_steps : int
        The number of the update, from 1.

    Returns
    -------
    step : Step
    """
    hp = hyperparameters
    optimizer = OPTIMIZERS[hp._optimizer]
    lr = hp._learning_rate * optimizer.schedule(n_steps)
    return Step(
        optimizer=optimizer.number,
        rescale_grad=1 / hp.mini_batch_size if hp.rescale_grad is None else hp.rescale_grad,
        clip_gradient=hp.clip_gradient or 0.0,
        eps=1e-8 if hp.eps is None else hp.eps,
        bias_lr=lr * hp.bias_lr,
        bias_wd=hp._wd * hp.bias_wd,
        linear_lr=lr * hp.linear_lr,
        linear_wd=hp._wd * hp.linear_wd,
        factors_lr=lr * hp.factors_lr,
        factors_wd=hp._wd * hp.factors_wd,
        use_bias=hp.use_bias,
        use_linear=hp.use_linear,
    )


def remedy(hyperparameters: Hyperparameters) -> str:
    """Return advice against parameters that are no longer finite, as the end of a sentence.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Their learning rates are named.

    Returns
    -------
    text : str
    """
    hp = hyperparameters
    return (
        f", with bias_lr={hp.bias_lr:g}, linear_lr={hp.linear_lr:g} and factors_lr={hp.factors_lr:g}: "
        "lower the learning rates, or set clip_gradient"
    )


def labels_of(batch: Batch, hyperparameters: Hyperparameters) -> Floats:
    """Return the labels of a batch before it is learned.

    Parameters
    ----------
    batch : Batch
    hyperparameters : Hyperparameters

    Returns
    -------
    labels : ndarray of float32, shape (n_rows,)

    Raises
    ------
    DataError
        It has none, or another feature_dim.
    """
    labels = batch.known_labels
    check_fits(batch, hyperparameters.feature_dim)
    return labels


def check_finite(scores: Floats, n_steps: int, hyperparameters: Hyperparameters) -> None:
    """Refuse scores that are not finite: the parameters no longer are.

    Parameters
    ----------
    scores : ndarray of float32
        Or what was made of them.
    n_steps : int
        Updates made so far, for the message.
    hyperparameters : Hyperparameters
        The message says which of them to lower.

    Raises
    ------
    DivergenceError
    """
    if np.count_nonzero(np.isfinite(scores)) != scores.size:  # as all(), in half its time for a few rows
        raise DivergenceError(f"scores are no longer finite at update {n_steps}{remedy(hyperparameters)}")


class ParametersLearner(Learner):
    """The properties and checks of a solver that trains a `Parameters`, wherever the update is computed.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    parameters : Parameters
    """

    def __init__(self, hyperparameters: Hyperparameters, parameters: Parameters) -> None:
        self.hyperparameters = hyperparameters
        self._parameters = parameters

    @property
    def parameters(self) -> Parameters:
        """The parameters as they are now, not a copy."""
        return self._parameters

    @property
    def n_steps(self) -> int:
        """Updates so far."""
        return self._parameters.n_steps

    @property
    def remedy(self) -> str:
        """See `remedy`."""
        return remedy(self.hyperparameters)

    @property
    def model(self) -> Model:
        """The model as it is now; it shares the arrays of `parameters`."""
        return self.parameters.model(self.hyperparameters.predictor_type)

    def arrays(self) -> Mapping[str, Floats]:
        """See `Parameters.arrays`."""
        return self.parameters.arrays()

    def check_bias(self) -> None:
        """Check that the bias and its state are finite after the last update.

        Raises
        ------
        DivergenceError
            They are not.
        """
        if not math.isfinite(sum(self.parameters.bias.tolist())):  # of float32, so their sum is too
            raise DivergenceError(f"the bias {_OVERFLOW} at update {self.n_steps}{self.remedy}")

    def check(self, features: NDArray[np.int32] | None = None) -> None:
        """See `Parameters.check`."""
        self.parameters.check(features)
