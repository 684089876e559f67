"""ProcessGroup: the processes that train one model together, and how arrays pass between them.

The engine is PyTorch's torch.distributed with gloo, imported here and nowhere else. A process
group has two communicators, each a group of gloo's with a thread of its own, the only one that calls it: the
reading thread exchanges the keys of batches to come on one, while the solver exchanges rows on the other.
Whoever waits for a communicator is woken when a member is lost.

Members are watched through the store of the rendezvous: each counts on, once a second, in the entry
of its own, and reads those of the others. One that falls silent for `SILENCE` seconds is lost: killed,
hung, or cut off. One that leaves for a reason says it there. So every other member ends with the
same sentence, whatever error the broken connection has shown it.
"""

import contextlib
import datetime
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

# Before PyTorch is loaded: while a name is not known yet, its sockets would say so in lines of their own.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore
from torch.distributed.distributed_c10d import AllToAllOptions

from fm_core.cluster.listening import listening
from fm_core.cluster.words import Said, facts_of, facts_text, said_of, said_text
from fm_core.errors import ConfigError, ProcessGroupError
from fm_core.printable import printable

__all__ = ["SILENCE", "Communicator", "ProcessGroup"]

#: Seconds between two signs of life.
_BEAT = 1.0
#: Seconds without a sign of life after which a member is lost.
SILENCE = 20.0
#: Seconds that the first member, who has the store, waits for the others to have read what it says.
_FAREWELL = 10.0
#: Seconds between two log lines about members that are not there yet.
_REPORT = 30.0

_FAILED = object()

_Read = TypeVar("_Read")


class Communicator:
    """One way between the members: whole arrays, one exchange after the other, in the same order on every member.

    Attributes
    ----------
    n_bytes, n_messages : int
        Sent to other members so far.
    """

    def __init__(self, members: "ProcessGroup", group: ProcessGroupGloo) -> None:
        self.n_bytes = self.n_messages = 0
        self._members = members
        self._group = group
        self._tasks: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="communicator", daemon=True).start()

    def all_gather(self, row: NDArray[Any]) -> NDArray[Any]:
        """Give the rows of all members.

        Parameters
        ----------
        row : ndarray, shape (n,)
            Of the same type and length on every member.

        Returns
        -------
        rows : ndarray, shape (n_members, n)
        """
        # not gloo's allgather: that goes around a ring, and on 64 members waits for 63 messages one after the other
        size = self._members.size
        return self.all_to_all(np.tile(row, (size, 1)), [1] * size, [1] * size)

    def all_to_all(
        self, sent: NDArray[Any], to: Sequence[int], by: Sequence[int], out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Send each member its rows, and give those that came from each, one member after the other.

        Parameters
        ----------
        sent : ndarray, shape (sum(to), ...)
            C-contiguous.
        to, by : sequence of int, length n_members
            How many of the rows go to each, and how many come from each.
        out : ndarray, shape (sum(by), ...), optional

        Returns
        -------
        received : ndarray, shape (sum(by), ...)
            `sent` itself where there is no other member.
        """
        if self._members.size == 1 and out is None:
            self._members.check()
            return sent
        to, by = list(map(int, to)), list(map(int, by))
        out = np.empty((sum(by), *sent.shape[1:]), sent.dtype) if out is None else out
        received, outgoing = torch.from_numpy(out), torch.from_numpy(sent)
        self._run(lambda: self._group.alltoall_base(received, outgoing, by, to, AllToAllOptions()).wait())
        others = [n for rank, n in enumerate(to) if rank != self._members.rank]
        self._count(sum(others) * sent.itemsize * int(np.prod(sent.shape[1:])), sum(n > 0 for n in others))
        return out

    def fail(self) -> None:
        """Wake up who waits."""
        self._results.put(_FAILED)

    def _count(self, n_bytes: int, n_messages: int) -> None:
        self.n_bytes += n_bytes
        self.n_messages += n_messages

    def _run(self, task: Callable[[], Any]) -> None:
        self._members.check()
        self._tasks.put(task)
        result = self._results.get()
        if result is not None:
            raise self._members.explained(result)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception as error:
                self._results.put(error)
            else:
                self._results.put(None)


class ProcessGroup:
    """The members, in an order that all agree on.

    Parameters
    ----------
    names : sequence of str
        Of all members; the first one has the store.
    rank : int
        Which of them this process is.
    address : str
        Where the first member is reached.
    port : int
        Of the store. The connections between members take ports that the system chooses.
    facts : dict
        What has to be the same on every member, by name.
    interface : str, optional
        Network interface for the connections between members; by default the one on the way to the first member.
    wait : float
        Seconds to wait for members that are not there yet.
    silence : float
        See `SILENCE`.
    patience : float
        Seconds that one exchange may take: a member may have to wait for its data.
    should_stop : callable
        Polled while members are waited for.
    tell : callable
        Gets a sentence, every while, about who is waited for.

    Attributes
    ----------
    rank, size : int
    keys, rows : Communicator

    Raises
    ------
    ProcessGroupError
        A member did not come, or was lost.
    ConfigError
        A member has other facts.
    """

    def __init__(
        self,
        names: Sequence[str],
        rank: int,
        *,
        address: str,
        port: int,
        facts: dict[str, Any],
        interface: str | None = None,
        wait: float = 600.0,
        silence: float = SILENCE,
        patience: float = 86400.0,
        should_stop: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.names = tuple(names)
        self.rank = rank
        self.size = len(names)
        self._address, self._port, self._interface = address, port, interface
        self._silence = silence
        self._communicators: list[Communicator] = []
        self._failure: ProcessGroupError | None = None
        self._failed = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._said = False
        self._store: TCPStore
        self._in_thread(lambda: self._begin(facts, wait, should_stop, tell), wait + silence)
        self._watch = threading.Thread(target=self._watch_others, name="watch", daemon=True)
        self._watch.start()
        self.keys, self.rows = (self._communicator(name, interface, patience) for name in ("keys", "rows"))

    # --- the beginning ---

    def _in_thread(self, task: Callable[[], Any], seconds: float = float("inf")) -> Any:
        """Do what may wait for a lost member for good, as long as none is known to be lost."""
        made: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work() -> None:
            try:
                made.put((task(), None))
            except Exception as error:
                made.put((None, error))

        threading.Thread(target=work, name="begin", daemon=True).start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(queue.Empty):
                result, error = made.get(timeout=0.1)
                if error is not None:
                    raise error
                return result
        raise ProcessGroupError(
            f"host {self.names[0]} was lost before training: it does not answer on port {self._port}"
        )

    def _begin(
        self, facts: dict[str, Any], wait: float, should_stop: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        self._store = self._meet(wait, should_stop, tell)
        try:
            self._greet(facts, wait, should_stop, tell)
        except RuntimeError as error:
            raise ProcessGroupError(f"host {self.names[0]} was lost before training: {_first_line(error)}") from None

    def _meet(self, wait: float, should_stop: Callable[[], bool], tell: Callable[[str], None]) -> TCPStore:
        """Reach the first member's store, which may not be there, or known by name, yet."""
        started = time.monotonic()
        while True:
            try:
                return self._open_store() if self.rank == 0 else self._connect()
            except (RuntimeError, OSError) as error:
                waited = time.monotonic() - started
                if self.rank == 0:
                    raise ConfigError(
                        f"port {self._port}, where the other hosts would find this one, cannot be used "
                        f"({_first_line(error)}): set another one on every host"
                    ) from None
                if should_stop() or waited >= wait:
                    raise ProcessGroupError(
                        f"host {self.names[0]} did not answer on port {self._port} within {waited:.0f} s; "
                        "this host waited for it to begin training"
                    ) from None
                tell(f"Waiting for host {self.names[0]}: {waited:.0f} s so far, {wait:g} s at most")
                self._failed.wait(0.2)

    def _open_store(self) -> TCPStore:
        """Be the store, at the address of the job's interface and no other."""
        opened = listening(self.names[0], self._port, self._interface)
        self._address = opened.address
        return self._connect(master_listen_fd=opened.descriptor, is_master=True)

    def _connect(self, **options: Any) -> TCPStore:
        patience = datetime.timedelta(seconds=5)
        return TCPStore(self._address, self._port, timeout=patience, wait_for_workers=False, **options)

    def _greet(
        self, facts: dict[str, Any], wait: float, should_stop: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        """Wait for all ranks, and see that their facts agree."""
        store = self._store
        store.set(f"said/{self.rank}", "")
        store.set(f"beat/{self.rank}", "0")
        store.set(f"facts/{self.rank}", facts_text(facts))
        started = last = time.monotonic()
        while True:
            missing = [name for rank, name in enumerate(self.names) if not store.check([f"facts/{rank}"])]
            waited = time.monotonic() - started
            if not missing:
                break
            for rank, name in enumerate(self.names):
                if name not in missing and (text := store.get(f"said/{rank}")):
                    said = self._understood(rank, said_of, text)
                    self._leave(said)
                    raise ProcessGroupError(said.sentence, said.blame)
            if waited >= wait or should_stop():
                sentence = f"host {', '.join(missing)} did not join within {waited:.0f} s; training has not begun"
                self._leave(Said(sentence))
                raise ProcessGroupError(sentence)
            if time.monotonic() - last > _REPORT:
                last = time.monotonic()
                tell(f"Waiting for host {', '.join(missing)}: {waited:.0f} s so far, {wait:g} s at most")
            self._failed.wait(0.05)
        of_first = self._understood(0, facts_of, store.get("facts/0"))
        for rank, name in enumerate(self.names):
            theirs = self._understood(rank, facts_of, store.get(f"facts/{rank}"))
            other = [key for key in of_first | theirs if of_first.get(key) != theirs.get(key)]
            if other:
                told = ", ".join(
                    f"{printable(str(key), 80)} is {printable(str(theirs.get(key)), 200)} on {name} and "
                    f"{printable(str(of_first.get(key)), 200)} on {self.names[0]}" for key in other[:5]
                )  # fmt: skip
                self._leave(Said(""))
                raise ConfigError(
                    f"hosts {name} and {self.names[0]} disagree: {told}; all hosts of a job need the same version and "
                    "hyperparameters"
                )

    def _understood(self, rank: int, read: Callable[[bytes], _Read], text: bytes) -> _Read:
        """What a member said, or that it is lost: nobody of this program says anything else."""
        try:
            return read(text)
        except ValueError as error:
            sentence = self._not_understood(rank, error)
            self._leave(Said(sentence))
            raise ProcessGroupError(sentence) from None

    def _not_understood(self, rank: int, error: Exception) -> str:
        return (
            f"host {self.names[rank]} was lost: what stands in its place at port {self._port} is not of this program "
            f"({printable(_first_line(error), 200)})"
        )

    def _communicator(self, name: str, interface: str | None, patience: float) -> Communicator:
        options = ProcessGroupGloo._Options()
        options._devices = [
            ProcessGroupGloo.create_device(interface=interface)
            if interface
            else ProcessGroupGloo.create_device(hostname=self._own_address())
        ]
        options._timeout = datetime.timedelta(seconds=patience)
        try:
            group = self._in_thread(
                lambda: ProcessGroupGloo(PrefixStore(name, self._store), self.rank, self.size, options)
            )
        except RuntimeError as error:
            raise self.explained(error) from None
        communicator = Communicator(self, group)
        with self._lock:
            self._communicators.append(communicator)
        return communicator

    def _own_address(self) -> str:
        """The address of this machine that is on the way to the first member."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting it sends nothing
            probe.connect((self.names[0] if self.rank == 0 else self._address, self._port))
            return str(probe.getsockname()[0])

    # --- who is there ---

    def check(self) -> None:
        """Raise ProcessGroupError if a member is known to be lost."""
        if self._failure is not None:
            raise self._failure

    def explained(self, error: Any) -> ProcessGroupError:
        """The reason of an exchange that failed: which member was lost, as soon as it is known."""
        if error is not _FAILED:
            self._failed.wait(self._silence + 10)
        if self._failure is not None:
            return self._failure
        return ProcessGroupError(
            f"communication failed although every host still sends heartbeats: {_first_line(error)}"
        )

    def _watch_others(self) -> None:
        changed = dict.fromkeys(range(self.size), time.monotonic())
        seen: dict[int, bytes] = {}
        ticked = [time.monotonic()]
        if self.rank != 0:  # a store that hangs would hold up this thread for good
            threading.Thread(target=self._watch_store, args=(ticked,), name="watch store", daemon=True).start()
        beats = [f"beat/{rank}" for rank in range(self.size)]
        words = [f"said/{rank}" for rank in range(self.size)]
        n = rank = 0
        try:
            store = self._connect()
            while not self._ended.wait(_BEAT):
                n += 1
                store.set(beats[self.rank], str(n))
                found = store.multi_get(beats + words)
                ticked[0] = now = time.monotonic()
                for rank in range(self.size):
                    beat, said = found[rank], found[self.size + rank]
                    if beat != seen.get(rank):
                        seen[rank], changed[rank] = beat, now
                    if rank == self.rank:
                        continue
                    if said:
                        self._hear(said_of(said))
                    elif now - changed[rank] > self._silence:
                        self._lose(rank, now - changed[rank])
        except ValueError as error:
            self._fail(Said(self._not_understood(rank, error)))
        except Exception:  # the connection to the store broke
            if not self._ended.is_set():
                self._lose(0, time.monotonic() - ticked[0])

    def _watch_store(self, ticked: list[float]) -> None:
        while not self._ended.wait(_BEAT):
            silent = time.monotonic() - ticked[0]
            if silent > self._silence:
                self._lose(0, silent)
                return

    def _lose(self, rank: int, silent: float) -> None:
        moment = datetime.datetime.fromtimestamp(time.time() - silent, datetime.UTC)
        sentence = f"host {self.names[rank]} was lost: no sign of life since {moment:%Y-%m-%d %H:%M:%S} UTC"
        self._fail(Said(sentence))

    def _hear(self, said: Said) -> None:
        if said.sentence:
            self._fail(said)

    def _fail(self, said: Said) -> None:
        with self._lock:
            if self._failure is None and not self._ended.is_set():
                self._failure = ProcessGroupError(said.sentence, said.blame)
                self._failed.set()
                for communicator in self._communicators:
                    communicator.fail()

    # --- the end ---

    def leave(self, sentence: str = "", blame: str | None = None) -> None:
        """Tell the others that this member goes, and wait a while until they have heard it.

        A process that has been in one ends by `os._exit`, as `train` does: PyTorch aborts one that ends as Python does
        while one of its threads still waits, now and then.

        Parameters
        ----------
        sentence : str
            Why, where it was not to be expected: every other member fails with it.
        blame : str, optional
            Handed on with the sentence.
        """
        if self._failure is not None:  # the first reason is everybody's
            sentence, blame = str(self._failure), self._failure.blame
        elif sentence:
            sentence = f"host {self.names[self.rank]} failed: {sentence}"
        said = Said(sentence, blame)
        self._ended.set()
        done = threading.Event()

        def say() -> None:  # in a thread: the store may hang
            with contextlib.suppress(RuntimeError):
                self._leave(said)
            done.set()

        threading.Thread(target=say, name="farewell", daemon=True).start()
        done.wait(_FAREWELL + 5)
        # Python's end would unwind a thread that is in PyTorch then, and that aborts the process
        self._watch.join(2 * _BEAT)

    def _leave(self, said: Said) -> None:
        """Say it; the first member, whose process has the store, stays until all have spoken, or time is up."""
        if self._said:
            return
        self._said = True
        self._store.set(f"said/{self.rank}", said_text(said))
        if self.rank == 0:
            deadline = time.monotonic() + _FAREWELL
            words = [f"said/{rank}" for rank in range(self.size)]
            while time.monotonic() < deadline:
                present = [word for word in words if self._store.check([word])]
                if all(map(_is_word, self._store.multi_get(present))):
                    return
                self._failed.wait(0.05) if not self._failed.is_set() else time.sleep(0.05)


def _is_word(text: bytes) -> bool:
    try:
        said_of(text)
    except ValueError:
        return False
    return True


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
