"""The scores that a regressor may give: what training labels make believable.

A factorization machine has products of values. Far beyond the rows that it learned from it can give any number, and a
handful of such rows makes it worse than the mean (California housing, raw columns: .6 to .9 of the mean's error by the
seed, and .55 to .56 with the same models' scores kept in the range of labels; held-out parts of the training rows).
libFM keeps scores within the least and the greatest label too.

A label that several rows share as the greatest is the end of a scale: five stars, nothing sold, prices that were cut
off. One that a single row has is not, and the next row may be above: a standard deviation is left free there, without
which a plain linear relation of few rows would be cut.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.printable import quoted

__all__ = ["ScoreRange", "bounded"]

_LARGEST = float(np.finfo(np.float32).max)


class ScoreRange(NamedTuple):
    """The least and the greatest score, which float32 has exactly.

    Attributes
    ----------
    least, greatest : float
    """

    least: float
    greatest: float

    @classmethod
    def of_labels(cls, labels: NDArray[np.float32], deviation: float) -> "ScoreRange":
        """Return the range of plausible scores, given the training labels.

        Parameters
        ----------
        labels : ndarray of float32, shape (n,)
            Not empty.
        deviation : float
            Their standard deviation.

        Returns
        -------
        score_range : ScoreRange
        """
        least, greatest = float(labels.min()), float(labels.max())
        if np.count_nonzero(labels == least) == 1:
            least = max(least - deviation, -_LARGEST)
        if np.count_nonzero(labels == greatest) == 1:
            greatest = min(greatest + deviation, _LARGEST)
        return cls(float(np.float32(least)), float(np.float32(greatest)))

    @classmethod
    def of_json(cls, value: Any) -> "ScoreRange":
        """Read a range from a model file.

        Parameters
        ----------
        value : any
            As a JSON parser returns it.

        Returns
        -------
        score_range : ScoreRange

        Raises
        ------
        ValueError
            It is something else.
        """
        are_numbers = (
            isinstance(value, list)
            and len(value) == 2
            and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in value)
        )
        # by size first: an integer may be too large for a float
        if not (are_numbers and all(-_LARGEST <= n <= _LARGEST for n in value) and value[0] <= value[1]):
            raise ValueError(
                f"score_range is {quoted(value)}, expected the least and the greatest score, two finite numbers of "
                "float32"
            )
        return cls(*(float(np.float32(n)) for n in value))


def bounded(scores: NDArray[np.float32], within: ScoreRange | None) -> NDArray[np.float32]:
    """Clip scores to a range, in place; NaN stays NaN.

    Parameters
    ----------
    scores : ndarray of float32, shape (n,)
    within : ScoreRange or None
        None: they are not clipped.

    Returns
    -------
    scores : ndarray of float32, shape (n,)
        The same array.
    """
    if within is None:
        return scores
    np.maximum(scores, np.float32(within.least), out=scores)
    return np.minimum(scores, np.float32(within.greatest), out=scores)
