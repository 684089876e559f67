"""A simulation of several hosts: threads that share processors, messages that share links.

    python benchmarks/simulation.py

Each host has one thread that reads and plans ahead and one that trains, as in fm_core/cluster. They compute, and meet
the other hosts' threads in exchanges, where the first one waits for the last. Time advances from event to event.
Between two events everything proceeds at a constant speed:

- computing, at the speed of one processor, or less if more threads than processors want to compute;
- a message, at the bandwidth of the sender's link or the receiver's, whichever has less left. Messages share a link
  evenly. A link may pass a burst before its limit holds, like the token buckets of `tc`, and refills its bucket while
  it is idle;
- the overhead of an exchange: processor time on both sides, per message and per byte.

A message starts when its sender is ready and has heard that the receiver is; each notice takes one latency.

`benchmarks/cluster.py --links` measures or counts the inputs: seconds of processor time, and bytes. Two numbers are
fitted to its steps over links without a limit: the share of the machine's processors that the hosts got, and how long
it takes to wake a thread. Run as a script, the simulation shows its steps next to all measured ones, and then predicts
more hosts on faster networks, each with processors of its own.
"""

import dataclasses
import functools
import itertools
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import traffic

__all__ = ["FEW", "RECORD", "Counted", "Links", "Processors", "Recorded", "Work", "fitted", "seconds_of_a_step"]

#: What `benchmarks/cluster.py --links` keeps.
RECORD = Path(__file__).with_name("results") / "links.json"
#: The burst that passes a link that `tc` limits.
BURST = 256 * 1024

#: Bytes a second of a message that nothing limits but memory.
_UNLIMITED = 4e9
#: Steps that may be planned ahead: fm_core.training.prefetch.DEPTH.
_DEPTH = 4
_NEVER = math.inf
#: Hosts that are simulated one by one.
FEW = 4
#: What part of a thread's computing lies before, between and behind its exchanges; measured by kernel.
_PLAN = (0.25, 0.2, 0.55)
_BY_SUMS = (0.35, 0.1, 0.55)
_BY_ROWS = (0.2, 0.2, 0.2, 0.4)
#: Seconds of processor time of an exchange, whatever its length.
_EXCHANGE = 120e-6
#: Bytes on the wire for each that is sent: headers of TCP, IP and Ethernet, of packets of 1,500 bytes.
_ON_THE_WIRE = 1514 / 1448
#: Seconds that are none: events so close are one.
_SAME = 1e-9

Waits = Generator[tuple[Any, ...], None, None]


@dataclasses.dataclass(frozen=True)
class Links:
    """The link of each host.

    Attributes
    ----------
    bandwidth : float
        Bytes a second, in each direction at once.
    latency : float
        Seconds until a message of no length has arrived.
    burst : float
        Bytes that pass before the bandwidth is limited.
    """

    bandwidth: float = math.inf
    latency: float = 0.0
    burst: float = 0.0


#: The links that were tried, by what `tc` calls their rate.
LINKS = {
    "none": Links(),
    "1gbit": Links(1e9 / 8, burst=BURST),
    "200mbit": Links(2e8 / 8, burst=BURST),
}


@dataclasses.dataclass(frozen=True)
class Processors:
    """What threads run on.

    Attributes
    ----------
    number : float
    are_shared : bool
        Whether all hosts are on one machine and have these together; otherwise each has as many of its own.
    """

    number: float = 4
    are_shared: bool = False


@dataclasses.dataclass(frozen=True)
class Work:
    """What a host does in a step.

    Attributes
    ----------
    plan : sequence of float
        Seconds of computing of the reading thread: before the first exchange, between two, and after the last.
    learn : sequence of float
        The same of the thread that learns.
    keys, rows : sequence of float
        Bytes that a host sends to each other one, in each exchange of the two threads.
    exchange : float
        Seconds of processor time that an exchange takes on each host, by a third thread.
    byte : float
        Seconds of processor time for each byte that a host sends or receives.
    steps : int
        Steps of an epoch: at its end nothing is planned ahead.
    """

    plan: Sequence[float]
    learn: Sequence[float]
    keys: Sequence[float]
    rows: Sequence[float]
    exchange: float = 0.0
    byte: float = 0.0
    steps: int = 24


@dataclasses.dataclass(frozen=True)
class Counted:
    """What is measured and counted of a step of hosts by sums (fm_core/cluster/summed.py), or by rows.

    Attributes
    ----------
    learn, plan, work : float
        Seconds of processor time: of the thread that learns, of the one that plans, and of all threads of a host.
    agreement, keys : float
        Bytes that a host sends to all others: to agree on the step, and what it sends ahead besides.
    rows : sequence of float
        The same of each exchange of the thread that learns.
    """

    learn: float
    plan: float
    work: float
    agreement: float
    keys: float
    rows: Sequence[float]

    def work_of(self, size: int, steps: int = 24) -> Work:
        """Share seconds and bytes out to what a host does one after the other.

        Parameters
        ----------
        size : int
            Hosts.
        steps : int
            Of an epoch.
        """
        n_exchanges = 2 + len(self.rows)
        n_bytes = 2 * (self.agreement + self.keys + sum(self.rows))
        rest = max(0.0, self.work - self.learn - self.plan)
        exchange = min(_EXCHANGE, rest / n_exchanges)
        others = size - 1
        return Work(
            plan=[self.plan * part for part in _PLAN],
            learn=[self.learn * part for part in (_BY_SUMS if len(self.rows) == 2 else _BY_ROWS)],
            keys=[_ON_THE_WIRE * each / others for each in (self.agreement, self.keys)],
            rows=[_ON_THE_WIRE * each / others for each in self.rows],
            exchange=exchange,
            byte=(rest - n_exchanges * exchange) / n_bytes / _ON_THE_WIRE,
            steps=steps,
        )


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What was measured of a step of hosts that share one machine, over links of one kind.

    Attributes
    ----------
    k, size : int
        num_factors, and hosts: 0 is plain `fit`, and 1 a group of one.
    link : str
        One of `LINKS`.
    steps : int
        Of an epoch.
    step : float
        Seconds.
    learn, plan, work, keys, rows : float
        As of `Counted`, by the host that sends most; `keys` with the agreement.
    """

    k: int
    size: int
    link: str
    steps: int
    step: float
    learn: float
    plan: float
    work: float
    keys: float
    rows: float

    def simulated(self, of: "Recorded", processors: float, latency: float) -> float:
        """Give the seconds of a step, from the processor time that the same hosts took without a limit."""
        agreement = 8.0 * (2 * self.size + traffic.FACTS) * (self.size - 1)
        counted = Counted(of.learn, of.plan, of.work, agreement, self.keys - agreement, [self.rows / 2] * 2)
        links = dataclasses.replace(LINKS[self.link], latency=latency)
        return seconds_of_a_step(
            counted.work_of(self.size, self.steps), self.size, links, Processors(processors, are_shared=True)
        )


@functools.cache
def record() -> dict[tuple[int, int, str], Recorded]:
    """What was measured, by num_factors, hosts and link."""
    found = [Recorded(**each) for each in json.loads(RECORD.read_text())]
    return {(each.k, each.size, each.link): each for each in found}


@functools.cache
def fitted() -> tuple[float, float]:
    """Fit processors and latency to the steps without a limit; give them."""
    free = [each for (_, size, link), each in record().items() if size > 1 and link == "none"]

    def error(pair: tuple[float, float]) -> float:
        return sum(math.log(each.simulated(each, *pair) / each.step) ** 2 for each in free)

    return min(itertools.product([1.1 + 0.1 * i for i in range(10)], [2e-4 * i for i in range(6)]), key=error)


def seconds_of_a_step(work: Work, size: int, links: Links, processors: Processors) -> float:
    """Give the mean time of the steps of an epoch: of the second one where links may pass a burst at first.

    Parameters
    ----------
    work : Work
        Of each host; all have the same.
    size : int
        Hosts.
    links : Links
    processors : Processors
    """
    if size > FEW and not processors.are_shared:
        # alike, on processors of their own: what one does with many it would do with one who sends as much as those
        both = {name: [(size - 1) * each for each in getattr(work, name)] for name in ("keys", "rows")}
        work, size = dataclasses.replace(work, **both), 2
    ends = [0.0, *_Simulation(work, size, links, processors).run(2 if links.burst else 1)]
    return (ends[-1] - ends[-2]) / work.steps


@dataclasses.dataclass(eq=False)
class _Thread:
    """A thread: what it does next, and what it waits for."""

    host: int
    does: Waits
    left: float = 0.0  # seconds of computing


@dataclasses.dataclass(eq=False)
class _Message:
    sender: int
    receiver: int
    left: float
    meeting: "_Exchange"


@dataclasses.dataclass(eq=False)
class _Exchange:
    """One meeting of all hosts: how much of it is still to be done, for each."""

    came: dict[int, _Thread] = dataclasses.field(default_factory=dict)
    open_parts: dict[int, int] = dataclasses.field(default_factory=dict)


class _Link:
    """One direction of a host's link."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.tokens = links.burst
        self.n = 0
        self.used = 0.0

    @property
    def capacity(self) -> float:
        return _UNLIMITED if self.tokens > 1 else min(_UNLIMITED, self.links.bandwidth)

    def until_empty(self) -> float:
        drains = self.used - self.links.bandwidth
        return self.tokens / drains if self.tokens > 1 and drains > 1 else _NEVER

    def passes(self, seconds: float) -> None:
        if self.links.bandwidth != math.inf:
            self.tokens += (self.links.bandwidth - self.used) * seconds
            self.tokens = min(max(self.tokens, 0.0), self.links.burst)


class _Simulation:
    def __init__(self, work: Work, size: int, links: Links, processors: Processors) -> None:
        self._work, self._size, self._links, self._processors = work, size, links, processors
        self._now = 0.0
        self._computing: list[_Thread] = []
        self._messages: list[_Message] = []
        self._up = [_Link(links) for _ in range(size)]
        self._down = [_Link(links) for _ in range(size)]
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._exchanges: dict[tuple[str, int], _Exchange] = defaultdict(_Exchange)
        self._planned = [0] * size
        self._waits_for_plan: dict[int, _Thread] = {}
        self._waits_for_room: dict[int, _Thread] = {}
        self._ends: list[float] = []

    # --- what threads do ---

    def _reader(self, host: int) -> Waits:
        work = self._work
        for step in range(work.steps):
            for i, seconds in enumerate(work.plan):
                yield "compute", seconds
                if i < len(work.keys):
                    yield "exchange", "keys", step * len(work.keys) + i, work.keys[i]
            while self._planned[host] >= _DEPTH:
                yield ("room",)
            self._planned[host] += 1
            self._resume(self._waits_for_plan, host)
        # that nobody has rows left
        yield "exchange", "keys", work.steps * len(work.keys), work.keys[0]

    def _learner(self, host: int) -> Waits:
        work = self._work
        for step in range(work.steps):
            while not self._planned[host]:
                yield ("plan",)
            self._planned[host] -= 1
            self._resume(self._waits_for_room, host)
            for i, seconds in enumerate(work.learn):
                yield "compute", seconds
                if i < len(work.rows):
                    yield "exchange", "rows", step * len(work.rows) + i, work.rows[i]
        yield "exchange", "rows", work.steps * len(work.rows), 64.0  # the epoch's metrics

    def _resume(self, waiting: dict[int, _Thread], host: int) -> None:
        if host in waiting:
            self._go_on(waiting.pop(host))

    def _go_on(self, thread: _Thread) -> None:
        wish = next(thread.does, None)
        if wish is None:
            return
        what, *of_it = wish
        if what == "compute":
            thread.left = of_it[0]
            self._computing.append(thread)
        elif what == "exchange":
            self._come(thread, *of_it)
        else:
            (self._waits_for_plan if what == "plan" else self._waits_for_room)[thread.host] = thread

    def _come(self, thread: _Thread, name: str, number: int, n_bytes: float) -> None:
        meeting, host, size, latency = self._exchanges[name, number], thread.host, self._size, self._links.latency
        # a part for what the processor does, and one for each message to or from another
        meeting.open_parts[host] = 1 + 2 * (size - 1)
        job = self._work.exchange + 2 * n_bytes * (size - 1) * self._work.byte
        self._computing.append(_Thread(host, self._done(meeting, host), job))
        for other in meeting.came:
            # who came first has told so; who comes now has still to tell it
            self._send_after(latency, _Message(other, host, n_bytes, meeting))
            self._send_after(0.0, _Message(host, other, n_bytes, meeting))
        meeting.came[host] = thread

    def _done(self, meeting: _Exchange, host: int) -> Waits:
        self._less_open(meeting, host)
        return
        yield

    def _send_after(self, seconds: float, message: _Message) -> None:
        self._after(seconds, lambda: self._messages.append(message))

    def _after(self, seconds: float, does: Callable[[], None]) -> None:
        self._timers.append((self._now + seconds, does))

    def _less_open(self, meeting: _Exchange, host: int) -> None:
        meeting.open_parts[host] -= 1
        if meeting.open_parts[host] == 0:
            self._go_on(meeting.came[host])

    # --- how time passes ---

    def run(self, epochs: int) -> list[float]:
        """Run epochs; give when each ended."""
        for _ in range(epochs):
            self._exchanges.clear()
            self._planned = [0] * self._size
            for host in range(self._size):
                for does in (self._reader, self._learner):
                    self._go_on(_Thread(host, does(host)))
            while self._advance():
                pass
            self._ends.append(self._now)
        return self._ends

    def _advance(self) -> bool:
        speeds = self._speeds()
        rates = self._rates()
        spans = [thread.left / speed for thread, speed in zip(self._computing, speeds, strict=True)]
        spans += [message.left / rate for message, rate in zip(self._messages, rates, strict=True)]
        spans += [at - self._now for at, _ in self._timers]
        if not spans:
            return False
        spans += [link.until_empty() for link in (*self._up, *self._down)]
        span = max(0.0, min(spans))
        self._now += span
        for thread, speed in zip(self._computing, speeds, strict=True):
            thread.left -= speed * span
        for message, rate in zip(self._messages, rates, strict=True):
            message.left -= rate * span
        for link in (*self._up, *self._down):
            link.passes(span)
        self._end_what_is_over(dict(zip(map(id, self._messages), rates, strict=True)))
        return True

    def _end_what_is_over(self, rates: dict[int, float]) -> None:
        timers = [does for at, does in self._timers if at <= self._now + _SAME]
        self._timers = [timer for timer in self._timers if timer[0] > self._now + _SAME]
        messages = [each for each in self._messages if each.left <= rates[id(each)] * _SAME]
        over = {id(each) for each in messages}
        self._messages = [each for each in self._messages if id(each) not in over]
        threads = [each for each in self._computing if each.left <= _SAME]
        self._computing = [each for each in self._computing if each.left > _SAME]
        for does in timers:
            does()
        for message in messages:
            self._less_open(message.meeting, message.sender)
            arrives = message.meeting, message.receiver
            self._after(self._links.latency, lambda arrives=arrives: self._less_open(*arrives))  # type: ignore[misc]
        for thread in threads:
            self._go_on(thread)

    def _speeds(self) -> list[float]:
        number, are_shared = self._processors.number, self._processors.are_shared
        n: dict[int, int] = defaultdict(int)
        for thread in self._computing:
            n[0 if are_shared else thread.host] += 1
        return [min(1.0, number / n[0 if are_shared else thread.host]) for thread in self._computing]

    def _rates(self) -> list[float]:
        for link in (*self._up, *self._down):
            link.n, link.used = 0, 0.0
        for message in self._messages:
            self._up[message.sender].n += 1
            self._down[message.receiver].n += 1
        rates = []
        for message in self._messages:
            up, down = self._up[message.sender], self._down[message.receiver]
            rate = min(up.capacity / up.n, down.capacity / down.n)
            up.used += rate
            down.used += rate
            rates.append(rate)
        return rates


# ---------------------------------------------------------------- what is printed


def main() -> None:
    from benchmarks.common import describe, table

    describe("A simulation of several hosts")
    processors, latency = fitted()
    print("## A step of hosts on one machine: measured, and simulated; ms\n")
    print(
        f"Fitted to the first column: {processors:.1f} processors for all, {latency * 1e3:.1f} ms until a message "
        "is there. Nothing else is fitted.\n"
    )
    cases = sorted({(k, size) for k, size, _ in record() if size > 1})
    rows = []
    for k, size in cases:
        line = [f"k {k}, {size} hosts"]
        for link in LINKS:
            each = record()[k, size, link]
            found = each.simulated(record()[k, size, "none"], processors, latency)
            line += [f"{each.step * 1e3:.1f}", f"{found * 1e3:.1f}", f"{found / each.step:.2f} x"]
        rows.append(line)
    table(["", *(word for link in LINKS for word in (link, "simulated", "of it"))], rows)
    ks = sorted({k for k, _ in cases})
    print("## Simulated: mini_batch_size 1,000 on each host, ms a step, and rows a second against one host\n")
    print("Each host has 4 processors and a link of its own; a message takes 50 us.\n")
    speeds = [10, 25, 100]
    table(
        ["", "MB a host", *(f"{gigabits} Gb/s" for gigabits in speeds)],
        [
            [
                f"k {k}, {size} host{'s' * (size > 1)}",
                f"{_sent(k, size).total / 1e6:.2f}",
                *(f"{s * 1e3:.2f} ms, {size * _one(k) / s:.1f} x"
                  for s in (predicted(k, size, gigabits) for gigabits in speeds)),
            ]
            for k in ks
            for size in (1, 2, 4, 8, 16, 32, 64)
        ],
    )  # fmt: skip


def _sent(k: int, size: int) -> traffic.Sent:
    """What a host sends for 1,000 rows of `ctr`: 39 entries each, 7,718 distinct features."""
    return traffic.expected(7718, k, size, 1000, 39_000)


def _one(k: int) -> float:
    """Seconds of a step of one host: the busier of its two threads."""
    alone = record()[k, 0, "none"]
    return max(alone.learn, alone.work - alone.learn)


def predicted(k: int, size: int, gigabits: float, latency: float = 50e-6) -> float:
    """Seconds of a step of hosts with processors and links of their own."""
    if size == 1:
        return _one(k)
    sent = _sent(k, size)
    agreement = 8.0 * (2 * size + traffic.FACTS) * (size - 1)
    by_sums = sent.row_messages == 2 * (size - 1)
    # by rows a host computes what a group of one does; by sums what was measured of 2 to 4
    like = record()[k, min(size, 4) if by_sums else 1, "none"]
    of_w0 = 8.0 * (size - 1)
    rows = [sent.rows / 2] * 2 if by_sums else [(sent.rows - of_w0) / 2, of_w0, (sent.rows - of_w0) / 2]
    n_bytes, n_exchanges = 2 * sent.total, 2 + len(rows)
    work = like.learn + like.plan + n_exchanges * _EXCHANGE + n_bytes * _seconds_a_byte()
    counted = Counted(like.learn, like.plan, work, agreement, sent.keys - agreement, rows)
    return seconds_of_a_step(counted.work_of(size), size, Links(gigabits * 1e9 / 8, latency), Processors())


@functools.cache
def _seconds_a_byte() -> float:
    """Processor time of a byte that is sent or received: the median of what was measured without a limit."""
    return statistics.median(
        (each.work - each.learn - each.plan - 4 * _EXCHANGE) / (2 * (each.keys + each.rows))
        for (_, size, rate), each in record().items()
        if size > 1 and rate == "none"
    )


if __name__ == "__main__":
    main()
