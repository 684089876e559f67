"""The interface of all writers of rows."""

from typing import Protocol

from fm_core.batch import Batch

__all__ = ["Writer"]


class Writer(Protocol):
    """Writes rows to an open binary file, which it leaves open. All but npz write as they go."""

    def write(self, batch: Batch) -> None:
        """Append the rows of a batch.

        Parameters
        ----------
        batch : Batch
        """

    def close(self) -> None:
        """Write what is left; the file stays open."""
