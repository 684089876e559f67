"""A network of hosts: a namespace for each, joined by a bridge, with links that can be cut, slowed and delayed.

It needs root and the kernel's namespaces; without them, `is_possible` is false. It changes nothing outside the
namespaces that it creates. A program, delay.c, delays links, because not every kernel has tc's netem; it needs a C
compiler and /dev/net/tun.
"""

import atexit
import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Network", "is_possible"]

#: Where the hosts are, within their network.
_ADDRESS = "10.213.7.{}"


def run(command: Sequence[str]) -> None:
    """Run a command.

    Raises
    ------
    OSError
        It fails, or there is none.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _ip(*words: str, within: str = "") -> None:
    run(["ip", *(["netns", "exec", within, "ip"] if within else []), *words])


@functools.cache
def is_possible() -> bool:
    """Whether such a network can be made here."""
    try:
        with Network(1):
            return True
    except OSError:
        return False


class Network:
    """So many namespaces, as a context.

    Parameters
    ----------
    size : int
    microseconds : int
        What a frame takes from a host to the bridge, and from there to a host: half of what it takes between two hosts.

    Attributes
    ----------
    names : list of str
        Of the namespaces.
    addresses : list of str
        Of the hosts in them.
    """

    def __init__(self, size: int, microseconds: int = 0) -> None:
        self._microseconds = microseconds
        self._wires: list[subprocess.Popen[str]] = []
        self._hub = f"fm{os.getpid()}hub"
        self.names = [f"fm{os.getpid()}h{rank}" for rank in range(size)]
        self.addresses = [_ADDRESS.format(rank + 1) for rank in range(size)]

    def __enter__(self) -> "Network":
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        _ip("netns", "add", self._hub)
        _ip("link", "add", "hub", "type", "bridge", within=self._hub)
        _ip("link", "set", "hub", "up", within=self._hub)
        for rank, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("link", "set", "lo", "up", within=name)
            if self._microseconds:
                self._wires.append(_wire(name, self._hub, f"to{rank}", self._microseconds))
            else:
                _ip("link", "add", "eth0", "type", "veth", "peer", "name", f"to{rank}", "netns", self._hub, within=name)
            _ip("address", "add", f"{self.addresses[rank]}/24", "dev", "eth0", within=name)
            _ip("link", "set", "eth0", "up", within=name)
            _ip("link", "set", f"to{rank}", "up", within=self._hub)
            self.mend(rank)

    def _remove(self) -> None:
        for wire in self._wires:
            wire.kill()
            wire.wait()
        for name in (*self.names, self._hub):
            with contextlib.suppress(OSError):
                _ip("netns", "delete", name)

    def cut(self, rank: int) -> None:
        """Let nothing pass to the host or from it."""
        _ip("link", "set", f"to{rank}", "nomaster", within=self._hub)

    def mend(self, rank: int) -> None:
        """Let all pass."""
        _ip("link", "set", f"to{rank}", "master", "hub", within=self._hub)

    def within(self, rank: int) -> list[str]:
        """What stands in front of a command that runs on a host."""
        return ["ip", "netns", "exec", self.names[rank]]

    def shape(self, rate: str) -> None:
        """Let so much pass from each host and to it, in each direction at once: ``200mbit``."""
        for rank, name in enumerate(self.names):
            for within, device in ((name, "eth0"), (self._hub, f"to{rank}")):
                words = ["tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate]
                run(["ip", "netns", "exec", within, *words, "burst", "256kb", "latency", "400ms"])


@functools.cache
def _program() -> Path:
    """Compile delay.c, once."""
    folder = Path(tempfile.mkdtemp(prefix="fm_delay_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run(
        [
            *shlex.split(os.environ.get("CC", "cc")),
            "-O2",
            "-o",
            str(folder / "delay"),
            str(Path(__file__).with_name("delay.c")),
        ]
    )
    return folder / "delay"


def _wire(name: str, hub: str, device: str, microseconds: int) -> "subprocess.Popen[str]":
    """Join a host's eth0 to a device of the hub, by frames that take time."""
    command = [str(_program()), name, "eth0", hub, device, str(microseconds)]
    wire = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert wire.stdout is not None
    assert wire.stderr is not None
    if wire.stdout.readline() != "ready\n":
        raise OSError(f"{' '.join(command)}: {wire.stderr.read().strip()}")
    return wire
