"""The two classes of a classifier, checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.formats.tables.values import is_missing
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["named_classes", "two_classes"]


def named_classes(classes: Any) -> "NDArray[Any]":
    """Check the classes that a caller gave, and return them as an array.

    Parameters
    ----------
    classes : any
        Expected: a list of two labels of one kind.

    Returns
    -------
    classes : ndarray

    Raises
    ------
    ValueError
        They are something else.
    """
    is_listed = hasattr(classes, "__len__") and hasattr(classes, "__getitem__") and not isinstance(classes, str | bytes)
    labels = list(classes) if is_listed and not isinstance(classes, Mapping) else []
    if not labels or any(not isinstance(label, str) and is_missing(label) for label in labels):
        raise ValueError(f"classes are {quoted(classes)}, expected a list of two labels")
    if len({isinstance(label, str | bytes) for label in labels}) > 1:  # of which NumPy would make texts
        raise ValueError(f"classes are {', '.join(map(quoted, labels[:3]))}, expected two labels of one kind")
    return np.asarray(classes)


def two_classes(classes: "NDArray[Any]") -> "NDArray[Any]":
    """Check that there are two different classes.

    Parameters
    ----------
    classes : ndarray

    Returns
    -------
    classes : ndarray
        The same.

    Raises
    ------
    ValueError
        There are more or fewer classes, or they are equal.
    """
    if len(classes) != 2:
        raise ValueError(f"y has {len(classes)} class{'es' * (len(classes) > 1)}, {classes.tolist()}, expected two")
    if classes[0] == classes[1] or any(label != label for label in classes.tolist()):
        raise ValueError(f"classes are {classes.tolist()}, expected two different ones")
    return classes
