"""read_ahead: an iterable worked off by a thread of its own, a few items ahead of its user.

Reading and decoding hold no GIL, so they run beside the solver. The queue is bounded: memory
is a few items, whatever the data's size. The thread is a daemon: one that hangs in a read
cannot keep the process from ending.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["read_ahead"]

Item = TypeVar("Item")

#: Seconds between two looks at `should_stop` while waiting.
_POLL = 0.05


@contextlib.contextmanager
def read_ahead(
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
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    closed = threading.Event()

    def put(kind: str, item: Any = None) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((kind, item), timeout=_POLL)
                return True
        return False

    def work() -> None:
        try:
            iterable = source()
            try:
                for item in iterable:
                    if not put("item", item):
                        return
            finally:
                close = getattr(iterable, "close", None)
                if close:
                    close()
        except BaseException as error:
            put("error", error)
        else:
            put("end")

    def items() -> Iterator[Item]:
        while not should_stop():
            try:
                kind, item = ready.get(timeout=_POLL)
            except queue.Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield items()
    finally:
        closed.set()
