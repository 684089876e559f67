"""Progress lines of a training: after the first epoch, the second, the fourth, and so on."""

import time
from collections.abc import Callable

from fm_core.training.callbacks import BatchReport, EpochReport, ResumeReport, ValidationReport

__all__ = ["Progress"]

#: Seconds after which a line is said in any case.
_LONGEST = 20.0
_NAMES = {"rmse": "rmse", "binary_classification_cross_entropy": "cross entropy"}


class Progress:
    """A callback that prints lines.

    Parameters
    ----------
    say : callable
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._next = 1
        self._said = time.monotonic()

    def resumed(self, report: ResumeReport) -> None:
        """Nothing is said."""

    def started(self, is_dense: bool) -> None:
        """Training begins."""
        self._said = time.monotonic()

    def batch(self, report: BatchReport) -> None:
        """Nothing is said."""

    def remarked(self, remark: str) -> None:
        """The solver has decided something."""
        self._say(f"  {remark}")

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""
        if report.epoch + 1 < self._next and time.monotonic() - self._said < _LONGEST:
            return
        self._said = time.monotonic()
        self._next = 2 * (report.epoch + 1)
        shown = [f"{_NAMES[name]} {value:.5g}" for name, value in report.metrics.items() if name in _NAMES]
        self._say(f"  epoch {report.epoch + 1}: training {', '.join(shown)}")

    def validated(self, report: ValidationReport) -> None:
        """Nothing is said."""
