"""The limits of reading a model: memory, time, and cancellation."""

import dataclasses
import math
import time
from collections.abc import Callable

from fm_core.errors import ArtifactError, ResourceError
from fm_core.resources import available_memory

__all__ = ["Limits"]


@dataclasses.dataclass
class Limits:
    """What the reader of one model looks at before it takes memory, and between pieces of a few megabytes.

    Attributes
    ----------
    memory : int or None
        Bytes that may be taken in all, beside the file itself, which is mapped. None: those that the system has.
    seconds : float
        Since these limits were made.
    should_stop : callable
        Once it is true, reading is given up.
    taken : int
        Bytes of memory that were allowed so far.
    """

    memory: int | None = None
    seconds: float = math.inf
    should_stop: Callable[[], bool] = lambda: False
    taken: int = 0
    _began: float = dataclasses.field(default_factory=time.monotonic, repr=False)

    def allow(self, n_bytes: int, what: str) -> None:
        """Count memory before it is allocated, or refuse it.

        Parameters
        ----------
        n_bytes : int
        what : str
            The name of its content in error messages.

        Raises
        ------
        ResourceError
        """
        room = available_memory() if self.memory is None else self.memory
        self.taken += n_bytes
        if self.taken > room:
            raise ResourceError(
                f"{what} takes {n_bytes} bytes of memory, {self.taken} with what was read before, but at most {room} "
                "may be taken"
            )

    def check(self) -> None:
        """Give up what takes too long, or is not wanted any more.

        Raises
        ------
        ArtifactError
        """
        if time.monotonic() - self._began > self.seconds:
            raise ArtifactError(f"reading timed out after {self.seconds:g} s")
        if self.should_stop():
            raise ArtifactError("reading was stopped, because the process is stopping")
