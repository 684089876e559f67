import threading

import pytest

from fm_core.training.prefetch import prefetch


def test_items_come_in_order():
    with prefetch(lambda: range(100), 3) as items:
        assert list(items) == list(range(100))


def test_an_error_of_the_source_is_raised_after_the_items_before_it():
    def source():
        yield 1
        raise KeyError("lost")

    with prefetch(source, 3) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="lost"):
            next(items)


def test_an_error_of_making_the_source_is_raised():
    def source():
        raise OSError("no such pipe")

    with pytest.raises(OSError, match="no such pipe"), prefetch(source, 3) as items:
        list(items)


def test_the_source_is_at_most_depth_items_ahead():
    made = threading.Semaphore(0)
    counts = []

    def source():
        for i in range(50):
            counts.append(i)
            made.release()
            yield i

    with prefetch(source, 4) as items:
        for taken, _ in enumerate(items, 1):
            assert len(counts) <= taken + 4 + 2  # in the queue, in the thread's hand, in ours


def test_a_stop_ends_the_wait_for_a_source_that_hangs():
    stop, waiting = threading.Event(), threading.Event()

    def source():
        yield 1
        waiting.set()
        threading.Event().wait()

    with prefetch(source, 2, stop.is_set) as items:
        assert next(items) == 1
        assert waiting.wait(10)
        stop.set()
        assert list(items) == []


def test_leaving_early_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with prefetch(source, 2) as items:
        assert next(items) == 1
    assert closed.wait(10)
