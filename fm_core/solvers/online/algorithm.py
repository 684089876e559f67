"""Solver `online` for training: a race on the first rows, and the remaining learner on all others.

The prior's mean is zero, or the model that training starts from. Initial factors must differ, so noise is added. If a
feature's rows carry little information, that noise is still in its factors, in proportion to the remaining share of the
prior's variance, and it is removed from the model: a feature that never occurred has none.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import draw
from fm_core.kernels.bounds import check_fits
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.solvers.base import Algorithm, ArraySpec, Moment, SafePoint, Solver, SolverState
from fm_core.solvers.bayes.start import check_start, widened
from fm_core.solvers.online.calibration import Recent
from fm_core.solvers.online.filtering import Filter, Prior
from fm_core.solvers.online.race import Race
from fm_core.solvers.online.units import Rows, Units

__all__ = ["Online", "OnlineLearner"]

Floats = NDArray[np.float32]

#: Steps after which the number that makes probabilities honest is fitted anew.
_REFITTED = 32


class OnlineLearner(Solver):
    """What is known of the parameters so far.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    num_threads : int
        Of the race; nothing depends on it.
    model : Model, optional
        Starting point.
    state : SolverState, optional
        To go on from.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> None:
        hp = hyperparameters
        self._hp = hp
        self._link = link_for(hp.predictor_type)
        self._num_threads = num_threads
        self._steps = 0
        self._units: Units | None = None
        self._race: Race | None = None
        self._filter: Filter | None = None
        self._recent = Recent()
        self._scale = 1.0  # of progressive scores; the model's own is fitted when it is made
        self._made: tuple[int, Model] | None = None
        shape = (hp.feature_dim, hp.num_factors + 1)
        self._start = model if state is None else None
        self._offset: Floats | None = None  # the model to start from, in units, until the race is over
        if self._start is not None:
            check_start(self._start, hp)
        if state is None:
            # until the race is over, standard normal factors
            self._params = self._noise(1.0)
            self._information = np.zeros(shape, np.float32)
        else:
            self._restore(state)

    @property
    def n_steps(self) -> int:
        """Batches so far."""
        return self._steps

    @property
    def is_done(self) -> bool:
        """Whether all rows were processed, if the hyperparameters do not set the number of epochs."""
        return self._hp.epochs is None and self._steps > 0

    @property
    def most_epochs(self) -> int | None:
        """One, if the hyperparameters do not set the number."""
        return 1

    @property
    def model(self) -> Model:
        """The means so far, without what is left of first factors; of a classifier, made honest."""
        if self._made is None or self._made[0] != self._steps:
            self._made = self._steps, self._model()
        return self._made[1]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See `layout`."""
        own = {"params": self._params, "information": self._information}
        if self._units is None or self._filter is None:
            empty = {
                name: np.zeros([n or 0 for n in spec.shape], spec.dtype) for name, spec in layout(self._hp).items()
            }
            return empty | own
        facts = np.array([*self._filter.prior, self._scale])
        return own | {"filter": self._filter.state, "facts": facts} | self._units.arrays() | self._recent.arrays()

    def check(self) -> None:
        """See `Learner.check`: the scores depend on every parameter that is used."""

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the current model; see `Solver.predict`."""
        return self.model.predict(batch, self._num_threads)

    def epoch(self, data: Iterable[tuple[Batch, Any]], at: Moment) -> Iterator[SafePoint]:
        """Learn from each batch's rows, one after the other; see `Learner.epoch`."""
        for batch, _ in data:
            labels = batch.known_labels
            scores, said = self._step(batch, labels)
            yield SafePoint(scores, labels, batch, is_resumable=self._race is None, remark=said, weights=batch.weights)

    # --- a step ---

    def _step(self, batch: Batch, labels: Floats) -> tuple[Floats, str | None]:
        check_fits(batch, self._hp.feature_dim)
        self._link.check_labels(labels)
        self._steps += 1
        if not len(labels):
            return np.zeros(0, np.float32), None
        rows, said = _csr(batch), None
        if self._units is None:
            self._begin(rows, labels, batch.weights)
        assert self._units is not None
        own, targets = self._units.values(rows), self._units.labels(labels)
        if self._race is not None:
            z, said = self._race.learn(own, targets, self._params, self._offset, batch.weights)
            if self._race.is_over:
                said = f"{said}; {self._end_race()}"
        else:
            assert self._filter is not None
            z = self._filter.learn(own, targets, batch.weights)
        if not np.isfinite(z).all():
            raise DivergenceError(f"scores are no longer finite at update {self._steps}")
        if not self._link.is_classifier:
            return z * np.float32(self._units.scale) + np.float32(self._units.mean), said
        self._recent.add(z, targets, batch.weights)
        if self._steps % _REFITTED == 0:
            self._scale = self._recent.fitted()
        return self._link.score(self._scale * z.astype(np.float64)).astype(np.float32), said

    def _begin(self, rows: Rows, labels: Floats, weights: Floats | None) -> None:
        """Start the race, with scales from the first rows."""
        hp, is_classifier = self._hp, self._link.is_classifier
        units = Units.of(rows, labels, hp.feature_dim, is_classifier, hp.use_bias, weights)
        state = Filter.first_state(units, hp.use_bias)
        if self._start is not None:
            start = widened(self._start, hp.feature_dim, hp.num_factors)
            self._offset = np.empty_like(self._params)
            self._offset[:, :-1] = start.V / np.float32(np.sqrt(units.scale))
            self._offset[:, -1] = start.w / units.scale if hp.use_linear else 0
            self._offset *= units.typical[:, np.newaxis]
            if hp.use_bias:
                state[0] = (start.w0 - units.mean) / units.scale
            self._start = None
        self._units = units
        self._race = Race(
            units, hp.feature_dim, hp.num_factors, is_classifier, state, hp.use_linear, self._num_threads
        )  # fmt: skip

    def _end_race(self) -> str:
        """Take over from the learner that is left."""
        assert self._race is not None
        assert self._units is not None
        left, ids = self._race.leader, self._race.ids
        self._params[:, :-1] *= np.float32(Filter.sigma(left.prior, self._units, self._hp.num_factors))
        if self._offset is not None:
            self._params += self._offset
        self._params[ids] = left.params[: len(ids)]
        self._information[ids] = left.information[: len(ids)]
        self._filter = self._filter_of(left.prior, left.state)
        self._race = self._offset = None
        return "it alone learns from all further rows"

    def _filter_of(self, prior: Prior, state: NDArray[np.float64]) -> Filter:
        assert self._units is not None
        return Filter(
            prior, self._units, self._params, self._information, state, self._link.is_classifier, self._hp.use_linear
        )

    def _noise(self, sigma: float) -> Floats:
        """First factors, the same each time."""
        hp = self._hp
        found = np.empty((hp.feature_dim, hp.num_factors + 1), np.float32)
        key = np.array([hp.seed & 0xFFFFFFFF, hp.seed >> 32, 0, 0], np.uint32)
        draw(found, key, ("normal", sigma), ("constant", 0.0), num_threads=self._num_threads)
        return found

    # --- the model ---

    def _model(self) -> Model:
        hp, units = self._hp, self._units
        if units is None:
            if self._start is not None:
                return widened(self._start, hp.feature_dim, hp.num_factors)
            return Model.of_params(hp.predictor_type, 0.0, np.zeros_like(self._params))
        if self._race is not None:
            learner, ids = self._race.leader, self._race.ids
        else:
            assert self._filter is not None
            learner, ids = self._filter, None
        params = self._noise(-Filter.sigma(learner.prior, units, hp.num_factors))
        means, information = learner.params, learner.information
        if ids is not None:
            noise, params = params[ids], np.zeros_like(params) if self._offset is None else self._offset.copy()
            means, information = means[: len(ids)], information[: len(ids)]
        else:
            noise = params
        precision = learner.precision[: hp.num_factors + 1]
        noise *= precision / (precision + information)
        noise += means
        if ids is not None:
            params[ids] = noise
        c = self._recent.fitted() if self._link.is_classifier else units.scale
        params /= units.typical[:, np.newaxis]
        params[:, :-1] *= np.float32(np.sqrt(c))
        params[:, -1] *= np.float32(c if hp.use_linear else 0)
        w0 = float(np.float32(units.mean + c * learner.state[0])) if hp.use_bias else 0.0
        return Model.of_params(hp.predictor_type, w0, params)

    def _restore(self, state: SolverState) -> None:
        arrays = state.arrays
        self._steps = state.n_steps
        self._params, self._information = arrays["params"], arrays["information"]
        if not len(arrays["facts"]):  # of a training that had no rows yet
            return
        linear, interactions, self._scale = arrays["facts"].tolist()
        self._units = Units.of_arrays(arrays)
        self._recent.restore(arrays)
        self._filter = self._filter_of(Prior(linear, interactions), arrays["filter"])


class Online(Algorithm):
    """Assumed-density filtering, with a race of priors.

    Parameters
    ----------
    num_threads : int
        The model does not depend on it, bit for bit.
    """

    name = "online"
    needs: Literal["stream", "resident"] = "stream"

    def __init__(self, num_threads: int = 1) -> None:
        self._num_threads = num_threads

    def layout(self, hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
        """The learner's means and information, and its numbers; see `Algorithm.layout`."""
        return layout(hyperparameters)

    def memory_needed(self, hyperparameters: Hyperparameters) -> int:
        """The memory of means, information and the model; the race only has the features of its rows.

        See `Algorithm.memory_needed`.
        """
        hp = hyperparameters
        return 4 * hp.feature_dim * (3 * (hp.num_factors + 1) + 2)

    def batch_memory(self, hyperparameters: Hyperparameters, batch: Batch) -> tuple[int, int]:
        """The memory of a copy of a step's rows; see `Algorithm.batch_memory`."""
        n = batch.values.size
        return 0, 16 * n + 16 * batch.n_rows

    def model_of(self, hyperparameters: Hyperparameters, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Create the model; see `Algorithm.model_of`."""
        return OnlineLearner(hyperparameters, self._num_threads, state=SolverState(0, arrays)).model

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> OnlineLearner:
        """Create the learner; see `Algorithm.make`."""
        return OnlineLearner(hyperparameters, self._num_threads, model, state)


def layout(hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
    """See `Online.layout`."""
    d, width = hyperparameters.feature_dim, hyperparameters.num_factors + 1
    return {
        "params": ArraySpec((d, width), by_feature=True),
        "information": ArraySpec((d, width), by_feature=True, is_lazy=True),
        "filter": ArraySpec((None,), "float64"),
        "facts": ArraySpec((None,), "float64"),
        "units": ArraySpec((None,), "float64"),
        "typical": ArraySpec((None,)),
        "recent": ArraySpec((None, None)),
        "n_recent": ArraySpec((None,), "float64"),
    }


def _csr(batch: Batch) -> Rows:
    """The rows of a batch without zeros, which have no effect."""
    if batch.indptr is not None and batch.indices is not None:
        indptr, keys, values = batch.indptr, batch.indices, batch.values
    else:
        n_rows, width = batch.values.shape
        indptr = np.arange(0, n_rows * width + 1, width, dtype=np.int64)
        keys, values = np.tile(np.arange(width, dtype=np.int32), n_rows), batch.values.ravel()
    is_kept = values != 0
    if is_kept.all():
        return indptr, keys, values
    kept = np.concatenate([[0], np.cumsum(is_kept)])
    return kept[indptr], keys[is_kept], values[is_kept]
