"""Model: the parameters w0, w and V, their initial values, and predictions.

While a model is trained here, w and V are views of one array whose row i is
``[v_i | w_i]``: one place in memory per feature (see kernels/_loops.pxi). A model that
was loaded has them apart, often mapped from the file. The kernels take both.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import in_use

__all__ = ["ROWS_A_STREAM", "Model"]

Floats = NDArray[np.float32]

#: Rows drawn from one random stream. Streams are numbered, so that initial values depend on
#: the seed alone and not on how many threads draw them; nor does a whole stream depend on feature_dim.
ROWS_A_STREAM = 8192

#: Numbers drawn at a time: they are still in the second-level cache when they are scaled and put in their rows
#: (at k 64 that takes .75 of the time of a whole stream at once).
_NUMBERS_A_DRAW = 32768


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

    References
    ----------
    .. [1] S. Rendle, "Factorization Machines", ICDM 2010.
    """

    def __init__(self, predictor_type: str, w0: float, w: Floats, V: Floats) -> None:
        if V.ndim != 2 or w.shape != V.shape[:1] or V.shape[1] < 1:
            raise ValueError(f"w has shape {w.shape} and V {V.shape}, expected (feature_dim,) and (feature_dim, k)")
        if w.dtype != np.float32 or V.dtype != np.float32 or V.strides[1] != V.itemsize:
            raise ValueError(f"w is {w.dtype} and V {V.dtype}, expected float32 with contiguous rows")
        self.predictor_type = predictor_type
        self.w0 = float(w0)
        self.w = w
        self.V = V

    @classmethod
    def of_params(cls, predictor_type: str, w0: float, params: Floats) -> "Model":
        """Make a model whose w and V are views of `params`, rows ``[v_i | w_i]``."""
        return cls(predictor_type, w0, params[:, -1], params[:, :-1])

    @classmethod
    def initialise(
        cls, hyperparameters: Hyperparameters, num_threads: int = 1, part: tuple[int, int] = (0, 1)
    ) -> "Model":
        """Draw the initial parameters that the ``*_init_*`` hyperparameters ask for.

        Parameters
        ----------
        hyperparameters : Hyperparameters
            ``seed`` decides every value, whatever `num_threads` is.
        num_threads : int
            Threads that draw.
        part : (int, int)
            ``(r, n)``: only the features r, r + n, r + 2 n and so on, with the values that they have in the whole.

        Returns
        -------
        model : Model
            Its w and V are views of one array, each page of which was touched once.
        """
        hp = hyperparameters
        first, every = part
        n_rows = len(range(first, hp.feature_dim, every))
        params = np.empty((max(1, n_rows), hp.num_factors + 1), np.float32)
        params[n_rows:] = 0  # a model has a row

        rows_a_draw = max(1, _NUMBERS_A_DRAW // hp.num_factors)

        def draw(stream: int) -> None:
            random = _stream(hp.seed, stream)
            start = stream * ROWS_A_STREAM
            end = min(start + ROWS_A_STREAM, hp.feature_dim)
            for at in range(start, end, rows_a_draw):
                n = min(rows_a_draw, end - at)
                keep(at, slice(0, -1), _draw(hp, "factors", random, (n, hp.num_factors)))
            n = end - start
            keep(start, -1, _draw(hp, "linear", random, (n,)) if hp.use_linear else np.zeros(n, np.float32))

        def keep(start: int, columns: slice | int, drawn: Floats) -> None:
            skipped = (first - start) % every
            kept = drawn[skipped::every]
            params[(start + skipped) // every :][: len(kept), columns] = kept

        n_streams = math.ceil(hp.feature_dim / ROWS_A_STREAM)
        if min(num_threads, n_streams) == 1:
            for stream in range(n_streams):
                draw(stream)
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                list(pool.map(draw, range(n_streams)))
        w0 = _draw(hp, "bias", _stream(hp.seed, -1), (1,))[0] if hp.use_bias else 0.0
        return cls.of_params(hp.predictor_type, float(w0), params)

    @property
    def feature_dim(self) -> int:
        """Number of features."""
        return int(self.V.shape[0])

    @property
    def num_factors(self) -> int:
        """Number of factors of each feature."""
        return int(self.V.shape[1])

    @property
    def is_classifier(self) -> bool:
        """Whether a score is a probability."""
        return self.predictor_type == "binary_classifier"

    def predict(self, batch: Batch, num_threads: int = 1) -> Floats:
        """Score each row of a batch.

        Parameters
        ----------
        batch : Batch
            Its labels are ignored.
        num_threads : int
            Threads to use; the result does not depend on it.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            ``w0 + <w, x> + sum_{i<j} <v_i, v_j> x_i x_j``, computed in O(nnz * num_factors)
            as in [1]_; for a classifier the logistic function of that, from 0 to 1.

        Raises
        ------
        DataError
            The batch has another feature_dim than the model.
        """
        if batch.feature_dim != self.feature_dim:
            raise DataError(f"rows have feature_dim={batch.feature_dim}, expected {self.feature_dim} as the model's")
        scores = np.empty(batch.n_rows, np.float32)
        if not batch.n_rows:
            return scores
        kernels = in_use()[1]
        common = (self.w0, self.w, self.V, scores, self.is_classifier, num_threads)
        if batch.indptr is None or batch.indices is None:
            kernels.predict_dense(batch.values, *common)
        else:
            kernels.predict_sparse(batch.indptr, batch.indices, batch.values, *common)
        return scores


def _stream(seed: int, number: int) -> np.random.Generator:
    # spawn keys are not negative: the bias has 0, block i of the rows i + 1
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(number + 1,))))


def _draw(hp: Hyperparameters, what: str, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    def of(name: str) -> np.float32:
        return np.float32(getattr(hp, f"{what}_init_{name}"))

    method = getattr(hp, f"{what}_init_method")
    if method == "normal":
        drawn = random.standard_normal(shape, np.float32)
        drawn *= of("sigma")
        return drawn
    if method == "uniform":
        return (2 * random.random(shape, np.float32) - 1) * of("scale")
    return np.full(shape, of("value"))
