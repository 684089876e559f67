"""Board: where the hosts of a job meet, on the first host; it alone decides who is present, slow, or lost.

Each host sends a line of JSON about once a second, and gets a line back (words.py). The state of a connection means
nothing: a host that needs a connection replaces one that is broken or silent. What counts is when a host was last
heard, by the clock of the first host, which stops while that host is paused (awake.py). A host that was not heard for
`GONE` seconds is lost, and the job ends on all hosts with the same error.
"""

import contextlib
import datetime
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from fm_core.cluster.awake import AwakeClock
from fm_core.cluster.listening import Listening
from fm_core.cluster.words import MOST_BYTES, Answer, Notice, Said, answer_text, notice_of
from fm_core.printable import begun, printable

__all__ = ["BEAT", "GONE", "SILENCE", "Board", "lost"]

#: Seconds between two heartbeats.
BEAT = 1.0
#: Seconds that any host may be silent, paused or cut off, and the job goes on: what docs/how-to/cluster.md promises.
SILENCE = 20.0
#: Seconds of silence after which a host is gone: what it takes a host to be heard again comes on top of the promise.
GONE = SILENCE + 8.0
#: Seconds after which a connection that says nothing is closed; who needs it makes another one.
_IDLE = 60.0
#: Connections that are open at once, and as many more for each host: a host needs two.
_MOST_CONNECTIONS = 32
_OF_A_HOST = 4


class Board:
    """What the first host knows of all.

    Parameters
    ----------
    names : sequence of str
        Of all hosts; the first one is this.
    clock : AwakeClock
    wait : float
        Seconds to wait for hosts that are not there yet.
    gone : float
        See `GONE`.
    """

    def __init__(self, names: Sequence[str], clock: AwakeClock, wait: float, gone: float = GONE) -> None:
        self._names = tuple(names)
        self._clock = clock
        self._wait, self._gone = wait, gone
        self._started = clock()
        self._lock = threading.Lock()
        self._processes: dict[int, str] = {}
        self._heard: dict[int, float] = {}
        self._facts: dict[int, dict[str, Any]] = {}
        self._left: set[int] = set()
        self._told: set[int] = set()
        self._texts: dict[str, str] = {}
        self._ready: set[int] = set()
        self._has_met = self._has_begun = self._stops = False
        self._has_ended = self._has_lost = False
        self._verdict: Said | None = None
        self._server: socket.socket | None = None
        self._is_closed = False
        self._connections = _Connections(_MOST_CONNECTIONS + _OF_A_HOST * len(names))

    # --- what hosts say ---

    def take(self, notice: Notice) -> Answer:
        """Process a message of a host, and return the answer.

        Parameters
        ----------
        notice : Notice

        Returns
        -------
        answer : Answer

        Raises
        ------
        ValueError
            No host of this job says that.
        """
        with self._lock:
            self._hear(notice)
            self._judge()
            is_known = self._processes[notice.rank] == notice.process
            if is_known and (self._verdict is not None or (self._stops and not self._has_begun)):
                self._told.add(notice.rank)
            wanted = {
                name: text for name, text in self._texts.items() if notice.wants and name.startswith(notice.wants)
            }
            return Answer(
                self._has_met, self._has_begun, self._stops, self._has_ended, self._missing(), self._verdict, wanted
            )

    def _hear(self, notice: Notice) -> None:
        rank = notice.rank
        if rank >= len(self._names):
            raise ValueError(f"there is no host {rank}")
        if self._processes.setdefault(rank, notice.process) != notice.process:
            if self._has_met:
                raise ValueError(f"host {self._names[rank]} is another process")
            sentence = f"two processes claim to be host {self._names[rank]}: give each host a different name"
            self._end(Said(sentence, "ClientError"))
            return
        self._heard[rank] = self._clock()
        if notice.facts is not None:
            self._facts.setdefault(rank, notice.facts)
        if notice.is_ready:
            self._ready.add(rank)
        self._stops |= notice.stops
        if len(self._texts.keys() | notice.put.keys()) > 64 + 8 * len(self._names):
            raise ValueError("it has more texts than a host may write")
        self._texts |= notice.put
        if notice.said is not None:
            self._left.add(rank)
            self._stops |= not self._has_begun  # whoever goes now leaves nobody to train with
            if notice.said.sentence:
                self._end(notice.said)
            self._has_ended |= rank == 0

    # --- what follows from it ---

    def judge(self) -> None:
        """See who has been silent for too long, or has not come."""
        with self._lock:
            self._judge()

    def _judge(self) -> None:
        now, first = self._clock(), self._names[0]
        if self._clock.longest_pause > self._gone:
            self._end(_given_up(first, self._clock.longest_pause))
        for rank, heard in self._heard.items():
            if rank and rank not in self._left and now - heard > self._gone:
                self._has_lost = True
                self._end(lost(self._names[rank], now - heard))
        if self._has_begun or self._stops or self._verdict is not None:
            return
        if self._has_met:
            self._has_begun = len(self._ready) == len(self._names)
        elif not (missing := self._missing()):
            self._compare()
            self._has_met = self._verdict is None
        elif now - self._started >= self._wait:
            names = ", ".join(self._names[rank] for rank in missing)
            self._end(Said(f"host {names} did not join within {now - self._started:.0f} s; training has not begun"))

    def _missing(self) -> list[int]:
        return [rank for rank in range(len(self._names)) if rank not in self._facts]

    def _compare(self) -> None:
        ours = self._facts[0]
        for rank, name in enumerate(self._names):
            theirs = self._facts[rank]
            other = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
            if other:
                told = ", ".join(
                    f"{printable(key, 80)} is {printable(begun(theirs.get(key), 200))} on {name} and "
                    f"{printable(begun(ours.get(key), 200))} on {self._names[0]}" for key in other[:5]
                )  # fmt: skip
                sentence = f"hosts {name} and {self._names[0]} disagree: {told}; "
                sentence += "all hosts of a job need the same version, hyperparameters and files"
                self._end(Said(sentence, "ClientError"))
                return

    def _end(self, said: Said) -> None:
        if self._verdict is None and not self._has_ended:
            self._verdict = said

    def is_heard_by_all(self, *, those_to_come: bool) -> bool:
        """Return whether all hosts that are present know how the job ends.

        Parameters
        ----------
        those_to_come : bool
            Whether hosts that have not come yet are counted too.

        Returns
        -------
        is_heard : bool
        """
        with self._lock:
            now = self._clock()
            return all(
                rank in self._left
                or rank in self._told
                # where one is lost, those who are as silent may be too
                or (self._has_lost and now - self._heard.get(rank, now) > 3 * BEAT)
                for rank in range(1, len(self._names))
                if those_to_come or rank in self._heard
            )

    # --- the port ---

    def serve(self, opened: Listening) -> None:
        """Start to answer connections, in threads.

        Parameters
        ----------
        opened : Listening
            The socket on which the first host listens.
        """
        self._server = server = socket.socket(fileno=opened.descriptor)

        def accept() -> None:
            while not self._is_closed:
                try:
                    connection, _ = server.accept()
                except OSError:  # no descriptor is left, perhaps: others wait
                    time.sleep(BEAT / 10)
                    continue
                self._connections.add(connection)
                try:
                    threading.Thread(target=self._converse, args=(connection,), name="board", daemon=True).start()
                except RuntimeError:  # no thread is left
                    self._connections.remove(connection)
                    connection.close()

        threading.Thread(target=accept, name="board", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._is_closed = True
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # which wakes who accepts
            self._server.close()

    def _converse(self, connection: socket.socket) -> None:
        # what no host of this job says is answered by nothing, whatever it does to us
        with contextlib.suppress(Exception), connection, connection.makefile("rb") as lines:
            connection.settimeout(_IDLE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := lines.readline(MOST_BYTES + 1):
                answer = self.take(notice_of(line))
                self._connections.has_spoken(connection)
                connection.sendall(answer_text(answer))
        self._connections.remove(connection)


class _Connections:
    """Those that are open: no more than so many, as each may hold a thread, a descriptor, and `MOST_BYTES` of memory.

    One too many ends the oldest of those that have said nothing that a host says, or else the one that has been silent
    for longest. A host speaks as soon as it has connected, and every second from then on.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._strangers: dict[socket.socket, None] = {}  # in the order in which they came, or spoke
        self._hosts: dict[socket.socket, None] = {}

    def add(self, connection: socket.socket) -> None:
        """Count a new one, and end another if there are too many."""
        with self._lock:
            self._strangers[connection] = None
            if len(self._strangers) + len(self._hosts) <= self._most:
                return
            oldest = next(iter(self._strangers if len(self._strangers) > 1 else self._hosts))
            self._forget(oldest)
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # which wakes the thread that reads it; that closes it

    def has_spoken(self, connection: socket.socket) -> None:
        """Check that it is a message of a host."""
        with self._lock:
            if connection in self._strangers or connection in self._hosts:
                self._forget(connection)
                self._hosts[connection] = None

    def remove(self, connection: socket.socket) -> None:
        """Count one that is closed no longer."""
        with self._lock:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        self._hosts.pop(connection, None)


def lost(name: str, silent: float) -> Said:
    """Write the error about a host that was silent for too long.

    Parameters
    ----------
    name : str
        The name of the host.
    silent : float
        Seconds since its last message.

    Returns
    -------
    said : Said
    """
    moment = datetime.datetime.fromtimestamp(time.time() - silent, datetime.UTC)
    return Said(f"host {name} was lost: no heartbeat since {moment:%Y-%m-%d %H:%M:%S} UTC")


def _given_up(name: str, pause: float) -> Said:
    return Said(f"host {name} was lost: it was paused for {pause:.0f} s, and the other hosts no longer wait for it")
