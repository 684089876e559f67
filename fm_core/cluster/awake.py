"""A clock that stops while this process is paused: a paused host has not heard the others, and must not judge them."""

import threading
import time

__all__ = ["AwakeClock"]

_TICK = 0.2
#: Of a longer gap between two ticks no more is counted: the process was paused, or had no processor.
_MOST = 1.0


class AwakeClock:
    """Seconds that this process ran.

    Attributes
    ----------
    longest_pause : float
        Seconds of the longest time that it did not.
    """

    def __init__(self) -> None:
        self.longest_pause = 0.0
        self._seconds = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._tick, name="clock", daemon=True).start()

    def __call__(self) -> float:
        """Give them."""
        return self._seconds

    def stop(self) -> None:
        """Let it stand."""
        self._ended.set()

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(_TICK):
            now = time.monotonic()
            gap, before = now - before, now
            self._seconds += min(gap, _MOST)
            self.longest_pause = max(self.longest_pause, gap)
