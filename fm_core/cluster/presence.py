"""Presence: reports that this host is alive, and what it hears about the others. Hosts meet before they load PyTorch.

One thread tells the board of the first host (board.py) that this host is alive. It hears what holds for all: that every
host has joined, that a host was asked to stop, or why the job ends. If an answer is late, it opens a new connection.
The first host judges the others. The others judge the first host in the same way: it is lost if it has not answered for
`GONE` seconds.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from fm_core.cluster.awake import AwakeClock
from fm_core.cluster.board import BEAT, GONE, Board, lost
from fm_core.cluster.listening import listening
from fm_core.cluster.words import MOST_BYTES, Answer, Notice, Said, answer_of, notice_text
from fm_core.errors import ConfigError, ProcessGroupError
from fm_core.printable import first_line, printable

__all__ = ["InThread", "Presence"]

#: Seconds between two questions while hosts meet.
_MEETING = 0.1
#: Seconds that a connection may take to be made, and an answer to come, before another one is tried: much shorter than
#: what `GONE` leaves beside the promised silence.
_CONNECT, _REPLY = 2.0, 3.0
#: Seconds that a host that leaves tries to say so, and that the first waits for others to have heard.
_FAREWELL = 10.0
#: Seconds that a host tries to be heard that was asked to stop, or failed, before it had met the others.
_PARTING = 4.0
#: Seconds between two log lines about hosts that are not there yet.
_REPORT = 30.0

_Loaded = TypeVar("_Loaded")


class Presence:
    """The host that runs here, among the others.

    Parameters
    ----------
    names : sequence of str
        Of all hosts, in an order that all agree on; the first one has the board.
    rank : int
        Which of them this process is.
    address : str, optional
        Where the first host is reached; by default its name.
    port : int
        Of the board.
    facts : dict or None
        What has to be the same on every host, by name. None: this host comes to say why it fails, and no more.
    interface : str, optional
        Network interface on which the first host listens; by default all.
    wait : float
        Seconds to wait for hosts that are not there yet.
    gone : float
        See `board.GONE`.
    should_stop : callable
        Whether this host was asked to stop: then all are.
    on_stop : callable
        Called as soon as another one was.
    tell : callable
        Gets a sentence, every while, about who is waited for.

    Attributes
    ----------
    names : tuple of str
    rank, size, port : int
    interface : str or None
    failed : threading.Event
        Set when it is known why the job ends.

    Raises
    ------
    ConfigError
        The port of the board is taken.
    """

    def __init__(
        self,
        names: Sequence[str],
        rank: int,
        *,
        port: int,
        facts: dict[str, Any] | None,
        address: str | None = None,
        interface: str | None = None,
        wait: float = 600.0,
        gone: float = GONE,
        should_stop: Callable[[], bool] = lambda: False,
        on_stop: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.names, self.rank, self.size = tuple(names), rank, len(names)
        self.port, self.interface = port, interface
        self.failed = threading.Event()
        self._address = names[0] if address is None else address
        self._is_ready = False
        self._process = os.urandom(8).hex()
        self._facts = facts
        self._wait, self._gone = wait, gone
        self._should_stop, self._on_stop, self._tell = should_stop, on_stop, tell
        self._clock = AwakeClock()
        self._failure: ProcessGroupError | None = None
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._farewell: Said | None = None
        self._is_told = threading.Event()  # the farewell has been heard
        self._is_over = threading.Event()
        self._wakes = threading.Event()
        self._answer: Answer | None = None
        self._heard_at, self._heard_since = self._clock(), time.monotonic()
        self._trouble = "it was not asked yet"
        self._board: Board | None = None
        self._connection = _Connection(self._address, port)
        if rank == 0:
            self._board = self._open_board()
        self._thread = threading.Thread(target=self._live, name="presence", daemon=True)
        self._thread.start()

    def _open_board(self) -> Board:
        board = Board(self.names, self._clock, self._wait, self._gone)
        try:
            opened = listening(self.names[0], self.port, self.interface)
        except OSError as error:
            raise ConfigError(
                f"port {self.port}, on which the other hosts reach this one, cannot be used "
                f"({error.strerror or error}): set another port on every host"
            ) from None
        board.serve(opened)
        return board

    # --- what this host's other threads ask ---

    def meet(self) -> bool:
        """Wait until all hosts have come.

        Returns
        -------
        have_met : bool
            False: a host was asked to stop before, and so nobody trains.

        Raises
        ------
        ProcessGroupError
            A host did not come, or fails, or is not like the others; every host that waits says the same.
        """
        started = time.monotonic()
        told_at = started - _REPORT + 2 * BEAT
        asked_at: float | None = None
        while True:
            self.check()
            answer = self._answer
            if answer is not None and answer.has_met:
                return True
            if answer is not None and answer.stops:
                return False
            now = time.monotonic()
            if asked_at is None and self._should_stop():
                asked_at = now
                self._wakes.set()
            if asked_at is not None and now - asked_at > _PARTING:
                return False
            if answer is None and now - started >= self._wait:
                raise ProcessGroupError(
                    f"host {self.names[0]} did not answer on port {self.port} within {now - started:.0f} s "
                    f"({self._trouble}); this host waited for it to start training"
                )
            if now - told_at >= _REPORT:
                told_at = now
                self._tell_who_is_missing(answer, now - started)
            self.failed.wait(0.05)

    def begin(self, load: Callable[[], _Loaded]) -> _Loaded | None:
        """Load what training needs, and wait until all hosts have.

        Parameters
        ----------
        load : callable
            Called in a thread of its own: whoever is asked to stop meanwhile does not wait for it.

        Returns
        -------
        loaded : object or None
            None: a host was asked to stop before all were ready, and so nobody trains.

        Raises
        ------
        ProcessGroupError
            A host was lost, or fails.
        """
        asked_at: float | None = None
        task = InThread(load)
        while True:
            self.check()
            answer = self._answer
            if answer is not None and answer.has_begun:
                return task.result()
            if answer is not None and answer.stops:
                return None
            if self._should_stop():  # the first host may have left, and not have been heard in time
                asked_at = asked_at or time.monotonic()
                if time.monotonic() - max(asked_at, self._heard_since) > _PARTING:
                    return None
            if not task.is_done.wait(0.02):
                continue
            task.result()
            if not self._is_ready:
                self._is_ready = True
                self._wakes.set()
            self.failed.wait(0.02)

    def _tell_who_is_missing(self, answer: Answer | None, waited: float) -> None:
        if answer is None:
            who = f"{self.names[0]} ({self._trouble})"
        else:
            who = ", ".join(self.names[rank] for rank in answer.missing if rank < self.size)
        self._tell(f"Waiting for host {who}: {waited:.0f} s so far, {self._wait:g} s at most")

    def check(self) -> None:
        """Raise ProcessGroupError if it is known why the job ends."""
        if self._failure is not None:
            raise self._failure

    def when_failed(self, listener: Callable[[], None]) -> None:
        """Register a function to call as soon as it is known why the job ends.

        Parameters
        ----------
        listener : callable
            Called without arguments; at once if that is known already.
        """
        with self._lock:
            self._listeners.append(listener)
            is_late = self._failure is not None
        if is_late:
            listener()

    def explained(self, error: Any) -> ProcessGroupError:
        """Return the reason why an exchange failed: it waits until it is known which host was lost.

        Parameters
        ----------
        error : any
            The error of the exchange.

        Returns
        -------
        error : ProcessGroupError
        """
        self.failed.wait(self._gone + 10)
        if self._failure is not None:
            return self._failure
        return ProcessGroupError(
            f"communication failed although every host still sends heartbeats: {first_line(error)[:300]}"
        )

    def texts(self, put: dict[str, str], wants: str) -> dict[str, str]:
        """Publish texts for all hosts, and return those whose names start with `wants`.

        Parameters
        ----------
        put : dict of str to str
            By name.
        wants : str
            The start of the requested names.

        Returns
        -------
        found : dict of str to str
            By name.

        Raises
        ------
        ProcessGroupError
            It is known why the job ends.
        """
        connection = _Connection(self._address, self.port)
        notice = Notice(self.rank, self._process, put=put, wants=wants)
        while True:
            self.check()
            try:
                return self._ask(notice, connection).texts
            except (OSError, ValueError):
                self.failed.wait(_MEETING)
            finally:
                connection.close()

    def own_address(self) -> str:
        """The address of this machine that is on the way to the other hosts."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting it sends nothing
            probe.connect((self.names[0] if self.rank == 0 else self._address, self.port))
            return str(probe.getsockname()[0])

    # --- the thread that says so ---

    def _live(self) -> None:
        while not self._is_over.is_set():
            try:
                self._hear(self._ask(self._notice(), self._connection))
            except OSError as error:
                self._trouble = _told(error)
                self._connection.close()
                if self._farewell is not None and self._is_dismissed():  # the first host may have gone
                    self._is_told.set()
            except Exception as error:
                self._connection.close()
                self._fail(Said(self._not_understood(error)))
            self._judge()
            is_quiet = self._answer is not None and self._answer.has_begun and self._failure is None
            self._wakes.wait(BEAT if is_quiet else _MEETING)
            self._wakes.clear()
        self._connection.close()

    def _notice(self) -> Notice:
        has_come = self._answer is not None
        return Notice(
            self.rank, self._process, None if has_come else self._facts, self._is_ready, bool(self._should_stop()),
            self._farewell,
        )  # fmt: skip

    def _ask(self, notice: Notice, connection: "_Connection") -> Answer:
        if self._board is not None:
            return self._board.take(notice)
        return answer_of(connection.ask(notice_text(notice)))

    def _hear(self, answer: Answer) -> None:
        self._answer, self._heard_at, self._heard_since = answer, self._clock(), time.monotonic()
        if self._farewell is not None:
            self._is_told.set()
        if answer.verdict is not None:
            self._fail(answer.verdict)
        if answer.stops and not self._should_stop():
            self._on_stop()

    def _is_dismissed(self) -> bool:
        """Whether the board knows that this host has heard how the job ends; see `Board.is_heard_by_all`."""
        answer = self._answer
        if answer is None:
            return False
        return answer.verdict is not None or answer.has_ended or (answer.stops and not answer.has_begun)

    def _judge(self) -> None:
        if self._board is not None:
            self._board.judge()
        elif self._clock.longest_pause > self._gone:
            self._fail(
                Said(
                    f"host {self.names[self.rank]} was lost: it was paused for {self._clock.longest_pause:.0f} s, "
                    "and the other hosts no longer wait for it"
                )
            )
        elif self._answer is not None and not self._answer.has_ended:
            silent = self._clock() - self._heard_at
            if silent > self._gone:
                self._fail(lost(self.names[0], silent))

    def _not_understood(self, error: Exception) -> str:
        return (
            f"host {self.names[0]} was lost: another program answers at its port {self.port} "
            f"({printable(first_line(error), 200)})"
        )

    def _fail(self, said: Said) -> None:
        with self._lock:
            if self._failure is not None or self._farewell is not None:
                return
            self._failure = ProcessGroupError(said.sentence, said.blame)
            listeners = list(self._listeners)
        self.failed.set()
        for listener in listeners:
            listener()

    # --- the end ---

    def leave(self, sentence: str = "", blame: str | None = None) -> None:
        """Tell the others that this host goes, and wait a while until they have heard it.

        Parameters
        ----------
        sentence : str
            Why, where it was not to be expected: every other host fails with it.
        blame : str, optional
            Handed on with the sentence.
        """
        if self._is_over.is_set():  # it has said why
            return
        if self._failure is not None:  # the first reason is everybody's
            sentence, blame = str(self._failure), self._failure.blame
        elif sentence:
            sentence = f"host {self.names[self.rank]} failed: {sentence}"
        answer = self._answer
        has_met = answer is not None and answer.has_met
        with self._lock:
            self._farewell = Said(sentence, blame)
        self._is_told.clear()
        self._wakes.set()
        started = time.monotonic()
        self._is_told.wait(_FAREWELL if has_met else _PARTING)
        while self._board is not None and (waited := time.monotonic() - started) < _FAREWELL:
            # who has not come yet is about to, unless it is why this host goes
            those_to_come = not has_met and self._failure is None and waited < _PARTING
            if self._board.is_heard_by_all(those_to_come=those_to_come):
                break
            time.sleep(0.02)
        self._is_over.set()
        self._wakes.set()
        self._clock.stop()
        self._thread.join(BEAT)
        if self._board is not None:
            self._board.close()


class InThread(Generic[_Loaded]):
    """A task in a thread of its own; the thread that waits for it may have to give up.

    Not a queue that is asked with a timeout: Python 3.11's `SimpleQueue.get` waits for good if a signal comes while its
    time runs out.

    Attributes
    ----------
    is_done : threading.Event
    """

    def __init__(self, task: Callable[[], _Loaded]) -> None:
        self.is_done = threading.Event()
        self._task = task
        self._made: list[_Loaded] = []
        self._error: Exception | None = None
        threading.Thread(target=self._work, name="task", daemon=True).start()

    def _work(self) -> None:
        try:
            self._made.append(self._task())
        except Exception as error:
            self._error = error
        self.is_done.set()

    def result(self) -> _Loaded:
        """Give what a task that is done has made, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._made[0]


class _Connection:
    """A connection to the board, opened when it is needed, and again after a failure."""

    def __init__(self, address: str, port: int) -> None:
        self._where = address, port
        self._socket: socket.socket | None = None
        self._lines: Any = None

    def ask(self, line: bytes) -> bytes:
        """Send a line, and return the answer.

        Raises
        ------
        OSError
            There is no answer.
        """
        if self._socket is None:
            self._socket = socket.create_connection(self._where, _CONNECT)
            self._socket.settimeout(_REPLY)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._lines = self._socket.makefile("rb")
        self._socket.sendall(line)
        answer: bytes = self._lines.readline(MOST_BYTES + 1)
        if not answer.endswith(b"\n"):
            if answer:
                raise ValueError("its answer is incomplete")
            raise ConnectionResetError("it closed the connection")
        return answer

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._lines.close()
            self._socket.close()
        self._socket = None


def _told(error: OSError) -> str:
    """What is wrong with the way to the first host."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer came"
    return error.strerror or str(error)
