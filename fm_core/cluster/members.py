"""The interface of the processes that train one model together: process_group.py implements it with PyTorch."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fm_core.errors import ProcessGroupError
from fm_core.partition import Partition
from fm_core.training.loop import Loop

__all__ = ["LARGE", "Collectives", "Floats", "Members", "partition_of", "told_where"]

Floats = NDArray[np.float32]

#: Bytes from one member to another from which an exchange is a large one: on 10 Gb/s they take as long, .2 ms, as what
#: sending both ways at once costs the processor.
LARGE = 1 << 18
Result = TypeVar("Result")


class Collectives(Protocol):
    """One way between the members; see `process_group.Communicator`."""

    def all_gather(self, row: NDArray[Any]) -> NDArray[Any]:
        """Gather a row of each member.

        Parameters
        ----------
        row : ndarray, shape (n,)
            That of this member.

        Returns
        -------
        rows : ndarray, shape (n_members, n)
        """

    def all_to_all(
        self, sent: NDArray[Any], to: Any, by: Any, out: NDArray[Any] | None = None, *, is_large: bool = False
    ) -> NDArray[Any]:
        """Send each member its rows, and return those received from each, in `out` if it is given.

        Parameters
        ----------
        sent : ndarray
            The rows to send, those for member 0 first.
        to, by : sequence of int
            For each member, how many rows are sent to it, and received from it.
        out : ndarray, optional
            For the received rows.
        is_large : bool
            Whether so much is sent that both directions should run at once.

        Returns
        -------
        received : ndarray
            Those of member 0 first.
        """


class Members(Protocol):
    """See `process_group.ProcessGroup`.

    Attributes
    ----------
    rank, size : int
    """

    rank: int
    size: int

    @property
    def keys(self) -> Collectives:
        """For the reading thread, which agrees on the steps to come."""

    @property
    def rows(self) -> Collectives:
        """For the thread that makes them."""


def partition_of(members: Members) -> Partition:
    """Return the features that this member owns.

    Parameters
    ----------
    members : Members

    Returns
    -------
    partition : Partition
    """
    return Partition(members.rank, members.size)


def told_where(loop: Loop[Any], run: Callable[[], Result]) -> Result:
    """Run a training; a ProcessGroupError gets the position of this host.

    Parameters
    ----------
    loop : Loop
        Knows the position.
    run : callable
        Runs the training.

    Returns
    -------
    result : any
        What `run` returns.

    Raises
    ------
    ProcessGroupError
        Another host was lost or failed.
    """
    try:
        return run()
    except ProcessGroupError as error:
        raise ProcessGroupError(f"{error}; this host was at {loop.moment}", error.blame) from error
