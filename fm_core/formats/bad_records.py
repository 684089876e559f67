"""The records, or rows, that may be skipped because of what they contain."""

import numbers
from collections.abc import Callable

from fm_core.errors import ConfigError, DataError
from fm_core.given import check_kind
from fm_core.printable import quoted

__all__ = ["BadRecords"]


class BadRecords:
    """Counts the records that are skipped, and refuses one more than are allowed.

    Parameters
    ----------
    most : int
        At least 0: max_bad_records.
    report : callable or None
        Gets a sentence for each skipped record.

    Raises
    ------
    ConfigError, TypeError
        `most` is none.
    """

    def __init__(self, most: int, report: Callable[[str], None] | None = None) -> None:
        check_kind("max_bad_records", most, (int, numbers.Integral), "an integer")
        if most < 0:
            raise ConfigError(f"max_bad_records is {quoted(most)}, expected at least 0")
        self._most = most
        self._report = report
        self._n_bad = 0

    def __call__(self, sentence: str) -> None:
        """Skip a record and log the sentence that says what is wrong, or raise DataError."""
        if self._n_bad == self._most:
            more = f" ({self._n_bad} bad records were skipped before it, as many as max_bad_records allows)"
            raise DataError(sentence + (more if self._n_bad else ""))
        self._n_bad += 1
        if self._report is not None:
            self._report(sentence)
