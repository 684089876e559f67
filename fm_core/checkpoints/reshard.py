"""Read the checkpoints of one number of hosts with another number of hosts.

With several hosts, each writes a file with every n-th feature (cluster/sharded.py), and its number and the number of
hosts in the fingerprint; a single host writes neither. All files of one step together are a complete checkpoint, from
which any number of hosts can resume: each reads all files, one after the other, and keeps its own features.
"""

import dataclasses
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.checkpoints.file import read, read_header
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.errors import CheckpointError
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import metrics_for
from fm_core.partition import Partition
from fm_core.solvers.base import Algorithm

__all__ = ["HOSTS", "UNKNOWN_LABELS", "Step", "complete_steps", "newest_of_others", "resharded"]

Floats = NDArray[np.float32]

#: What of a fingerprint says which of how many hosts wrote a file: ``2 of 3``.
HOSTS = "hosts"

#: The checksum of labels where nobody knows it: each host had seen others.
UNKNOWN_LABELS = -1

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """The files that hosts wrote after one step.

    Attributes
    ----------
    n_steps : int
    n_hosts : int
    paths : tuple of Path
        In the hosts' order.
    """

    n_steps: int
    n_hosts: int
    paths: tuple[Path, ...]


def complete_steps(folder: Path) -> list[Step]:
    """Find the steps for which a folder has the files of all hosts; files with a damaged header are ignored.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    steps : list of Step
        The latest first.
    """
    found: dict[tuple[int, int], dict[int, Path]] = {}
    for path in sorted(folder.glob("checkpoint_*.fm")):
        if not re.fullmatch(r"checkpoint_.+_\d{12,}\.fm", path.name):
            continue
        try:
            header = read_header(path)
        except CheckpointError:
            continue
        rank, size = _hosts_of(header["fingerprint"])
        found.setdefault((header["position"]["n_steps"], size), {})[rank] = path
    return [
        Step(n_steps, size, tuple(paths[rank] for rank in range(size)))
        for (n_steps, size), paths in sorted(found.items(), reverse=True)
        if len(paths) == size
    ]


def _hosts_of(fingerprint: Mapping[str, str]) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+) of (\d+)", fingerprint.get(HOSTS, "1 of 1"))
    return (int(match[1]) - 1, int(match[2])) if match else (0, 1)


def resharded(
    step: Step,
    algorithm: Algorithm,
    hyperparameters: Hyperparameters,
    fingerprint: Mapping[str, str] | None,
    partition: Partition,
) -> Checkpoint:
    """Read what a host of another number needs of a step.

    Parameters
    ----------
    step : Step
    algorithm : Algorithm
        Its arrays are either by feature, or the same on every host.
    hyperparameters : Hyperparameters
        Those of the whole model, `mini_batch_size` that of all hosts together. It may be another than it was.
    fingerprint : mapping of str to str or None
        Has to be the same, but for the hosts. None: each host has data of its own, which is not the same with
        another number of them, and the epoch that is under way begins anew.
    partition : Partition
        This host's features.

    Returns
    -------
    checkpoint : Checkpoint
        The part of this host.

    Raises
    ------
    DamagedCheckpointError
        A file is.
    CheckpointError
        It was written by a job with other hyperparameters or other data.
    """
    hp = hyperparameters
    features, n_rows = partition.features(hp.feature_dim), partition.n_rows(hp.feature_dim)
    layout = algorithm.layout(dataclasses.replace(hp, feature_dim=n_rows))
    arrays: dict[str, NDArray[Any]] = {}
    changed: NDArray[np.bool_] | None = np.zeros(n_rows, bool)
    best: Floats | None = None
    positions, batch_size = [], hp.mini_batch_size
    for of, path in enumerate(step.paths):
        theirs = Partition(of, step.n_hosts)
        header = read_header(path)
        batch_size = int(header["hyperparameters"]["mini_batch_size"])
        known = header["fingerprint"] if fingerprint is None else dict(fingerprint)
        known = {name: text for name, text in known.items() if name != HOSTS}
        if HOSTS in header["fingerprint"]:
            known[HOSTS] = header["fingerprint"][HOSTS]
        part = dataclasses.replace(hp, feature_dim=theirs.n_rows(hp.feature_dim), mini_batch_size=batch_size)
        found = read(path, algorithm, part, known)
        assert isinstance(found, Checkpoint)
        into = np.flatnonzero(theirs.owner(features) == of)
        rows = theirs.local(features[into])
        for name, array in found.arrays.items():
            if not layout[name].by_feature:
                arrays[name] = array
                continue
            if name not in arrays:
                arrays[name] = np.zeros((n_rows, *array.shape[1:]), array.dtype)
            arrays[name][into] = array[rows]
        if found.changed is None:
            changed = None
        elif changed is not None:
            changed[into] = found.changed[rows]
        if found.best is not None:
            best = np.zeros((n_rows, hp.num_factors + 1), np.float32) if best is None else best
            best[into] = found.best[rows]
        positions.append(found.position)
    position = _position(positions, hp, batch_size, is_same_data=fingerprint is not None, rank=partition.rank)
    _log.info(
        "Resuming from the checkpoint of %d hosts in %s: epoch %d, after %d of its batches.",
        step.n_hosts, step.paths[0].parent, position.epoch, position.n_batches,
    )  # fmt: skip
    return Checkpoint(position, arrays, changed, best)


def _position(
    positions: list[Position], hp: Hyperparameters, batch_size: int, *, is_same_data: bool, rank: int
) -> Position:
    """Where the training is, in batches of the new size. The sums of all hosts become those of the first one."""
    at = positions[0]
    totals = metrics_for(hp.predictor_type)
    sums = totals.sums()
    n_batches = 0
    if at.n_batches and not is_same_data:
        _log.warning("Epoch %d starts again, because its data is divided among another number of hosts.", at.epoch)
    elif at.n_batches and hp.shuffle and hp.mini_batch_size != batch_size:
        _log.warning("Epoch %d starts again, because batches of %d rows are shuffled differently from those of %d.",
                     at.epoch, hp.mini_batch_size, batch_size)  # fmt: skip
    elif at.n_batches:
        n_rows = at.n_batches * batch_size
        n_counted = sum(int(position.sums["n"]) for position in positions)
        is_whole = n_counted < n_rows  # the last batch of an epoch may be a short one
        n_rows = min(n_counted, n_rows)
        n_batches = (math.ceil if is_whole else math.floor)(n_rows / hp.mini_batch_size)
        if not is_whole and n_batches * hp.mini_batch_size != n_rows:
            _log.warning("%d rows are used twice, because batches have %d rows now and had %d before.",
                         n_rows - n_batches * hp.mini_batch_size, hp.mini_batch_size, batch_size)  # fmt: skip
        if rank == 0:
            sums = {name: type(was)(sum(p.sums.get(name, 0) for p in positions)) for name, was in sums.items()}
    return dataclasses.replace(at, n_batches=n_batches, sums=sums, labels_crc=UNKNOWN_LABELS if n_batches else 0)


def newest_of_others(folder: Path, n_hosts: int, after: int) -> Step | None:
    """Find the latest complete step that another number of hosts wrote.

    Parameters
    ----------
    folder : Path
        Of the checkpoints.
    n_hosts : int
        How many hosts there are now.
    after : int
        The step has to be later than this one.

    Returns
    -------
    step : Step or None
    """
    steps = [step for step in complete_steps(folder) if step.n_hosts != n_hosts and step.n_steps > after]
    return steps[0] if steps else None
