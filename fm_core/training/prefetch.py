"""prefetch: an iterable that a separate thread reads, a few items ahead of its user.

Reading and decoding hold no GIL, so they run in parallel with the solver. The queue is bounded:
memory is a few items, whatever the size of the data. The thread is a daemon: if it hangs in a
read, the process can still end.

For each item the thread needs a ticket. The user returns several tickets together, because each
wake-up costs both threads some 30 us on a virtual machine.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["DEPTH", "prefetch"]

Item = TypeVar("Item")

#: Batches, or steps, that are prepared ahead: two would do, were reading as even as solving.
DEPTH = 4

#: Seconds between two looks at `should_stop` while waiting.
_POLL = 0.05


@contextlib.contextmanager
def prefetch(
    source: Callable[[], Iterable[Item]], depth: int, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Iterator[Item]]:
    """Work an iterable off in a thread, at most `depth` items ahead.

    Parameters
    ----------
    source : callable
        Gives the iterable; called, iterated and closed in the thread.
    depth : int
        Items kept ready.
    should_stop : callable
        Polled while waiting for an item; once true, the iterator ends.

    Returns
    -------
    context manager of an iterator
        It raises what the source raises. Leaving the context ends the thread as soon as it has
        its next item.
    """
    ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    tickets: queue.SimpleQueue[None] = queue.SimpleQueue()
    closed, news = threading.Event(), threading.Event()
    at_once = max(1, depth // 2)

    def hand_out(n: int) -> None:
        for _ in range(n):
            tickets.put(None)

    def put(kind: str, item: Any) -> None:
        ready.put((kind, item))
        news.set()

    def work() -> None:
        try:
            iterable = source()
            try:
                for item in iterable:
                    tickets.get()
                    if closed.is_set():
                        return
                    put("item", item)
            finally:
                close = getattr(iterable, "close", None)
                if close:
                    close()
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)

    def items() -> Iterator[Item]:
        taken = 0
        while not should_stop():
            try:
                kind, item = ready.get_nowait()
            except queue.Empty:
                # not a queue's own timeout: SimpleQueue waits for good where a signal comes as that runs out (3.11)
                news.wait(_POLL)
                news.clear()
                continue
            if kind == "end":
                return
            if kind == "error":
                raise item
            taken += 1
            if taken % at_once == 0:
                hand_out(at_once)
            yield item

    hand_out(depth)
    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        yield items()
    finally:
        closed.set()
        hand_out(1)  # wakes the thread
