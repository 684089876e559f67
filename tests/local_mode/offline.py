"""Runs in an environment of the SDK: runs a program that may speak to this machine only.

usage: python offline.py REFUSED PROGRAM [ARGUMENT ...]

Every name that is looked up and every address that is connected to, but for those of this machine, is refused, and
written to the file REFUSED: an AWS call cannot pass, nor pass unseen.
"""

import ipaddress
import runpy
import socket
import sys
from pathlib import Path


def main():
    refused, program = Path(sys.argv[1]), sys.argv[2]
    refused.touch()
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def refuse(host):
        with refused.open("a") as file:
            file.write(f"{host}\n")
        raise OSError(f"{host} is not this machine")

    def look_up_here(host, *arguments, **options):
        return look_up(host, *arguments, **options) if is_here(host) else refuse(host)

    def connect_here(self, address):
        far = self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0])
        return refuse(address[0]) if far else connect(self, address)

    socket.getaddrinfo, socket.socket.connect = look_up_here, connect_here
    sys.argv = sys.argv[2:]
    runpy.run_path(program, run_name="__main__")


def is_here(host):
    if host in (None, "", b"", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
