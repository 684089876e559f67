"""What the benchmarks share: the machine, the data, rounds taken in turn, medians, tables.

The load of a machine changes, so nothing is timed alone: programs that are compared run in turn, round after round,
and the ratio of two programs is the median of their ratios per round.
"""

import functools
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # not installed in the environment of PyTorch

import numpy as np
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.kernels import in_use

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PEERS = SHARED / "peers"
#: Data that takes long to make is kept here; the peers' harnesses look here too.
DATA = Path(os.environ.get("PEERS_DATA") or Path(tempfile.gettempdir()) / "fm_peers")

sys.path.insert(0, str(ROOT / "local_test"))  # opt_ml, feed_pipe: SageMaker's side of the contract

Name = TypeVar("Name", bound=Hashable)
Measurement = TypeVar("Measurement")

#: The `ctr` set: rows, features, keys of a row.
CTR_ROWS, CTR_DIM, CTR_FIELDS = 500_000, 1_000_000, 39


# ---------------------------------------------------------------- machine and tables


def describe(title: str) -> None:
    """Print what runs, and where."""
    print(f"# {title}\n")
    processor = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    huge = "".join(_lines("/sys/kernel/mm/transparent_hugepage/enabled")).strip() or "?"
    print(f"machine  {processor}, {os.cpu_count()} cores, {memory:.0f} GiB, huge pages {huge}")
    print(f"software Python {platform.python_version()}, NumPy {np.__version__}, kernels: {in_use()[0]}")
    print(f"when     {time.strftime('%Y-%m-%d %H:%M')}, load average before: {os.getloadavg()[0]:.1f}\n", flush=True)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table: first column to the left, the others to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    cells.insert(1, [("-" if i == 0 else "-" * (w - 1) + ":").ljust(w, "-") for i, w in enumerate(widths)])
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {first.strip().ljust(widths[0])} | " + " | ".join(others) + " |")
    print(flush=True)


def use_cores(n: int) -> None:
    """Keep this process, and those it starts, on its first n cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


# ---------------------------------------------------------------- rounds in turn


def in_turn(
    cases: Mapping[Name, Callable[[], Measurement]], rounds: int, minutes: float = float("inf")
) -> dict[Name, list[Measurement]]:
    """Run each case once a round.

    Parameters
    ----------
    cases : mapping of name to callable
        Each gives its measurement: seconds, a rate, or several of them.
    rounds : int
    minutes : float
        When they are over, nothing is run any more, in the middle of a round too.

    Returns
    -------
    found : dict of name to list
        The measurements of each case; a round that was cut short leaves the later ones one fewer, and
        a case that was never run is left out.
    """
    found: dict[Name, list[Measurement]] = {name: [] for name in cases}
    started = time.perf_counter()
    for number, (name, run) in itertools.product(range(rounds), cases.items()):
        if time.perf_counter() - started > 60 * minutes:
            print(f"({number} of {rounds} rounds: the {minutes:.1f} minutes for them are over)\n")
            break
        _tell(f"  round {number + 1}/{rounds}: {name}")
        found[name].append(run())
    _tell("")
    return {name: measured for name, measured in found.items() if measured}


def have_backed(n_bytes: int) -> None:
    """Touch twice as much memory and give it back.

    The host of a virtual machine takes back pages that are free for some seconds, and needs .7 to 1.4 s to give
    520 MB again: it would be paid by whoever happens to come first. After this, hardly anybody pays: which of its
    free pages the system gives is its own choice.
    """
    np.empty(2 * n_bytes, np.uint8).fill(1)


def _tell(text: str) -> None:
    """Say on a terminal, and only there, how far it is."""
    if sys.stderr.isatty():
        print(f"\r{text:100}\r", end="", file=sys.stderr, flush=True)


def ratios(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and largest of a / b, round by round."""
    pairs = [x / y for x, y in zip(a, b, strict=False)]
    return statistics.median(pairs), min(pairs), max(pairs)


def times(value: tuple[float, float, float]) -> str:
    """What `ratios` gave, as text."""
    median, least, most = value
    return f"{median:.2f} x ({least:.2f} - {most:.2f})" if median < 10 else f"{median:.1f} x ({least:.1f} - {most:.1f})"


# ---------------------------------------------------------------- data


def _made_by_peers(name: str) -> Path | None:
    """The folder of a data set that the peers train on, made if need be; None without ../shared."""
    maker = PEERS / "make_ctr_data.py"
    if not maker.exists():
        return None
    if not (DATA / name / "meta.json").exists():  # written last
        print(f"making the {name} set in {DATA}, once", file=sys.stderr)
        subprocess.run([sys.executable, str(maker), "--out", str(DATA), "--only", name], check=True, stdout=sys.stderr)
    return DATA / name


@functools.cache
def ctr() -> tuple[Any, np.ndarray]:
    """500,000 rows of 39 one-hot fields, a million features, as CSR, and labels 0 and 1."""
    folder = _made_by_peers("ctr")
    if folder:
        return sp.load_npz(folder / "train.npz"), np.load(folder / "train_y.npy")
    return _own_ctr(CTR_ROWS)


def _own_ctr(n: int) -> tuple[Any, np.ndarray]:
    """The same kind of data: small and large fields, ids as frequent as Zipf's law says, scattered."""
    random = np.random.default_rng(1)
    sizes = np.concatenate([random.integers(3, 120, 13), np.exp(random.uniform(np.log(10), np.log(3e5), 26))])
    sizes = np.maximum(3, sizes * (CTR_DIM / sizes.sum())).astype(np.int64)
    sizes[np.argmax(sizes)] += CTR_DIM - sizes.sum()
    keys = np.empty((n, CTR_FIELDS), np.int32)
    first = 0
    for field, size in enumerate(sizes):
        cumulated = np.cumsum(np.arange(1, size + 1) ** -1.1)
        rank = np.searchsorted(cumulated, random.random(n) * cumulated[-1])
        keys[:, field] = first + random.permutation(size)[np.minimum(rank, size - 1)]
        first += size
    score = random.normal(0, 0.3, CTR_DIM)[keys].sum(1)
    labels = random.random(n) < 1 / (1 + np.exp(1.2 - score))
    indptr = np.arange(0, keys.size + 1, CTR_FIELDS)
    return sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), indptr), (n, CTR_DIM)), labels.astype("f4")


@functools.cache
def dense() -> tuple[np.ndarray, np.ndarray]:
    """20,000 rows of 784 values in [0, 1], four fifths of them zero, and labels 0 and 1."""
    folder = _made_by_peers("dense")
    if folder:
        return np.load(folder / "train_X.npy"), np.load(folder / "train_y.npy")
    random = np.random.default_rng(2)
    X = random.random((20_000, 784), np.float32) * (random.random((20_000, 784), np.float32) < 0.2)
    return X, (random.random(20_000) < 0.5).astype(np.float32)


def batches(X: Any, y: np.ndarray, size: int = 1000) -> list[Batch]:
    """Cut rows, CSR or a matrix, into batches of `size`."""
    make = Batch.from_csr if sp.issparse(X) else Batch.from_dense
    return [make(X[i : i + size], y[i : i + size]) for i in range(0, X.shape[0], size)]
