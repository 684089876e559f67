"""Check arguments of public functions before compiled code runs.

A wrong type, an inconsistent matrix, or values that are not numbers are refused, in one sentence that says what was
found and what is expected. Valid arguments are passed on unchanged.
"""

import decimal
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MOST_FEATURES",
    "check_csr",
    "check_kind",
    "check_scores",
    "check_threads",
    "check_weights",
    "float_array",
    "refuse_gaps",
    "refuse_masked",
    "refuse_moments",
]

#: Feature ids are int32.
MOST_FEATURES = 2**31 - 1

#: How the types of moments are called in pandas, Polars and Arrow.
_MOMENTS = ("date", "time", "duration", "period", "interval")

#: As hyperparameters admit them, and checks.pxd does.
_MOST_THREADS = 1024


def check_kind(what: str, value: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Refuse a value of another kind.

    Parameters
    ----------
    what : str
        What the value is called, for the message.
    value : any
    kind : type, or tuple of types
        Of which it has to be. A bool is no int here.
    expected : str
        The kinds in words, for the message.

    Raises
    ------
    TypeError
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise TypeError(f"{what} is {quoted(value)} of type {type(value).__name__}, expected {expected}")
    if kind is np.ndarray and type(value) is not np.ndarray:
        refuse_masked(what, value)


def check_threads(num_threads: Any) -> None:
    """Check a number of threads.

    Parameters
    ----------
    num_threads : any
        Expected: an integer from 1 to 1024.

    Raises
    ------
    ConfigError
        It is no integer from 1 to 1024: none would leave scores unwritten, and very many end a process.
    """
    if type(num_threads) is int and 1 <= num_threads <= _MOST_THREADS:  # as good as always
        return
    is_int = isinstance(num_threads, int | np.integer) and not isinstance(num_threads, bool)
    if not is_int or not 1 <= num_threads <= _MOST_THREADS:
        raise ConfigError(f"num_threads is {quoted(num_threads)}, expected an integer from 1 to {_MOST_THREADS}")


def float_array(what: str, values: Any) -> "NDArray[np.float32]":
    """Give an array of numbers as contiguous float32; what that cannot hold becomes infinite, and is refused later.

    Parameters
    ----------
    what : str
        The name of the values in error messages.
    values : array_like
        Numbers.

    Returns
    -------
    array : ndarray of float32
        Contiguous; the same object if it is already so.

    Raises
    ------
    DataError
        They are no numbers, or complex ones, or rows are of different lengths.
    """
    refuse_masked(what, values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} are not an array of numbers: rows differ in length") from error
    if array.dtype.kind not in "biuf":
        try:
            numbers = array.astype(np.float64) if array.dtype.kind == "O" else None
        except (TypeError, ValueError, OverflowError):
            numbers = None
        if numbers is None:
            raise DataError(f"{what} are {array.dtype}, expected numbers")
        array = numbers
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def refuse_masked(what: str, values: Any) -> None:
    """Refuse an array with masked values: NumPy would use the data behind the mask.

    Parameters
    ----------
    what : str
        The name of the values in error messages.
    values : any

    Raises
    ------
    DataError
    """
    if np.ma.is_masked(values):
        raise DataError(f"{what} have masked values, which would be used as data: fill them first")


def check_scores(scores: "NDArray[np.float32]", n_before: int = 0) -> None:
    """Refuse to give scores that are not finite.

    Parameters
    ----------
    scores : ndarray of float32, shape (n_rows,)
    n_before : int
        Rows before these.

    Raises
    ------
    DataError
        The message names the row.
    """
    # A request has one score, more often than not: NumPy takes some microseconds to begin.
    if scores.size == 1 and math.isfinite(scores[0]):
        return
    finite = np.isfinite(scores)
    if not finite.all():
        row = n_before + int(np.argmin(finite))
        raise DataError(f"the score of row {row} overflows float32: its values are too large")


def check_weights(weights: "NDArray[np.float32]") -> None:
    """Refuse weights that are negative or not finite.

    Parameters
    ----------
    weights : ndarray of float32, shape (n,)
        Expected: finite, at least 0.

    Raises
    ------
    DataError
        The message names the row.
    """
    right = np.isfinite(weights) & (weights >= 0)
    if not right.all():
        row = int(np.argmin(right))
        raise DataError(f"row {row}: the weight is {weights[row]:.9g}, expected a finite number of at least 0")


def check_csr(matrix: Any) -> None:
    """Refuse what is no CSR matrix that holds together, before its indices are followed or lose bits.

    Parameters
    ----------
    matrix : scipy.sparse.csr_matrix or csr_array

    Raises
    ------
    DataError
        It is of another format, its arrays do not fit each other, or a key is not below its width.
    """
    kind = getattr(matrix, "format", None)
    if kind != "csr":
        what = f"a {kind} matrix" if isinstance(kind, str) else f"a {type(matrix).__name__}"
        raise DataError(f"the rows are {what}, expected a SciPy CSR matrix: call tocsr()")
    indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
    if len(matrix.shape) != 2 or not 0 < matrix.shape[1] <= MOST_FEATURES:
        raise DataError(f"the rows have shape {matrix.shape}, expected 1 to {MOST_FEATURES} features")
    if any(array.ndim != 1 for array in (indptr, indices, data)):
        raise DataError("the arrays of the matrix do not have one dimension each")
    if indptr.dtype.kind != "i" or indices.dtype.kind != "i" or len(indptr) != matrix.shape[0] + 1:
        raise DataError(f"the matrix has {len(indptr)} starts of rows, expected {matrix.shape[0] + 1} integers")
    if indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] > min(len(indices), len(data)):
        raise DataError(f"the starts of rows do not increase from 0 to at most {min(len(indices), len(data))}")
    used = indices[: indptr[-1]]
    if used.size and not 0 <= used.min() <= used.max() < matrix.shape[1]:  # two quick walks, no array of truths
        at = int(np.argmax((used < 0) | (used >= matrix.shape[1])))
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        raise DataError(f"row {row}: key {int(used[at])} is not below feature_dim={matrix.shape[1]}")


def refuse_moments(*given: Any) -> None:
    """Refuse dates and spans of time in arrays and DataFrames: they become numbers of 1e18 that depend on their unit.

    Raises
    ------
    TypeError
    """
    for values in given:
        kinds = [values.dtype] if hasattr(values, "dtype") else getattr(values, "dtypes", ())  # a DataFrame has several
        for dtype in kinds:
            if getattr(dtype, "kind", "") in ("m", "M") or str(dtype).lower().startswith(_MOMENTS):
                raise TypeError(
                    f"a column is {dtype}, expected numbers: derive columns of numbers from it, such as the hour or "
                    "the age in days"
                )


def refuse_gaps(what: str, values: Any) -> None:
    """Refuse labels that are missing: None, NaN, NaT or pandas' NA, in columns that may have such.

    Parameters
    ----------
    what : str
        The name of the values in error messages.
    values : any
        Labels, in a list, array or Series.

    Raises
    ------
    ValueError
        As scikit-learn does for arrays of numbers; of others it compares what cannot be compared.
    """
    kind = getattr(getattr(values, "dtype", None), "kind", "O")
    if values is None or isinstance(values, str) or kind in "biufcSUmM":
        return
    for row, value in enumerate(values if isinstance(values, list | tuple) else np.asarray(values, object).ravel()):
        is_nan = (
            value.is_nan() if isinstance(value, decimal.Decimal) else isinstance(value, float) and math.isnan(value)
        )
        if value is None or is_nan or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{what} has no value in row {row}, expected one for each row: leave such rows out")
