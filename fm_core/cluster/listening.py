"""The address on which the first host listens for the others: only the network interface of the job."""

import fcntl
import os
import socket
import struct
from typing import NamedTuple

__all__ = ["Listening", "interface_address", "listening"]

_SIOCGIFADDR = 0x8915
_EVERYWHERE = "0.0.0.0"


class Listening(NamedTuple):
    """A socket that listens.

    Attributes
    ----------
    address : str
        Where this process reaches it.
    descriptor : int
        Of the caller, who gives it to what accepts connections.
    """

    address: str
    descriptor: int


def listening(name: str, port: int, interface: str | None = None) -> Listening:
    """Listen on one interface.

    Parameters
    ----------
    name : str
        By which the others find this host.
    port : int
    interface : str, optional

    Returns
    -------
    listening : Listening
        On the interface's address. On every address of the machine, if there is no interface of this name, or
        the others find this host at an address of another one.

    Raises
    ------
    OSError
        The port is taken.
    """
    address = None if interface is None else interface_address(interface)
    found = _resolved(name)
    # A host's own name may stand for its loopback (in /etc/hosts), which is not where others find it.
    if found is not None and found != address and not found.startswith("127."):
        address = None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address or _EVERYWHERE, port))
        server.listen(4096)
        return Listening(address or "127.0.0.1", os.dup(server.fileno()))


def interface_address(interface: str) -> str | None:
    """Return the IPv4 address of a network interface.

    Parameters
    ----------
    interface : str
        Its name, such as ``eth0``.

    Returns
    -------
    address : str or None
        None if it has no address, or does not exist.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _resolved(name: str) -> str | None:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None
