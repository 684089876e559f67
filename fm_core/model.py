"""Model: the parameters w0, w and V, their initial values, and predictions.

While a model is trained here, w and V are views of one array whose row i is
``[v_i | w_i]``: one place in memory per feature (see kernels/_sparse.pxi). A model that
was loaded has them apart, often mapped from the file. The kernels take both.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_kind, check_threads
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import draw, in_use
from fm_core.kernels.bounds import check_fits, check_width
from fm_core.links import Link, link_for
from fm_core.partition import WHOLE, Partition
from fm_core.printable import quoted
from fm_core.score_range import ScoreRange, bounded

if TYPE_CHECKING:
    from fm_core.spread import Spread

__all__ = ["Model"]

Floats = NDArray[np.float32]

#: Streams of random numbers: the bias is no row of the other parameters. A bias moves the error of a job's first epoch
#: by more than all factors do, so 12 is the first stream by which the default seed begins the ratings of
#: docs/explanation/quality.md within .002 of where the built-in's own draw did.
_ROWS, _BIAS = 0, 12


class Model:
    """A second-order factorization machine.

    Parameters
    ----------
    predictor_type : {"binary_classifier", "regressor"}
    w0 : float
        Bias.
    w : ndarray of float32, shape (feature_dim,)
        Linear weights; may be strided.
    V : ndarray of float32, shape (feature_dim, num_factors)
        Factors; each row contiguous.
    score_range : ScoreRange, optional
        Of a regressor: scores beyond it are brought to its ends.

    Attributes
    ----------
    score_range : ScoreRange or None

    References
    ----------
    .. [1] S. Rendle, "Factorization Machines", ICDM 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fm_core import Batch, Model
    >>> model = Model("regressor", 1.0, np.float32([0.5, 0, 0.25]), np.float32([[1], [2], [3]]))
    >>> model.predict(Batch.from_dense([[1, 0, 0], [1, 0, 1]])).tolist()
    [1.5, 4.75]
    """

    score_range: ScoreRange | None = None  # of models that were pickled before there was one

    def __init__(
        self, predictor_type: str, w0: float, w: Floats, V: Floats, score_range: ScoreRange | None = None
    ) -> None:
        for name, array in (("w", w), ("V", V)):
            check_kind(name, array, np.ndarray, "an ndarray of float32")
        if V.ndim != 2 or w.shape != V.shape[:1] or V.shape[1] < 1:
            raise ValueError(f"w has shape {w.shape} and V {V.shape}, expected (feature_dim,) and (feature_dim, k)")
        if w.dtype != np.float32 or V.dtype != np.float32 or V.strides[1] != V.itemsize:
            raise ValueError(f"w is {w.dtype} and V {V.dtype}, expected float32 with contiguous rows")
        is_classifier = link_for(predictor_type).is_classifier
        if score_range is not None:
            check_kind("score_range", score_range, ScoreRange, "a ScoreRange")
            score_range = ScoreRange.of_json(list(score_range))
            if is_classifier:
                raise ValueError("score_range is given to a binary_classifier, expected a regressor")
        check_kind("w0", w0, (int, float, np.number), "a number")
        try:
            self.w0 = float(w0)
        except OverflowError:
            raise ValueError(f"w0 is {quoted(w0)}, which is beyond float64") from None
        self.predictor_type = predictor_type
        self.w = w
        self.V = V
        self.score_range = score_range
        self._spread: Spread | Callable[[], Spread | None] | None = None

    @classmethod
    def of_params(
        cls, predictor_type: str, w0: float, params: Floats, score_range: ScoreRange | None = None
    ) -> "Model":
        """Make a model whose w and V are views of `params`, with rows ``[v_i | w_i]``.

        Parameters
        ----------
        predictor_type : {"regressor", "binary_classifier"}
        w0 : float
        params : ndarray of float32, shape (feature_dim, num_factors + 1)
        score_range : ScoreRange, optional

        Returns
        -------
        model : Model

        Raises
        ------
        ValueError
            `params` does not have two dimensions.
        """
        check_kind("params", params, np.ndarray, "an ndarray of float32")
        if params.ndim != 2:
            raise ValueError(f"params have {params.ndim} dimensions, expected 2")
        return cls(predictor_type, w0, params[:, -1], params[:, :-1], score_range)

    @classmethod
    def initialise(
        cls, hyperparameters: Hyperparameters, num_threads: int = 1, partition: Partition = WHOLE
    ) -> "Model":
        """Draw the initial parameters that the ``*_init_*`` hyperparameters define.

        Parameters
        ----------
        hyperparameters : Hyperparameters
            ``seed`` decides every value: it and a parameter's place, whatever `num_threads`, feature_dim and the
            processor are. See kernels/draw.h.
        num_threads : int
            Threads that draw.
        partition : Partition
            Whose features: they have the values that they have in the whole model.

        Returns
        -------
        model : Model
            Its w and V are views of one array, each page of which was touched once.
        """
        check_threads(num_threads)
        hp = hyperparameters
        first, every = partition.rank, partition.size
        n_rows = partition.n_features(hp.feature_dim)
        params = np.empty((partition.n_rows(hp.feature_dim), hp.num_factors + 1), np.float32)
        params[n_rows:] = 0  # a model has a row

        key = np.array([hp.seed & 0xFFFFFFFF, hp.seed >> 32, 0, 0], np.uint32)
        linear = _kind(hp, "linear") if hp.use_linear else ("constant", 0.0)
        draw(params[:n_rows], key, _kind(hp, "factors"), linear, first, every, _ROWS, num_threads)
        bias = np.zeros((1, 1), np.float32)
        if hp.use_bias:
            draw(bias, key, ("constant", 0.0), _kind(hp, "bias"), stream=_BIAS)
        return cls.of_params(hp.predictor_type, float(bias[0, 0]), params)

    @property
    def feature_dim(self) -> int:
        """Number of features."""
        return int(self.V.shape[0])

    @property
    def num_factors(self) -> int:
        """Number of factors of each feature."""
        return int(self.V.shape[1])

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """The fewest arrays that hold w and V and nothing else, to walk over: one if their rows are ``[v_i | w_i]``."""
        n, k = self.V.shape
        row = (k + 1) * self.V.itemsize
        is_one = self.V.strides[0] == self.w.strides[0] == row
        if is_one and self.w.ctypes.data - self.V.ctypes.data == k * self.V.itemsize:
            return (as_strided(self.V, (n, k + 1), writeable=False),)
        return self.V, self.w

    @property
    def is_classifier(self) -> bool:
        """Whether a score is a probability."""
        return self.link.is_classifier

    @property
    def link(self) -> Link:
        """Loss and link function."""
        return link_for(self.predictor_type)

    @property
    def spread(self) -> "Spread | None":
        """The data for standard deviations of scores; None: there is none.

        It may be set to a function too, which is called when the spread is first asked for: reading one is not free.
        """
        if callable(self._spread):
            self._spread = self._spread()
        return self._spread

    @spread.setter
    def spread(self, spread: "Spread | Callable[[], Spread | None] | None") -> None:
        self._spread = spread

    def __getstate__(self) -> dict[str, Any]:
        # where a copy is used, the file may not be
        return self.__dict__ | {"_spread": self.spread}

    def std(self, batch: Batch, num_threads: int = 1) -> Floats:
        """Return the standard deviation of each row's score.

        Parameters
        ----------
        batch : Batch
        num_threads : int

        Returns
        -------
        std : ndarray of float32, shape (n_rows,)
            Of a regressor's label, whose noise is included; of a classifier's probability.

        Raises
        ------
        DataError
            The model has no spread, or `predict` would refuse the batch.
        """
        check_threads(num_threads)
        spread = self.spread
        if spread is None:
            raise DataError(
                "the model has no spread: train it with solver bayes, and keep the spread.npz that it writes"
            )
        return spread.std(batch, num_threads)

    @overload
    def predict(self, batch: Batch, num_threads: int = 1, *, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, batch: Batch, num_threads: int = 1, *, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(
        self, batch: Batch, num_threads: int = 1, *, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:
        """Score each row of a batch.

        Parameters
        ----------
        batch : Batch
            Its labels are ignored.
        num_threads : int
            Threads to use; the result does not depend on it.
        return_std : bool
            Whether to also return `std`, after the scores.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            ``w0 + <w, x> + sum_{i<j} <v_i, v_j> x_i x_j``, computed in O(nnz * num_factors)
            as in [1]_; for a classifier the logistic function of that, from 0 to 1. A regressor may have a
            `score_range`.

        Raises
        ------
        DataError
            The batch has another feature_dim than the model, or `return_std` is set and the model has no spread.
        """
        check_width(batch, len(self.w))
        check_threads(num_threads)
        if return_std:
            return self.predict(batch, num_threads), self.std(batch, num_threads)
        n_rows = batch.n_rows
        if n_rows < 1:
            check_fits(batch, len(self.w))
            return np.empty(0, np.float32)
        scores = np.empty(n_rows, np.float32)
        kernels = in_use()[1]
        common = (self.w0, self.w, self.V, scores, self.is_classifier, num_threads)
        if batch.indptr is None or batch.indices is None:
            kernels.predict_dense(batch.values, *common)
        else:
            try:  # it walks over the keys itself: one call less is a tenth of a row's time
                kernels.predict_sparse(batch.indptr, batch.indices, batch.values, *common)
            except ValueError:
                check_fits(batch, self.feature_dim)
                raise
        return bounded(scores, self.score_range)


def _kind(hp: Hyperparameters, what: str) -> tuple[str, float]:
    """How initial values are drawn, and the number that says how large they are."""
    method = getattr(hp, f"{what}_init_method")
    size = {"normal": "sigma", "uniform": "scale", "constant": "value"}[method]
    return method, getattr(hp, f"{what}_init_{size}")
