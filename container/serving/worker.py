"""gunicorn's workers: some hold connections, the others compute.

gunicorn's master forks them, replaces those that die, and passes signals on. No other part of gunicorn handles
a request. All workers share a `Work`, created before the first fork; its `place` gives a new
worker the missing kind and slot.
"""

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.workers import base

from container.serving.errors import WorkerLostError, refusal_of
from container.serving.front import Front
from container.serving.handover import Handover, Task
from container.serving.load import Load
from container.serving.request_log import ERROR
from container.serving.wsgi import App, Called, call, status_line

__all__ = ["DRAIN_SECONDS", "Work", "Worker"]

#: SageMaker kills 30 seconds after SIGTERM; requests under way get most of them.
DRAIN_SECONDS = 25

#: How much nicer to others the computing processes are, so that the ones with the connections get a core at once.
_NICE = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What the workers of a server share.

    Attributes
    ----------
    app : callable
        WSGI.
    takes_long : callable
        As in `Front`.
    log : callable
        As in `Front`.
    handover : Handover
    load : Load
    n_pairs : int
        The number of workers of each kind.
    patience : float
        Seconds that a client may keep us waiting.
    largest_body : int
        Bytes.
    most_connections : int
        Of one worker.
    """

    app: App
    takes_long: Callable[[dict[str, Any], bytes], bool]
    log: Callable[[dict[str, Any], float], None]
    handover: Handover
    load: Load
    n_pairs: int
    patience: float
    largest_body: int
    most_connections: int

    def place(self, worker: "Worker", others: Iterable["Worker"]) -> None:
        """Give a worker the kind and the slot that the others leave."""
        taken = {(other.is_front, other.slot) for other in others}
        # In turn, so that neither kind waits for the last of the other.
        places = ((is_front, slot) for slot in range(self.n_pairs) for is_front in (True, False))
        worker.is_front, worker.slot = next((place for place in places if place not in taken), (True, 0))


class Worker(base.Worker):  # type: ignore[misc]
    """One worker; `work` is set before any is made."""

    work: Work
    is_front = True
    slot = 0

    def run(self) -> None:
        """Run until told to stop."""
        if self.is_front:
            self._hold_connections()
        else:
            self._compute()

    def _is_alive(self) -> bool:
        self.notify()
        return bool(self.alive) and os.getppid() == self.ppid

    def _hold_connections(self) -> None:
        work = self.work
        front = Front(
            work.app,
            takes_long=work.takes_long,
            log=work.log,
            handover=work.handover,
            load=work.load,
            slot=self.slot,
            patience=work.patience,
            largest_body=work.largest_body,
            most_connections=work.most_connections,
        )
        work.load.begin(self.slot)
        front.run([listener.sock for listener in self.sockets], self._is_alive, DRAIN_SECONDS)
        work.load.clear(self.slot)

    def _compute(self) -> None:
        for listener in self.sockets:
            listener.close()
        with contextlib.suppress(OSError):
            os.nice(_NICE)
        # A long computation is no sign of death.
        threading.Thread(target=self._beat, daemon=True).start()
        deadline = 0.0
        while True:
            task = self.work.handover.take(0.1)
            if task is not None:
                with contextlib.closing(task):
                    answer(self.work.app, task)
            elif not self._is_alive():
                # Those with the connections bring what they still have.
                deadline = deadline or time.monotonic() + DRAIN_SECONDS
                if self.work.load.processes == 0 or time.monotonic() > deadline:
                    return

    def _beat(self) -> None:
        while True:
            self.notify()
            time.sleep(1)


def answer(app: App, task: Task) -> None:
    """Compute an answer, and send it; for lack of memory, a refusal."""
    if not task.is_wanted:
        return
    try:
        task.open()
        task.answer(call(app, task.environ))
    except (MemoryError, OSError) as error:
        refused = refusal_of(error) or refusal_of(WorkerLostError(f"the answer could not be sent: {error}"))
        assert refused is not None
        task.environ[ERROR] = refused.detail
        task.answer(Called(status_line(refused.status), refused.headers, refused.body))
