r"""A checkpoint: the whole state of a training, as one file, written and read.

The file::

    magic "\x89FMCKPT\n" | u32 version | u32 size of the header | u32 CRC-32 of the header, begun with the version
    header                 JSON: what decided the model, how far it is, and the arrays that follow
    arrays                 one after the other, little endian, as the header declares them

=========  =======================================================================================
bias       float32 (3,): w0 and its states
params     float32 (feature_dim, num_factors + 1)
changed    one bit a row: whether `state` has it; not there if `state` has every row
state      float32 (rows that ever changed, n_states * (num_factors + 1)): the others are zero
best       float32, like `params`: the model of the best epoch; there only with early stopping
=========  =======================================================================================

Whatever is read is checked before memory is taken for it: the header against its checksum, the
declared sizes against the file and against the hyperparameters; then each array against its
checksum. A reader who has to stop gets the model alone, as most of the bytes are the optimizer's.
When such a file is written, and of what copy, is checkpointing.py's business.
"""

import contextlib
import dataclasses
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from fm_core.atomic_file import replacing
from fm_core.errors import CheckpointError, DamagedCheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.kernels import OPTIMIZERS
from fm_core.model import Model

__all__ = ["Abandoned", "Checkpoint", "Position", "deciding", "read", "read_header", "size_on_disk", "write"]

Floats = NDArray[np.float32]

_MAGIC = b"\x89FMCKPT\n"
_VERSION = 1
_PREFIX = struct.Struct("<8sIII")
_LARGEST_HEADER = 64 << 20

_BLOCK_BYTES = 4 << 20
#: Written bytes are sent to the disk this often: one fsync of gigabytes at the end would hold up every other one.
_SYNC_BYTES = 64 << 20


class Abandoned(Exception):
    """Writing a checkpoint, or reading a part of it, was given up, as the caller asked."""


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a training is, between two batches.

    Attributes
    ----------
    n_steps : int
        Updates so far.
    epoch, n_batches : int
        The epoch that is under way, and how many of its batches are done.
    is_dense : bool
    sums : dict of str to float
        The metrics' sums over those batches.
    labels_crc : int
        CRC-32 of those batches' labels and sizes, by which other data is recognised.
    passes : list of [n_records, n_batches, n_epochs]
        The epochs that are done; those alike in a row are one entry.
    metrics : dict of str to float
        Training metrics of the last of them.
    validation : dict of str to float
        Validation metrics of the model that would be kept.
    best_value : float
        The best epoch's validation loss; infinite if there is none yet.
    best_epoch : int
    best_bias : float
        w0 of that epoch.
    """

    n_steps: int
    epoch: int
    n_batches: int
    is_dense: bool
    sums: dict[str, float]
    labels_crc: int
    passes: list[list[int]]
    metrics: dict[str, float]
    validation: dict[str, float]
    best_value: float
    best_epoch: int
    best_bias: float


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A position, and the arrays of a solver there.

    Attributes
    ----------
    position : Position
    bias, params, state : ndarray of float32
        As those of `solver.Solver`.
    changed : ndarray of bool, shape (feature_dim,), or None
        The rows of `state` that may be other than zero; None: any.
    best : ndarray of float32, or None
        `params` of the best epoch, if they are kept.
    """

    position: Position
    bias: Floats
    params: Floats
    state: Floats
    changed: NDArray[np.bool_] | None
    best: Floats | None


def deciding(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """The hyperparameters that decide the model; `epochs` only decides how far training goes."""
    return {
        name: getattr(hyperparameters, name) for name, parameter in parameters().items() if parameter.decides == "model"
    }


def size_on_disk(checkpoint: Checkpoint) -> int:
    """The bytes of the file but its header."""
    return sum(array["bytes"] for array in _declared(checkpoint))


# --- writing ---------------------------------------------------------------------------------


def write(
    path: Path,
    checkpoint: Checkpoint,
    hyperparameters: Hyperparameters,
    fingerprint: Mapping[str, str],
    *,
    temporary_suffix: str = ".tmp",
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Write a checkpoint; it appears under its name when it is whole and on disk, or not at all.

    Parameters
    ----------
    path : Path
        Replaced if it exists; its folder must exist.
    checkpoint : Checkpoint
        Its arrays must not change meanwhile. No copy of them is made.
    hyperparameters : Hyperparameters
    fingerprint : mapping of str to str
        What the caller knows of the data; a job with another one is refused by `read`.
    temporary_suffix : str
        What the name of the unfinished file ends with.
    give_up : callable
        Polled every few megabytes.

    Raises
    ------
    DivergenceError
        A parameter is not finite, so this state is not worth keeping.
    Abandoned
        `give_up` was true.
    OSError
    """
    arrays = _declared(checkpoint)
    header = {
        "hyperparameters": deciding(hyperparameters),
        "fingerprint": dict(fingerprint),
        "position": dataclasses.asdict(checkpoint.position),
        "arrays": arrays,
    }
    pieces = {
        "bias": _blocks(checkpoint.bias.reshape(-1, 1)),
        "params": _blocks(checkpoint.params),
        "changed": iter(() if checkpoint.changed is None else [np.packbits(checkpoint.changed)]),
        "state": _changed_rows(checkpoint),
        "best": iter(()) if checkpoint.best is None else _blocks(checkpoint.best),
    }
    with replacing(path, temporary_suffix) as file:
        # Checksums are known at the end, and have the same number of digits.
        file.write(_encoded(header))
        unsynced = 0
        for declared in arrays:
            crc = 0
            for piece in pieces[declared["name"]]:
                if give_up():
                    raise Abandoned
                if declared["name"] in ("params", "bias", "best"):
                    _check_finite(piece, checkpoint.position)
                data = piece.reshape(-1).view(np.uint8).data
                crc = zlib.crc32(data, crc)
                file.write(data)
                unsynced += len(data)
                if unsynced >= _SYNC_BYTES:
                    _send_to_disk(file)
                    unsynced = 0
            declared["crc32"] = f"{crc:08x}"
        file.seek(0)
        file.write(_encoded(header))


def _declared(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    def of(name: str, shape: tuple[int, ...], itemsize: int = 4) -> dict[str, Any]:
        return {"name": name, "shape": list(shape), "bytes": math.prod(shape) * itemsize, "crc32": "00000000"}

    n, width = checkpoint.state.shape
    arrays = [of("bias", checkpoint.bias.shape), of("params", checkpoint.params.shape)]
    if checkpoint.changed is not None:
        arrays.append(of("changed", (-(-n // 8),), 1))
        n = int(np.count_nonzero(checkpoint.changed))
    arrays.append(of("state", (n, width)))
    if checkpoint.best is not None:
        arrays.append(of("best", checkpoint.best.shape))
    return arrays


def _encoded(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return _PREFIX.pack(_MAGIC, _VERSION, len(text), _checksum(_VERSION, text)) + text


def _checksum(version: int, header: bytes) -> int:
    # The version is in it, so that a flipped bit is not taken for a newer version.
    return zlib.crc32(header, version)


def _row_blocks(array: NDArray[Any]) -> Iterator[slice]:
    rows = max(1, _BLOCK_BYTES // max(1, array.shape[1] * array.itemsize))
    return (slice(start, min(start + rows, len(array))) for start in range(0, len(array), rows))


def _blocks(array: Floats) -> Iterator[NDArray[Any]]:
    return (array[rows] for rows in _row_blocks(array))


def _changed_rows(checkpoint: Checkpoint) -> Iterator[NDArray[Any]]:
    for rows in _row_blocks(checkpoint.state):
        block = checkpoint.state[rows]
        yield block if checkpoint.changed is None else block[checkpoint.changed[rows]]


def _check_finite(piece: NDArray[Any], position: Position) -> None:
    # The least and the greatest carry a NaN along, and need no array of truths.
    if not (np.isfinite(piece.min()) and np.isfinite(piece.max())):
        raise DivergenceError(
            f"epoch {position.epoch}, after {position.n_batches} batches: a parameter is no longer finite"
        )


def _send_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fdatasync(file.fileno())
    with contextlib.suppress(OSError):  # its pages would push out the data's
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# --- reading ---------------------------------------------------------------------------------


def read(
    path: Path,
    hyperparameters: Hyperparameters,
    fingerprint: Mapping[str, str],
    should_stop: Callable[[], bool] = lambda: False,
) -> Checkpoint | Model:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
    hyperparameters : Hyperparameters
        Of the job that goes on: those that decide the model have to be the same.
    fingerprint : mapping of str to str
        Has to be the same too.
    should_stop : callable
        Polled every few megabytes; once true, no training goes on from this, so that the
        optimizer's state is passed over.

    Returns
    -------
    found : Checkpoint or Model
        With arrays of its own. The model that the job would have kept if `should_stop` became true.

    Raises
    ------
    DamagedCheckpointError
        The file is cut off, or its bytes are not those that were written.
    CheckpointError
        It was written by a newer version, by a job with other hyperparameters, or of other data.
    """
    with _named_errors(path), path.open("rb") as file:
        header = _read_header(file, path)
        _compare(header, path, hyperparameters, fingerprint)
        return _read_arrays(file, header, path, hyperparameters, should_stop)


def read_header(path: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself: hyperparameters, fingerprint, position and arrays.

    Raises
    ------
    CheckpointError
        As `read` does for what is not one.
    """
    with _named_errors(path), path.open("rb") as file:
        return _read_header(file, path)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"the header of {path} is not that of a checkpoint: {error!r}") from error


def _read_header(file: BinaryIO, path: Path) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or not prefix.startswith(_MAGIC):
        raise DamagedCheckpointError(f"{path} is not a checkpoint, or only its first {len(prefix)} bytes are left")
    _, version, n, crc = _PREFIX.unpack(prefix)
    if n > min(size, _LARGEST_HEADER):
        raise DamagedCheckpointError(f"{path} declares a header of {n} bytes, and the file has {size}")
    text = file.read(n)
    if _checksum(version, text) != crc:
        raise DamagedCheckpointError(f"the header of {path} is damaged: its checksum is not {crc:08x}")
    # From here on these are the bytes that were written.
    if version != _VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, expected {_VERSION}: it is from a newer version of this software; "
            "use that one, or another checkpoint folder to train from the start"
        )
    header = cast("dict[str, Any]", json.loads(text))
    declared = _PREFIX.size + n + sum(array["bytes"] for array in header["arrays"])
    if declared != size:
        raise DamagedCheckpointError(f"{path} has {size} bytes, expected {declared} as its header declares")
    return header


def _compare(
    header: dict[str, Any], path: Path, hyperparameters: Hyperparameters, fingerprint: Mapping[str, str]
) -> None:
    wanted = json.loads(json.dumps(deciding(hyperparameters)))
    differing = _differences(header["hyperparameters"], wanted)
    if differing:
        raise CheckpointError(
            f"{path} is of a job with other hyperparameters ({differing}): restore those, or use another "
            "checkpoint folder to train from the start"
        )
    differing = _differences(header["fingerprint"], dict(fingerprint))
    if differing:
        raise CheckpointError(
            f"{path} is of a job with other data ({differing}): restore that, or use another checkpoint folder "
            "to train from the start"
        )
    position = header["position"]
    done = position["epoch"] + (position["n_batches"] > 0)
    if done > hyperparameters.epochs:
        raise CheckpointError(
            f"{path} is in epoch {position['epoch']} (counted from 0) after {position['n_batches']} batches, and "
            f"epochs is {hyperparameters.epochs}: raise it to at least {done}, or use another checkpoint folder"
        )


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    told = [f"{name} was {found.get(name)} and is {wanted.get(name)}" for name in names]
    return ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")


def _read_arrays(
    file: BinaryIO,
    header: dict[str, Any],
    path: Path,
    hyperparameters: Hyperparameters,
    should_stop: Callable[[], bool],
) -> Checkpoint | Model:
    d, width = hyperparameters.feature_dim, hyperparameters.num_factors + 1
    state_width = OPTIMIZERS[hyperparameters._optimizer].n_states * width
    declared = {array["name"]: array for array in header["arrays"]}
    n_rows = declared["state"]["shape"][0] if "changed" in declared else d
    expected = {
        "bias": [3], "params": [d, width], "changed": [-(-d // 8)], "state": [n_rows, state_width], "best": [d, width],
    }  # fmt: skip
    for name, array in declared.items():
        if array["shape"] != expected[name] or not 0 <= n_rows <= d:
            raise DamagedCheckpointError(
                f"{path}: {name} has shape {array['shape']}, expected {expected[name]} by the hyperparameters"
            )

    found: dict[str, NDArray[Any]] = {}
    for name, array in declared.items():
        following = file.tell() + array["bytes"]
        skip = should_stop if name in ("changed", "state") else _never
        if skip():
            file.seek(following)
            continue
        into = np.empty(array["shape"], np.uint8 if name == "changed" else np.float32)
        try:
            if name == "state" and "changed" in declared:
                changed = np.unpackbits(found["changed"], count=d).astype(bool)
                if np.count_nonzero(changed) != array["shape"][0]:
                    raise DamagedCheckpointError(f"{path}: state does not have the rows that have changed")
                found["changed"] = changed
                into = np.zeros((d, state_width), np.float32)
                crc = _fill_rows(file, into, changed, skip)
            else:
                crc = _fill(file, into, skip)
        except Abandoned:
            file.seek(following)
            continue
        if f"{crc:08x}" != array["crc32"]:
            raise DamagedCheckpointError(
                f"{name} of {path} is damaged: its checksum is {crc:08x}, expected {array['crc32']}"
            )
        found[name] = into
    position = Position(**header["position"])
    if "state" in found:
        return Checkpoint(
            position, found["bias"], found["params"], found["state"], found.get("changed"), found.get("best")
        )
    is_best = "best" in found
    w0 = position.best_bias if is_best else float(found["bias"][0])
    return Model.of_params(hyperparameters.predictor_type, w0, found["best" if is_best else "params"])


def _never() -> bool:
    return False


def _fill(file: BinaryIO, into: NDArray[Any], skip: Callable[[], bool]) -> int:
    crc = 0
    data = into.reshape(-1).view(np.uint8).data
    for start in range(0, len(data), _BLOCK_BYTES):
        if skip():
            raise Abandoned
        piece = data[start : start + _BLOCK_BYTES]
        file.readinto(piece)  # type: ignore[attr-defined]
        crc = zlib.crc32(piece, crc)
    return crc


def _fill_rows(file: BinaryIO, into: Floats, changed: NDArray[np.bool_], skip: Callable[[], bool]) -> int:
    crc = 0
    for rows in _row_blocks(into):
        if skip():
            raise Abandoned
        n = int(np.count_nonzero(changed[rows]))
        data = file.read(n * into.shape[1] * into.itemsize)
        crc = zlib.crc32(data, crc)
        if data:
            into[rows][changed[rows]] = np.frombuffer(data, np.float32).reshape(n, -1)
    return crc
