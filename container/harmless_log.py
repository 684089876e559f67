"""Safe log lines for text from outside: names of files, columns and models, values, messages of other hosts.

A message stays one line, whatever it quotes: it cannot start another line, and no metric matches in it. The lines of a
traceback are harmless too, and indented.
"""

import copy
import logging
from typing import Any

from fm_core.printable import printable

__all__ = ["LONGEST_LINE", "HarmlessFormatter"]

#: Characters of a line: the hyperparameters of a job may have 250,000, and a log service takes no more.
LONGEST_LINE = 250_000


class HarmlessFormatter(logging.Formatter):
    """A formatter of such lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        record = copy.copy(record)
        record.msg, record.args = printable(record.getMessage(), LONGEST_LINE), None
        record.exc_text = None  # another formatter's
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Give the lines of a traceback."""
        return "\n".join(f"  {printable(line, LONGEST_LINE)}" for line in super().formatException(ei).split("\n"))
