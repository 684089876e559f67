"""The label of a table: two named classes, or numbers of any scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.table import Table, where
from fm_core.formats.tables.values import canonical, number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LabelProfile", "class_labels"]

#: Different labels that are kept.
_MOST = 1000


class LabelProfile:
    """What is known so far of a label.

    Parameters
    ----------
    positive : str or None
        The class that is to be label 1. None: the greater one.
    predictor_type : {"binary_classifier", "regressor"} or None
        None: two different labels are classes, others are numbers.
    """

    def __init__(self, positive: str | None = None, predictor_type: str | None = None) -> None:
        self._positive = None if positive is None else canonical(positive)
        self._said = predictor_type
        self._known: dict[str, int] = {}
        self._n_numbers = True
        self._first_text = ""

    def add(self, table: Table, place: int) -> None:
        """Add a part of the data.

        Parameters
        ----------
        table : Table
        place : int
            The position of the label's column.

        Raises
        ------
        DataError
            A label is missing, or they are neither two classes nor numbers.
        """
        codes, texts = table.codes(place)
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise DataError(
                f"{where(table, row, place)}: the label is {table.shown(row, place)}, expected one in every row"
            )
        for code, text in enumerate(texts):
            if len(self._known) < _MOST:
                self._known.setdefault(text, 0)
            if self._n_numbers and number_of(text) != number_of(text) and text not in ("true", "false"):
                self._n_numbers = False
                self._first_text = text
            if not self._n_numbers and len(self._known) > 2:
                row = int(np.argmax(codes == code))
                shown = ", ".join(repr(known[:20]) for known in list(self._known)[:3])
                raise DataError(
                    f"{where(table, row, place)}: the labels are texts, and more than two: {shown}; expected two "
                    "classes, or numbers"
                )

    @property
    def predictor_type(self) -> str:
        """What can be learned of it."""
        if self._said is not None:
            return self._said
        return "binary_classifier" if len(self._known) == 2 else "regressor"

    @property
    def is_constant(self) -> bool:
        """Whether all labels are alike."""
        return len(self._known) == 1

    @property
    def values(self) -> list[str]:
        """Some of the labels that there are, in their one form."""
        return list(self._known)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes 0 and 1; empty if labels are numbers.

        Raises
        ------
        ConfigError
            The class that is to be 1 is none of two.
        """
        known = sorted(self._known, key=lambda text: (number_of(text), text) if self._n_numbers else text)
        if self._positive is not None and self._positive not in known:
            raise ConfigError(f"--positive is {self._positive[:40]!r}, expected one of {', '.join(known[:5])}")
        if self.predictor_type != "binary_classifier":
            if not self._n_numbers and self.is_constant:
                raise DataError(f"the label is {known[0][:40]!r} in every row, expected different ones")
            if not self._n_numbers and len(known) < 3:
                raise DataError(
                    f"the labels are texts, such as {self._first_text[:20]!r}, expected numbers for a regressor"
                )
            return ()
        if len(known) != 2:
            return ()
        if self._positive is not None and known[1] != self._positive:
            known.reverse()
        return () if known == ["0", "1"] else tuple(known)

    def numbers(self, table: Table, place: int) -> "NDArray[np.float32]":
        """Return labels as numbers: 0 and 1 for two classes.

        Parameters
        ----------
        table : Table
        place : int
            The position of the label's column.

        Returns
        -------
        labels : ndarray of float32, shape (n_rows,)
        """
        return class_labels(table, place, self.classes) if self.classes else table.numbers([place])[0][:, 0]


def class_labels(table: Table, place: int, classes: Sequence[str]) -> "NDArray[np.float32]":
    """Return the labels 0 and 1 of cells that name one of two classes.

    Parameters
    ----------
    table : Table
    place : int
        Of the label's column.
    classes : sequence of str
        The texts of label 0 and of label 1.

    Returns
    -------
    labels : ndarray of float32, shape (n_rows,)

    Raises
    ------
    DataError
        A cell names none; the message says where.
    """
    codes, texts = table.codes(place)
    known = {text: number for number, text in enumerate(classes)}
    of_text = np.array([known.get(text, -1) for text in texts] + [-1], np.int64)
    found = of_text[codes]
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise DataError(
            f"{where(table, row, place)}: the label is {table.shown(row, place)}, expected {classes[0][:40]!r} or "
            f"{classes[1][:40]!r}"
        )
    return found.astype(np.float32)
