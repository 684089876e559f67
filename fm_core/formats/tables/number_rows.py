"""Tables of numbers only, with the label first: CSV and Parquet in training channels."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.text._text import number_in
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["number_batches", "number_expected", "numbers_of_folders", "numbers_wanted"]


def number_batches(
    numbers: "NDArray[np.float32]",
    has_wrong: bool,
    labels: str,
    refuse: Callable[[int, int], None],
    refuse_label: Callable[[int], None],
    refuse_weight: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """Make a batch of rows whose first column is the label, without those that are refused but may be skipped.

    The rows before one that ends the reading come first, so that it makes no difference where chunks end.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n_rows, n_columns)
        The label, if there is one; the weight, with `refuse_weight`; the features.
    has_wrong : bool
        Whether a cell is NaN, which stands for what is not a number.
    labels : {"none", "binary", "real"}
        Binary labels other than 0 and 1 are refused.
    refuse : callable
        Called with row and column of a cell that is not a number. It raises DataError, or counts the row as skipped.
    refuse_label, refuse_weight : callable
        The same of a row's label, and of a negative weight.

    Yields
    ------
    batch : Batch
        Dense.

    Raises
    ------
    DataError
        What one of the callables raised.
    """
    wrong = np.isnan(numbers) if has_wrong else np.zeros((len(numbers), 1), bool)
    bad = np.asarray(wrong.any(axis=1))
    other = np.zeros(len(numbers), bool)
    if labels == "binary":
        other = (numbers[:, 0] != 0) & (numbers[:, 0] != 1) & ~bad
    negative = numbers[:, 1] < 0 if refuse_weight is not None else np.zeros(len(numbers), bool)
    refused = np.flatnonzero(bad | other | negative)
    failure = None
    for n_before, row in enumerate(refused.tolist()):
        try:
            if bad[row]:
                refuse(row, int(np.argmax(wrong[row])))
            elif other[row] or refuse_weight is None:
                refuse_label(row)
            else:
                refuse_weight(row)
        except DataError as error:
            failure, numbers, refused = error, numbers[:row], refused[:n_before]
            break
    if len(refused):
        numbers = np.delete(numbers, refused, axis=0)
    if labels == "none":
        yield Batch.trusted(numbers.shape[1], np.ascontiguousarray(numbers))
    else:
        n_before = 1 if refuse_weight is None else 2
        features, first = np.ascontiguousarray(numbers[:, n_before:]), np.ascontiguousarray(numbers[:, 0])
        weights = None if refuse_weight is None else np.ascontiguousarray(numbers[:, 1])
        yield Batch.trusted(features.shape[1], features, labels=first, weights=weights)
    if failure is not None:
        raise failure


def numbers_wanted(feature_dim: int, n_labels: int, n_weights: int = 0) -> str:
    """Say in words how many columns are expected.

    Parameters
    ----------
    feature_dim, n_labels, n_weights : int
        Columns of each kind.

    Returns
    -------
    words : str

    Examples
    --------
    >>> numbers_wanted(3, 1)
    'a label and feature_dim=3 numbers'
    """
    before = "a label, a weight and " if n_weights else "a label and " if n_labels else ""
    return f"{before}feature_dim={feature_dim} numbers"


def number_expected(found: str) -> str:
    """Write an error message about a cell that is not a number.

    Parameters
    ----------
    found : str
        The cell.

    Returns
    -------
    sentence : str
    """
    return f"found {found}, expected a number that is finite as float32"


def numbers_of_folders(source: str, folders: Mapping[str, str]) -> "NDArray[np.float32]":
    """Return the values of folders such as ``day=3`` as numbers.

    Parameters
    ----------
    source : str
        The path of the file, for error messages.
    folders : mapping of str to str
        Values by the name of the column.

    Returns
    -------
    numbers : ndarray of float32

    Raises
    ------
    DataError
        One is none.
    """
    values = np.array([number_in(text.encode()) for text in folders.values()], np.float32)
    for value, (name, text) in zip(values.tolist(), folders.items(), strict=True):
        if np.isnan(value):
            raise DataError(f"{source}: the folder {name}={text} is a column: {number_expected(quoted(text))}")
    return values
