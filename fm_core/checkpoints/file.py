r"""A checkpoint: the whole state of a training, as one file, written and read.

The file::

    magic "\x89FMCKPT\n" | u32 version | u32 size of the header | u32 CRC-32 of the header, begun with the version
    header                 JSON: what decided the model, how far it is, and the arrays that follow
    arrays                 one after the other, little endian, as the header declares them

The arrays are the solver's, in the order and of the shapes of its `layout`; the header has the solver's name, without
which (before version 1.1) it is ``minibatch``. Two more are everybody's:

=========  =======================================================================================
changed    one bit a feature, before the first lazy array: whether those have its row, which is zero
           otherwise; not there if they have every row
best       float32 (feature_dim, num_factors + 1), last: the model of the best epoch; there only with
           early stopping
=========  =======================================================================================

Whatever is read is checked before memory is taken for it: the header against its checksum, the
declared sizes against the file and against the hyperparameters; then each array against its
checksum. A reader who has to stop gets the model alone, as most of the bytes are the optimizer's.
When such a file is written, and of what copy, is writer.py's business.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import byte_blocks, is_finite, row_blocks
from fm_core.atomic_file import atomic_write
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.errors import CheckpointError, DamagedCheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.model import Model
from fm_core.printable import printable
from fm_core.solvers.base import Algorithm, ArraySpec
from fm_core.system import forget_pages, send_to_disk

__all__ = ["SYNC_BYTES", "Abandoned", "deciding", "read", "read_header", "size_on_disk", "write"]

Floats = NDArray[np.float32]

_MAGIC = b"\x89FMCKPT\n"
_VERSION = 1
_PREFIX = struct.Struct("<8sIII")
#: Parsed, it takes up to thirty times its size.
_LARGEST_HEADER = 8 << 20
#: Arrays that are no solver's.
_CHANGED, _BEST = "changed", "best"
#: The solver of checkpoints that name none.
_FIRST_SOLVER = "minibatch"

#: Written bytes are sent to the disk this often: one fsync of gigabytes at the end would hold up every other one.
SYNC_BYTES = 64 << 20


class Abandoned(Exception):
    """Writing a checkpoint, or reading a part of it, was given up, as the caller asked."""


def deciding(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the hyperparameters that determine the model; `epochs` is not one of them.

    Parameters
    ----------
    hyperparameters : Hyperparameters

    Returns
    -------
    values : dict of str to any
        By name.
    """
    return {
        name: getattr(hyperparameters, name) for name, parameter in parameters().items() if parameter.decides == "model"
    }


def size_on_disk(checkpoint: Checkpoint, layout: Mapping[str, ArraySpec]) -> int:
    """Return the size of the file without its header.

    Parameters
    ----------
    checkpoint : Checkpoint
    layout : mapping of str to ArraySpec
        That of the solver.

    Returns
    -------
    n_bytes : int
    """
    return sum(array["bytes"] for array in _declared(checkpoint, layout))


# --- writing ---------------------------------------------------------------------------------


def write(
    path: Path,
    checkpoint: Checkpoint,
    algorithm: Algorithm,
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
    algorithm : Algorithm
        Whose arrays they are.
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
        A parameter, or another number of the solver's, is not finite, so this state is not worth keeping.
    Abandoned
        `give_up` was true.
    OSError
    """
    layout = algorithm.layout(hyperparameters)
    arrays = _declared(checkpoint, layout)
    header = {
        "solver": algorithm.name,
        "hyperparameters": deciding(hyperparameters),
        "fingerprint": dict(fingerprint),
        "position": dataclasses.asdict(checkpoint.position),
        "arrays": arrays,
    }
    numbers = {_BEST: "a parameter"} | {
        name: "a parameter" if spec.of_model else f"{name}, which the model is learned with,"
        for name, spec in layout.items()
        if np.issubdtype(spec.dtype, np.floating)
    }
    with atomic_write(path, temporary_suffix) as file:
        # Checksums are known at the end, and have the same number of digits.
        file.write(_encoded(header))
        unsynced = 0
        for declared in arrays:
            crc = 0
            for piece in _pieces(declared["name"], checkpoint, layout):
                if give_up():
                    raise Abandoned
                if declared["name"] in numbers:
                    _check_finite(piece, numbers[declared["name"]], checkpoint.position)
                data = piece.reshape(-1).view(np.uint8).data
                crc = zlib.crc32(data, crc)
                file.write(data)
                unsynced += len(data)
                if unsynced >= SYNC_BYTES:
                    _send_to_disk(file)
                    unsynced = 0
            declared["crc32"] = f"{crc:08x}"
        file.seek(0)
        file.write(_encoded(header))


def _declared(checkpoint: Checkpoint, layout: Mapping[str, ArraySpec]) -> list[dict[str, Any]]:
    def of(name: str, shape: tuple[int, ...], itemsize: int) -> dict[str, Any]:
        return {"name": name, "shape": list(shape), "bytes": math.prod(shape) * itemsize, "crc32": "00000000"}

    arrays = []
    changed = checkpoint.changed if any(spec.is_lazy for spec in layout.values()) else None
    n_changed = None
    for name, spec in layout.items():
        array = checkpoint.arrays[name]
        shape = array.shape
        if spec.is_lazy and changed is not None:
            if n_changed is None:
                n_changed = int(np.count_nonzero(changed))
                arrays.append(of(_CHANGED, (-(-len(changed) // 8),), 1))
            shape = (n_changed, *shape[1:])
        arrays.append(of(name, shape, array.itemsize))
    if checkpoint.best is not None:
        arrays.append(of(_BEST, checkpoint.best.shape, 4))
    return arrays


def _encoded(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return _PREFIX.pack(_MAGIC, _VERSION, len(text), _checksum(_VERSION, text)) + text


def _checksum(version: int, header: bytes) -> int:
    # The version is in it, so that a flipped bit is not taken for a newer version.
    return zlib.crc32(header, version)


def _pieces(name: str, checkpoint: Checkpoint, layout: Mapping[str, ArraySpec]) -> Iterator[NDArray[Any]]:
    """An array of the file, some megabytes at a time."""
    if name == _CHANGED:
        assert checkpoint.changed is not None
        yield np.packbits(checkpoint.changed)
        return
    array = checkpoint.best if name == _BEST else checkpoint.arrays[name]
    assert array is not None
    keep = checkpoint.changed if name in layout and layout[name].is_lazy else None
    for rows in row_blocks(array):
        yield array[rows] if keep is None else array[rows][keep[rows]]


def _check_finite(piece: NDArray[Any], name: str, position: Position) -> None:
    if not is_finite(piece):
        raise DivergenceError(f"epoch {position.epoch}, after {position.n_batches} batches: {name} is no longer finite")


def _send_to_disk(file: BinaryIO) -> None:
    file.flush()
    send_to_disk(file.fileno())
    forget_pages(file.fileno())  # which would push out the data's


# --- reading ---------------------------------------------------------------------------------


def read(
    path: Path,
    algorithm: Algorithm,
    hyperparameters: Hyperparameters,
    fingerprint: Mapping[str, str],
    should_stop: Callable[[], bool] = lambda: False,
) -> Checkpoint | Model:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
    algorithm : Algorithm
        That of the job that goes on.
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
        It was written by a newer version, by a job with other hyperparameters or another solver, or of other data.
    """
    with _named_errors(path), _opened(path) as file:
        header = _read_header(file, path)
        _compare(header, path, algorithm.name, hyperparameters, fingerprint)
        return _read_arrays(file, header, path, algorithm, hyperparameters, should_stop)


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of a checkpoint: hyperparameters, fingerprint, position and arrays.

    Returns
    -------
    header : dict

    Raises
    ------
    CheckpointError
        As `read` does for what is not one.
    """
    with _named_errors(path), _opened(path) as file:
        return _read_header(file, path)


def _opened(path: Path) -> io.BufferedReader:
    # Before it is opened: opening a pipe would wait for its other end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise DamagedCheckpointError(f"{path} is not a file, expected a checkpoint")
    return path.open("rb")


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(
            f"the header of {path} is not that of a checkpoint: {_shown(repr(error))}"
        ) from error


def _read_header(file: io.BufferedReader, path: Path) -> dict[str, Any]:
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
    header: dict[str, Any] = json.loads(text)
    declared = _PREFIX.size + n + sum(array["bytes"] for array in header["arrays"])
    if declared != size:
        raise DamagedCheckpointError(f"{path} has {size} bytes, expected {declared} as its header declares")
    return header


def _compare(
    header: dict[str, Any],
    path: Path,
    solver: str,
    hyperparameters: Hyperparameters,
    fingerprint: Mapping[str, str],
) -> None:
    wanted = json.loads(json.dumps(deciding(hyperparameters)))
    # a hyperparameter that came later was as its default: each default leaves what was before
    defaults = {name: parameters()[name].default for name in wanted}
    differing = _differences(defaults | header["hyperparameters"], wanted)
    if differing:
        raise CheckpointError(
            f"{path} comes from a job with other hyperparameters ({differing}): restore those, or use another "
            "checkpoint folder to train from the start"
        )
    written_by = header.get("solver", _FIRST_SOLVER)
    if written_by != solver:
        raise CheckpointError(
            f"{path} was written by solver {_shown(written_by)}, and this job's is {solver}: restore that, or use "
            "another checkpoint folder to train from the start"
        )
    differing = _differences(header["fingerprint"], dict(fingerprint))
    if differing:
        raise CheckpointError(
            f"{path} comes from a job with other data ({differing}): restore that, or use another checkpoint folder "
            "to train from the start"
        )
    position = header["position"]
    done = position["epoch"] + (position["n_batches"] > 0)
    if hyperparameters.n_epochs is not None and done > hyperparameters.n_epochs:
        raise CheckpointError(
            f"{path} is in epoch {_shown(position['epoch'])} (counted from 0) after {_shown(position['n_batches'])} "
            f"batches, and epochs is {hyperparameters.n_epochs}: raise it to at least {done}, or use another "
            "checkpoint folder"
        )


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    told = [f"{_shown(name)} was {_shown(found.get(name))} and is {wanted.get(name)}" for name in names]
    return ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")


def _shown(value: Any) -> str:
    """A value of a header, which may come from anyone, for a message."""
    return printable(str(value), 200)


def _read_arrays(
    file: io.BufferedReader,
    header: dict[str, Any],
    path: Path,
    algorithm: Algorithm,
    hyperparameters: Hyperparameters,
    should_stop: Callable[[], bool],
) -> Checkpoint | Model:
    layout = algorithm.layout(hyperparameters)
    declared = {array["name"]: array for array in header["arrays"]}
    dtypes = _checked_shapes(declared, layout, path, hyperparameters)
    needed = {name for name, spec in layout.items() if spec.of_model} | {_BEST}

    found: dict[str, NDArray[Any]] = {}
    for name, array in declared.items():
        following = file.tell() + array["bytes"]
        skip = _never if name in needed else should_stop
        if skip():
            file.seek(following)
            continue
        try:
            if _CHANGED in declared and name in layout and layout[name].is_lazy:
                changed = found[_CHANGED]
                if np.count_nonzero(changed) != array["shape"][0]:
                    raise DamagedCheckpointError(f"{path}: {name} does not have the rows that have changed")
                into = np.zeros((len(changed), *array["shape"][1:]), dtypes[name])
                crc = _fill_rows(file, into, changed, skip)
            else:
                into = np.empty(array["shape"], dtypes[name])
                crc = _fill(file, into, skip)
        except Abandoned:
            file.seek(following)
            continue
        if f"{crc:08x}" != array["crc32"]:
            raise DamagedCheckpointError(
                f"{name} of {path} is damaged: its checksum is {crc:08x}, expected {_shown(array['crc32'])}"
            )
        found[name] = into
        if name == _CHANGED:
            found[name] = np.unpackbits(into, count=hyperparameters.feature_dim).astype(bool)
    position = Position(**header["position"])
    if layout.keys() <= found.keys():
        arrays = {name: found[name] for name in layout}
        return Checkpoint(position, arrays, found.get(_CHANGED), found.get(_BEST))
    if _BEST in found:
        score_range = algorithm.model_of(hyperparameters, found).score_range
        return Model.of_params(hyperparameters.predictor_type, position.best_bias, found[_BEST], score_range)
    return algorithm.model_of(hyperparameters, found)


def _checked_shapes(
    declared: Mapping[str, dict[str, Any]],
    layout: Mapping[str, ArraySpec],
    path: Path,
    hyperparameters: Hyperparameters,
) -> dict[str, np.dtype[Any]]:
    """Give the type of each array, all shapes being those that the hyperparameters ask for."""
    d, width = hyperparameters.feature_dim, hyperparameters.num_factors + 1
    everybodys = {_CHANGED: ArraySpec((-(-d // 8),), "uint8"), _BEST: ArraySpec((d, width))}
    dtypes = {}
    missing = layout.keys() - declared.keys()
    if missing:
        raise DamagedCheckpointError(f"{path} does not have {', '.join(sorted(missing))}, expected by its solver")
    for name, array in declared.items():
        spec = layout[name] if name in layout else everybodys[name]
        shape = array["shape"]
        is_part = spec.is_lazy and _CHANGED in declared
        expected = [n if want is None or (is_part and axis == 0 and 0 <= n <= want) else want
                    for axis, (n, want) in enumerate(zip(shape, spec.shape, strict=True))]  # fmt: skip
        dtypes[name] = np.dtype(spec.dtype).newbyteorder("<")
        if shape != expected or math.prod(shape) * dtypes[name].itemsize != array["bytes"] or min(shape) < 0:
            raise DamagedCheckpointError(
                f"{path}: {name} has shape {_shown(shape)} and {_shown(array['bytes'])} bytes, expected "
                f"{expected} by the hyperparameters"
            )
    return dtypes


def _never() -> bool:
    return False


def _fill(file: io.BufferedReader, into: NDArray[Any], skip: Callable[[], bool]) -> int:
    crc = 0
    for piece in byte_blocks(into.reshape(-1).view(np.uint8).data):
        if skip():
            raise Abandoned
        file.readinto(piece)
        crc = zlib.crc32(piece, crc)
    return crc


def _fill_rows(
    file: io.BufferedReader, into: NDArray[Any], changed: NDArray[np.bool_], skip: Callable[[], bool]
) -> int:
    crc = 0
    for rows in row_blocks(into):
        if skip():
            raise Abandoned
        n = int(np.count_nonzero(changed[rows]))
        data = file.read(n * into.itemsize * math.prod(into.shape[1:]))
        crc = zlib.crc32(data, crc)
        if data:
            into[rows][changed[rows]] = np.frombuffer(data, into.dtype).reshape(n, *into.shape[1:])
    return crc
