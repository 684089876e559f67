"""Solver `bayes` as every training sees it: an epoch is a sweep, and all rows are in memory.

Before its first sweep a `BayesLearner` has no rows, and its model is the one it starts from, or one that knows nothing.
A checkpoint has the model as the artifact would have it, by which a job without time goes, and the whole chain.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.score_range import ScoreRange
from fm_core.solvers.base import Algorithm, ArraySpec, Moment, SafePoint, Solver, SolverState
from fm_core.solvers.bayes.groups import check_sizes, sizes_of
from fm_core.solvers.bayes.kept_samples import spread_of
from fm_core.solvers.bayes.rows import Collector, Rows
from fm_core.solvers.bayes.solver import BayesSolver
from fm_core.solvers.bayes.start import check_start, widened
from fm_core.spread import Spread

__all__ = ["Bayes", "BayesLearner"]

Floats = NDArray[np.float32]

#: Bytes of an entry (its key or row, and value, twice while rows are turned round) and of a row (its record of a cache
#: line or two, label, and where it begins).
_AN_ENTRY, _A_ROW = 12, 24
#: Numbers of a row's record beside its factors, and of a cache line.
_OF_RECORD, _LINE = 6, 16
#: Of each feature: samples that are kept and those of the spread (float16), those in the mean, and the model with what
#: it is made of.
_KEPT, _POOLED, _SPARE = 32, 2, 16


class BayesLearner(Solver):
    """A chain that begins with its first epoch.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    num_threads : int
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
        self._hp = hyperparameters
        self._num_threads = num_threads
        self._chain: BayesSolver | None = None
        self._state = state if state is not None and state.n_steps else None
        self._start = None if state is not None else model
        if self._start is not None:
            check_start(self._start, hyperparameters)

    @property
    def n_steps(self) -> int:
        """Sweeps so far."""
        if self._chain is not None:
            return self._chain.n_steps
        return 0 if self._state is None else self._state.n_steps

    @property
    def most_epochs(self) -> int | None:
        """The maximum number of sweeps, if the hyperparameters do not set it; None: not known yet."""
        return None if self._chain is None else self._chain.most_sweeps

    @property
    def is_done(self) -> bool:
        """Whether there were as many sweeps as were asked for, or as the data needs."""
        return self._chain is not None and self._chain.is_done

    @property
    def model(self) -> Model:
        """The mean of the samples so far, as the artifact has it."""
        if self._chain is not None and self._chain.n_steps:
            return self._chain.model
        if self._state is not None:
            return model_of(self._hp, self._state.arrays)
        hp = self._hp
        if self._start is not None:
            return widened(self._start, hp.feature_dim, hp.num_factors)
        return Model.of_params(hp.predictor_type, 0.0, np.zeros((hp.feature_dim, hp.num_factors + 1), np.float32))

    @property
    def spread(self) -> Spread | None:
        """What the standard deviation of a score needs."""
        if self._chain is not None and self._chain.n_steps:
            return self._chain.spread
        if self._state is None:
            return None
        is_classifier = link_for(self._hp.predictor_type).is_classifier
        is_chain = self._hp._bayes_method == "gibbs"
        return spread_of(self._state.arrays, self._hp.feature_dim, is_classifier=is_classifier, is_chain=is_chain)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The model, and the chain."""
        if self._chain is None and self._state is not None:
            return self._state.arrays
        model = self.model
        own: dict[str, NDArray[Any]] = {
            "bias": np.array([model.w0], np.float32),
            "params": _rows_of(model),
            "score_range": np.array(model.score_range or (), np.float64),
        }
        chain = {} if self._chain is None else self._chain.arrays()
        empty = {
            name: np.zeros([n or 0 for n in spec.shape], spec.dtype)
            for name, spec in layout(self._hp).items()
            if name not in own
        }
        return own | empty | chain

    def check(self) -> None:
        """See `Learner.check`: a chain looks at its numbers in every sweep."""

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the mean of the samples so far; see `Solver.predict`."""
        return self.model.predict(batch, self._num_threads)

    def epoch(self, data: Rows, at: Moment) -> Iterator[SafePoint]:
        """Make one sweep; the scores are those of the mean of the samples so far; see `Learner.epoch`."""
        if self._chain is None:
            self._chain = self._begun(data)
        if at.n_batches:
            return
        self._chain.sweep()
        remark = self._chain.kept.why if self._chain.n_steps == 1 else ""
        yield SafePoint(self._chain.scores(), data.labels, weights=data.weights, remark=remark or None)

    def _begun(self, rows: Rows) -> BayesSolver:
        hp = self._hp
        if rows.feature_dim != hp.feature_dim:
            raise DataError(f"the rows have feature_dim={rows.feature_dim}, expected {hp.feature_dim}")
        chain = BayesSolver(
            rows,
            hp.predictor_type,
            hp.num_factors,
            hp.epochs,
            hp.seed,
            self._num_threads,
            start=self._start,
            method=hp._bayes_method,
        )
        if self._state is not None:
            chain.restore(self._state.arrays)
        self._state = self._start = None
        return chain


class Bayes(Algorithm):
    """Block Gibbs sampling.

    Parameters
    ----------
    num_threads : int
        The model does not depend on it, bit for bit.
    feature_groups : str
        The hyperparameter.
    """

    name = "bayes"
    needs: Literal["stream", "resident"] = "resident"

    def __init__(self, num_threads: int = 1, feature_groups: str = "auto") -> None:
        self._num_threads = num_threads
        self._feature_groups = feature_groups

    def layout(self, hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
        """The model as in the artifact, and the chain, whose shapes depend on the data; see `Algorithm.layout`."""
        return layout(hyperparameters)

    def memory_needed(self, hyperparameters: Hyperparameters) -> int:
        """The memory of a sample, the mean, the kept samples and the model, if every feature occurs.

        See `Algorithm.memory_needed`.
        """
        hp = hyperparameters
        k = BayesSolver.inner_factors(hp.num_factors)
        pooled = _in_lines(hp.num_factors + _SPARE + _POOLED * k)
        fitted = _in_lines(hp.num_factors + pooled)
        a_feature = 4 * (2 * (k + 1) + pooled + fitted + 2 * (2 * hp.num_factors + 1)) + 2 * _KEPT * (k + 1) + 32
        return hp.feature_dim * a_feature

    def rows_memory(self, hyperparameters: Hyperparameters, n_rows: int, n_entries: int) -> int:
        """The memory of rows while they are transposed, with their records; see `Algorithm.rows_memory`."""
        parts = 1 if hyperparameters._bayes_method == "gibbs" else 3
        record = 4 * parts * _in_lines(BayesSolver.inner_factors(hyperparameters.num_factors) + _OF_RECORD + 1)
        return _AN_ENTRY * n_entries + (_A_ROW + record) * n_rows

    def check(self, hyperparameters: Hyperparameters) -> None:
        """Refuse a model without a bias or linear weights, and groups of too many features; see `Algorithm.check`."""
        for name in ("use_bias", "use_linear"):
            if not getattr(hyperparameters, name):
                raise ConfigError(f"{name} is false, and solver bayes always learns that part: use solver minibatch")
        sizes = sizes_of(hyperparameters.feature_groups)
        if isinstance(sizes, list):
            check_sizes(sizes, hyperparameters.feature_dim)

    def model_of(self, hyperparameters: Hyperparameters, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Create the model, which shares the arrays; see `Algorithm.model_of`."""
        return model_of(hyperparameters, arrays)

    def load(self, items: Iterable[tuple[Batch, Any]]) -> Rows:
        """Keep all rows, by feature; see `Algorithm.load`."""
        collector = None
        for batch, _ in items:
            if collector is None:
                collector = Collector(batch.feature_dim, sizes_of(self._feature_groups))
            collector.add(batch)
        if collector is None:
            raise DataError("the training data has no records, expected at least one")
        return collector.rows()

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> BayesLearner:
        """Create the learner; its chain starts with its first epoch; see `Algorithm.make`."""
        return BayesLearner(hyperparameters, self._num_threads, model, state)


def layout(hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
    """See `Bayes.layout`."""
    d, width = hyperparameters.feature_dim, hyperparameters.num_factors + 1

    def of_chain(*shape: int | None, dtype: str = "float64") -> ArraySpec:
        return ArraySpec(shape, dtype, of_model=False)

    return {
        "bias": ArraySpec((1,)),
        "params": ArraySpec((d, width)),
        "score_range": ArraySpec((None,), "float64"),
        "chain": of_chain(None),
        "chain_params": of_chain(None, None, dtype="float32"),
        "chain_variances": of_chain(None, None, dtype="float32"),
        "chain_records": of_chain(None, None, dtype="float32"),
        "chain_priors": of_chain(None, None, None),
        "mean_counts": of_chain(None),
        "mean_w": of_chain(None),
        "mean_factors": of_chain(None, None, dtype="float32"),
        "probe_counts": of_chain(None),
        "probe_batches": of_chain(None, None),
        "probe_sums": of_chain(None, None),
        "kept_counts": of_chain(None),
        "kept_features": of_chain(None, dtype="int32"),
        "kept_groups": of_chain(None, dtype="int32"),
        "kept_units": of_chain(None),
        "kept_share": of_chain(None),
        "kept_numbers": of_chain(None, None),
        "kept_params": of_chain(None, None, None, dtype="float16"),
        "kept_priors": of_chain(None, None, None, None, dtype="float32"),
    }


def model_of(hyperparameters: Hyperparameters, arrays: Mapping[str, NDArray[Any]]) -> Model:
    """See `Bayes.model_of`."""
    found = arrays["score_range"].tolist()
    score_range = ScoreRange(*found) if found else None
    return Model.of_params(hyperparameters.predictor_type, float(arrays["bias"][0]), arrays["params"], score_range)


def _rows_of(model: Model) -> Floats:
    """Rows ``[v | w]`` of a model that was made of them."""
    params: Floats | None = model.V.base
    assert params is not None
    return params


def _in_lines(n: int) -> int:
    return -(-n // _LINE) * _LINE
