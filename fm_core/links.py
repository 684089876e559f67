"""What a predictor type defines: its loss, link function, label rule, and the metric that equals its loss.

Code that depends on whether numbers or classes are predicted uses the object of the type. Kernels get `is_classifier`,
because their link function is compiled in.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LINKS", "Link", "link_for"]


@dataclasses.dataclass(frozen=True)
class Link:
    """The loss and the link function of a predictor type.

    Attributes
    ----------
    predictor_type : str
        The hyperparameter's word.
    is_classifier : bool
        Whether a score is the probability of label 1.
    labels : {"binary", "real"}
        The labels that can be learned: 0 and 1, or any finite number.
    loss_metric : str
        The metric that is the loss: the smaller, the better.
    """

    predictor_type: str
    is_classifier: bool
    labels: Literal["binary", "real"]
    loss_metric: str

    def score(self, z: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Convert sums of the model into scores: by the logistic function for a classifier, unchanged for a regressor.

        Parameters
        ----------
        z : ndarray of float64, shape (n,)

        Returns
        -------
        scores : ndarray of float64, shape (n,)
        """
        if not self.is_classifier:
            return z
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-z))

    def check_labels(self, labels: "NDArray[np.float32]") -> None:
        """Refuse labels that cannot be learned.

        Parameters
        ----------
        labels : ndarray of float32, shape (n,)

        Raises
        ------
        DataError
            A label is not finite or, of a classifier, neither 0 nor 1; the message names its row.
        """
        finite = np.isfinite(labels)
        right = finite & ((labels == 0) | (labels == 1)) if self.is_classifier else finite
        if not right.all():
            row = int(np.argmin(right))
            expected = "0 or 1 for a binary classifier" if self.is_classifier else "a finite number"
            raise DataError(f"row {row}: the label is {labels[row]:.9g}, expected {expected}")


LINKS = {
    link.predictor_type: link
    for link in (
        Link("regressor", False, "real", "mse"),
        Link("binary_classifier", True, "binary", "binary_classification_cross_entropy"),
    )
}


def link_for(predictor_type: str) -> Link:
    """Return the link of a predictor type.

    Parameters
    ----------
    predictor_type : str
        ``binary_classifier`` or ``regressor``.

    Returns
    -------
    link : Link

    Raises
    ------
    ConfigError
        The predictor type is unknown.
    """
    link = LINKS.get(predictor_type) if isinstance(predictor_type, str) else None
    if link is None:
        raise ConfigError(f"predictor_type is {quoted(predictor_type)}, expected {' or '.join(LINKS)}")
    return link
