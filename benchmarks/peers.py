"""Other solvers, trained by their harnesses in ../shared/peers, each in an environment of its own.

`make bench-peers` creates the environments. If a peer is missing, it is skipped, and the output says so.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import DATA, PEERS, ROOT

#: Name: the environment under .venvs, the harness, and its arguments.
SPARSE = {
    "MXNet 1.9.1, as its example": ("mxnet", "mxnet_fm.py", []),
    "MXNet 1.9.1, row ids given": ("mxnet", "mxnet_fm.py", ["--kv", "uniqpre"]),
    "PyTorch 2.13, embedding": ("torch", "torch_fm.py", ["--impl", "emb"]),
    "PyTorch 2.13, bag": ("torch", "torch_fm.py", ["--impl", "bag"]),
}
DENSE = {
    "MXNet 1.9.1": ("mxnet", "mxnet_fm.py", ["--ds", "dense"]),
    "PyTorch 2.13, dense": ("torch", "torch_fm.py", ["--ds", "dense", "--impl", "dense"]),
}

Peers = dict[str, tuple[str, str, list[str]]]


def available(peers: Peers) -> Peers:
    """Those of `peers` that can run here."""
    if not PEERS.is_dir():
        print("no peers: ../shared/peers, which has their harnesses, is absent\n")
        return {}
    absent = {environment for environment, _, _ in peers.values() if not _python(environment).exists()}
    for environment in sorted(absent):
        print(f"no peer {environment}: run `make bench-peers` first\n")
    return {name: peer for name, peer in peers.items() if peer[0] not in absent}


def _python(environment: str) -> Path:
    return ROOT / ".venvs" / environment / "bin/python"


def training(peer: tuple[str, str, list[str]], **options: int) -> Callable[[], list[float]]:
    """Make the case that trains a peer in a process of its own, and gives the examples a second of each epoch.

    Its own timing is taken: training alone, without start-up, loading and scoring.
    """
    environment, script, arguments = peer
    command = [str(_python(environment)), script, "--noeval", *arguments]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    # ours sets OpenMP's waiting for itself: a peer has its own defaults
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}

    def run() -> list[float]:
        with tempfile.TemporaryDirectory() as results:
            process = subprocess.run(
                command,
                cwd=PEERS,
                env={**settings, "PEERS_DATA": str(DATA), "PEERS_RESULTS": results, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
            )
        for line in process.stdout.splitlines():
            if line.startswith("RESULT "):
                result = json.loads(line.removeprefix("RESULT "))
                n_rows = result["examples_per_s"] * result["seconds_train_only"] / result["epochs"]
                return [n_rows / seconds for seconds in result["epoch_seconds"]]
        raise RuntimeError(f"{' '.join(command)} gave no result: {process.stderr[-2000:]}")

    return run
