"""Hosts that meet at the board of the first, with real sockets, as threads of one process; and how it judges them."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fm_core.cluster.board import GONE, SILENCE, Board
from fm_core.cluster.presence import Presence
from fm_core.cluster.words import Notice, Said
from fm_core.errors import ConfigError, ProcessGroupError
from tests.contract.serving import free_port

NAMES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


class Clock:
    """Seconds as the test has them."""

    longest_pause = 0.0
    now = 0.0

    def __call__(self):
        return self.now


class Cluster:
    """The presences of some hosts, and what each of them met."""

    def __init__(self):
        self.port = free_port()
        self.stops = [threading.Event() for _ in NAMES]
        self.told = []

    def host(self, rank, facts=None, wait=20, names=NAMES, **further):
        return Presence(
            names, rank, port=self.port, facts={"a": 1} if facts is None else facts, wait=wait,
            should_stop=self.stops[rank].is_set, on_stop=self.stops[rank].set, tell=self.told.append, **further,
        )  # fmt: skip


def ends_of(tasks):
    """Run tasks at once, and give what each returned, or the error it raised."""

    def run(task):
        try:
            return task()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def lives(cluster, rank, load=lambda: True, before=lambda: None, **given):
    """What a host does from its start to its end."""

    def task():
        before()
        host = cluster.host(rank, **given)
        try:
            return host.meet() and host.begin(load)
        except Exception as error:
            host.leave(f"its own {error}")
            raise
        finally:
            host.leave()

    return task


def test_all_meet_and_begin():
    cluster = Cluster()
    assert ends_of([lives(cluster, rank) for rank in range(3)]) == [True] * 3


def test_a_host_with_other_facts_is_named_by_all():
    cluster = Cluster()
    found = ends_of([lives(cluster, rank, facts={"a": 1 + (rank == 2)}) for rank in range(3)])
    for error in found:
        assert isinstance(error, ProcessGroupError)
        assert error.blame == "ClientError"
        assert str(error).startswith("hosts 127.0.0.3 and 127.0.0.1 disagree: a is 2 on 127.0.0.3 and 1 on 127.0.0.1")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_host_that_fails_before_it_meets_the_others_is_told_to_all_who_wait(rank):
    cluster, started = Cluster(), time.monotonic()

    def fails():
        cluster.host(rank, facts=None).leave("ClientError: no data", "ClientError")

    found = ends_of([fails if each == rank else lives(cluster, each) for each in range(3)])
    for error in found[:rank] + found[rank + 1 :]:
        assert str(error) == f"host {NAMES[rank]} failed: ClientError: no data"
        assert error.blame == "ClientError"
    assert time.monotonic() - started < 5


def test_who_does_not_come_is_named_by_all_at_once():
    """Also by a host that has itself waited for a moment only."""
    cluster = Cluster()
    found = ends_of([lives(cluster, 0, wait=1.0), lives(cluster, 1, wait=500)])
    assert [str(error) for error in found] == ["host 127.0.0.3 did not join within 1 s; training has not begun"] * 2


@pytest.mark.parametrize("loads", [0.0, 3.0])
@pytest.mark.parametrize("asked", [0, 2])
def test_a_stop_before_all_are_ready_is_a_stop_for_all(asked, loads):
    """While they meet, and while they load what they need."""
    cluster, started = Cluster(), time.monotonic()

    def load():
        if loads:
            cluster.stops[asked].set()
        time.sleep(loads)
        return True

    if not loads:
        cluster.stops[asked].set()
    assert ends_of([lives(cluster, rank, load) for rank in range(3)]) in ([None] * 3, [False] * 3)
    assert all(stop.is_set() for stop in cluster.stops)
    assert time.monotonic() - started < 3 + loads


def test_a_host_that_was_asked_to_stop_does_not_wait_for_the_first():
    cluster, started = Cluster(), time.monotonic()
    cluster.stops[1].set()
    assert ends_of([lives(cluster, 1)]) == [False]
    assert time.monotonic() - started < 10


FIRST = """
import sys, threading
from fm_core.cluster.presence import Presence
stop = threading.Event()
host = Presence(sys.argv[2:], 0, port=int(sys.argv[1]), facts={"a": 1}, should_stop=stop.is_set)
assert host.meet()
stop.set()
assert host.begin(threading.Event().wait) is None
host.leave()
"""


def test_a_host_that_knows_of_the_stop_does_not_wait_for_a_first_one_that_has_left():
    cluster = Cluster()
    with subprocess.Popen([sys.executable, "-c", FIRST, str(cluster.port), *NAMES]) as first:
        hosts = [cluster.host(rank) for rank in (1, 2)]
        assert all(ends_of([one.meet for one in hosts]))
        assert first.wait(20) == 0  # it leaves as soon as the others have heard, and its port is closed
    assert all(stop.is_set() for stop in cluster.stops[1:])
    started = time.monotonic()
    ends_of([one.leave for one in hosts])
    assert time.monotonic() - started < 5  # not the 10 s that a farewell may take


def test_what_fails_while_it_is_loaded_is_told_to_all():
    cluster = Cluster()

    def load():
        raise ConfigError("no PyTorch")

    found = ends_of([lives(cluster, rank, load if rank == 1 else lambda: True) for rank in range(3)])
    assert str(found[1]) == "no PyTorch"
    assert {str(found[0]), str(found[2])} == {"host 127.0.0.2 failed: its own no PyTorch"}


def test_a_name_that_is_not_known_is_told():
    cluster = Cluster()
    found = ends_of([lives(cluster, 1, wait=3.0, names=["no.such.host.invalid", "127.0.0.2"])])
    assert "host no.such.host.invalid did not answer" in str(found[0])
    assert "its name cannot be resolved" in str(found[0])
    assert "its name cannot be resolved" in cluster.told[0]


def test_texts_are_found_by_all():
    cluster = Cluster()

    def task(rank):
        host = cluster.host(rank)
        host.meet()
        host.texts({f"a/{rank}": f"{rank}"}, "")
        found = {}
        while len(found) < 3:
            found = host.texts({}, "a/")
        host.leave()
        return found

    assert ends_of([lambda rank=rank: task(rank) for rank in range(3)]) == [{"a/0": "0", "a/1": "1", "a/2": "2"}] * 3


# --- who is slow, and who is gone ----------------------------------------------------------------


def board(clock, **given):
    made = Board(NAMES, clock, wait=600, **given)
    for rank in range(3):
        made.take(Notice(rank, f"p{rank}", {}, is_ready=True))
    return made


def beat(made, *ranks):
    return [made.take(Notice(rank, f"p{rank}", is_ready=True)) for rank in ranks]


def test_a_host_that_is_silent_for_less_than_promised_is_slow_and_for_longer_gone():
    clock = Clock()
    made = board(clock)
    assert all(answer.has_begun for answer in beat(made, 0, 1, 2))
    clock.now = SILENCE + 6
    assert [answer.verdict for answer in beat(made, 0, 1, 2)] == [None] * 3
    clock.now += GONE + 1
    sentences = [answer.verdict.sentence for answer in beat(made, 1, 0)]
    assert sentences[0] == sentences[1]
    assert sentences[0].startswith("host 127.0.0.3 was lost: no heartbeat since")


def test_a_host_that_has_left_is_not_lost():
    clock = Clock()
    made = board(clock)
    made.take(Notice(2, "p2", is_ready=True, said=Said("")))
    clock.now = 10 * GONE
    assert [answer.verdict for answer in beat(made, 1, 0)] == [None] * 2


def test_a_first_host_that_stood_still_for_too_long_says_that_of_itself():
    clock = Clock()
    made = board(clock)
    clock.longest_pause = GONE + 5
    [answer] = beat(made, 0)
    assert (
        answer.verdict.sentence
        == "host 127.0.0.1 was lost: it was paused for 33 s, and the other hosts no longer wait for it"
    )


def test_another_process_in_a_hosts_place_is_not_heard():
    made = board(Clock())
    with pytest.raises(ValueError, match="another process"):
        made.take(Notice(1, "other", said=Said("owned")))
    assert beat(made, 0)[0].verdict is None


def test_a_second_process_in_a_hosts_place_does_not_hear_in_place_of_it():
    made = Board(NAMES, Clock(), wait=600)
    made.take(Notice(1, "first", {}))
    assert made.take(Notice(1, "second", {})).verdict.sentence.startswith("two processes claim to be host 127.0.0.2")
    assert not made.is_heard_by_all(those_to_come=False)
    made.take(Notice(1, "first", {}))
    assert made.is_heard_by_all(those_to_come=False)


def test_texts_beyond_what_hosts_write_are_refused():
    made = board(Clock())
    with contextlib.suppress(ValueError):
        for n in range(1000):
            made.take(Notice(1, "p1", put={f"{n}": "x"}))
    assert len(beat(made, 1)) == 1
    assert len(made.take(Notice(1, "p1", wants="")).texts) == 0
    assert n < 100


def threads_of_boards():
    return sum(thread.name == "board" for thread in threading.enumerate())


@pytest.mark.parametrize("said", [b"", b"{", b'{"rank": 1, ' + b" " * 100_000, b"no word\n"])
def test_connections_that_stay_open_take_nothing_from_the_hosts(said):
    """A thousand of them; hosts have come before, and come after."""
    cluster = Cluster()
    before = threads_of_boards()
    with contextlib.ExitStack() as stack:
        first, second = (cluster.host(rank) for rank in (0, 1))
        for presence in (first, second):
            stack.callback(presence.leave)
        for _ in range(1000):
            with contextlib.suppress(OSError):  # of those that are closed while they are being made
                stranger = stack.enter_context(socket.create_connection(("127.0.0.1", cluster.port), 5))
                stranger.sendall(said)
        third = cluster.host(2)
        stack.callback(third.leave)
        assert ends_of([first.meet, second.meet, third.meet]) == [True, True, True]
        assert threads_of_boards() - before < 100
        for presence in (first, second, third):
            presence.check()


SLEEPER = """
import time
from fm_core.cluster.awake import AwakeClock
clock = AwakeClock()
for _ in range(2):
    input()
    print(clock(), clock.longest_pause, flush=True)
"""


def test_the_clock_stands_still_while_the_process_does():
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def read():
            process.stdin.write("\n")
            process.stdin.flush()
            return map(float, process.stdout.readline().split())

        before, _ = read()
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        after, pause = read()
    assert after - before < 2.5
    assert pause > 2.5
