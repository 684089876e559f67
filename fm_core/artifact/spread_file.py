"""The spread of a model as a file: `spread.npz` next to it; programs that do not know the file can ignore it.

It is an uncompressed zip of NumPy arrays (`numpy.load` reads it), which are the attributes of `spread.Spread` by name,
and of `meta.json`::

    {"version": 1, "predictor_type": "regressor", "feature_dim": 2625, "mean": 3.5, "scale": 1.1, "model": "8f31a6c0",
     "chain": {"n_samples": 572, "effective": 121.4, "cost": 0.00031, "is_enough": false}}

`model` is the CRC-32 of the model's bias and linear weights: a spread of another model is refused. `chain` may be null.

The file may come from a stranger. Its arrays are views of the mapped file. Every declared number is checked against the
actual bytes; shapes, types, order and finiteness are checked before anything is computed.
"""

import dataclasses
import json
import math
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import is_finite, row_blocks
from fm_core.artifact.archive import Archive, opened, opened_beside
from fm_core.artifact.limits import Limits
from fm_core.atomic_file import atomic_write
from fm_core.errors import ArtifactError, ResourceError
from fm_core.model import Model
from fm_core.printable import quoted

if TYPE_CHECKING:
    from fm_core.spread import Chain, Spread

__all__ = ["MOST_BYTES", "SPREAD_FILE", "load_spread", "save_spread"]

SPREAD_FILE = "spread.npz"

#: Bytes of the file. Where samples would take more, fewer of them are written, but never fewer than `_LEAST`.
MOST_BYTES = 1 << 30
_LEAST = 4

#: Samples, and factors of each, that a file may have.
_MOST_SAMPLES, _MOST_FACTORS = 64, 1024

_VERSION = 1

#: Name: type, and the lengths of the dimensions. s: samples; n: features; g: groups; p: factors and weight.
_ARRAYS = {
    "features": ("<i4", "n"),
    "groups": ("<i4", "n"),
    "typical": ("<f8", "g"),
    "alpha": ("<f8", "s"),
    "w0": ("<f8", "s"),
    "params": ("<f2", "snp"),
    "prior_mean": ("<f4", "sgp"),
    "prior_precision": ("<f4", "sgp"),
}

#: What is above 0 in every place.
_POSITIVE = ("typical", "alpha", "prior_precision")

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(rb"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': \(([0-9, ]{0,64})\), \} *\n")


def save_spread(folder: str | os.PathLike[str], model: Model) -> str | None:
    """Write the spread of a model, if it has one; else remove that of another model, which has lain there.

    Parameters
    ----------
    folder : path
        Where the model file is.
    model : Model

    Returns
    -------
    name : str or None
        Of the file; None: there is none, as the model has no spread, or one of so many features that it would be too
        large.

    Raises
    ------
    OSError
    """
    spread = model.spread
    n = 0 if spread is None else _n_written(spread)
    if spread is None or n < min(_LEAST, len(spread.w0)):
        if _is_ours(Path(folder) / SPREAD_FILE):
            (Path(folder) / SPREAD_FILE).unlink()
        return None
    taken = np.unique(np.linspace(0, len(spread.w0) - 1, n).round().astype(int))
    meta = {
        "version": _VERSION,
        "predictor_type": model.predictor_type,
        "feature_dim": model.feature_dim,
        "mean": spread.mean,
        "scale": spread.scale,
        "model": _checksum(model.w0, model.w),
        "chain": None if spread.chain is None else dataclasses.asdict(spread.chain),
    }
    with (
        atomic_write(Path(folder) / SPREAD_FILE) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        with archive.open(_member("meta.json"), "w") as member:
            member.write(json.dumps(meta).encode())
        for name, (dtype, dimensions) in _ARRAYS.items():
            array = getattr(spread, name)
            if dimensions.startswith("s"):
                array = array[taken]
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array, dtype), (1, 0), allow_pickle=False)
    return SPREAD_FILE


def _is_ours(path: Path) -> bool:
    """Whether a file is a spread, and not something else of that name."""
    try:
        with opened(path) as archive:
            return {"meta.json", *(f"{name}.npy" for name in _ARRAYS)} == archive.names
    except (ArtifactError, ResourceError):
        return False


def _n_written(spread: "Spread") -> int:
    """How many samples there is room for."""
    others = 8 * len(spread.features) + 8 * len(spread.typical) + (1 << 16)
    a_sample: int = sum(getattr(spread, name)[0].nbytes for name, (_, dims) in _ARRAYS.items() if dims.startswith("s"))
    return min(len(spread.w0), max(0, MOST_BYTES - others) // a_sample)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3
    member.external_attr = 0o100644 << 16
    return member


def _checksum(w0: float, w: NDArray[np.float32]) -> str:
    crc = zlib.crc32(np.float32(w0).tobytes())
    for rows in row_blocks(w):
        crc = zlib.crc32(w[rows].astype("<f4").tobytes(), crc)
    return f"{crc:08x}"


def load_spread(
    path: str | os.PathLike[str], predictor_type: str, w0: float, w: NDArray[np.float32], limits: Limits | None = None
) -> "Spread | None":
    """Read the spread next to a model.

    Parameters
    ----------
    path : path
        Of the model, as for `load_model`.
    predictor_type : str
        The model's.
    w0 : float
    w : ndarray of float32, shape (feature_dim,)
        The model's: they tell it from others.
    limits : Limits, optional

    Returns
    -------
    spread : Spread or None
        Its larger arrays are read-only views of the mapped file. None: there is no such file.

    Raises
    ------
    ArtifactError
        It is none, or a damaged one, or contradicts itself or the model.
    ResourceError
        The model needs more memory than the limit.
    """
    with opened_beside(path, SPREAD_FILE, MOST_BYTES, limits) as archive:
        if archive is None:
            return None
        meta = archive.meta(max_size=1 << 16)
        expected = {
            "version": _VERSION, "predictor_type": predictor_type, "feature_dim": len(w), "model": _checksum(w0, w),
        }  # fmt: skip
        for name, value in expected.items():
            if type(meta.get(name)) is not type(value) or meta[name] != value:
                raise ArtifactError(
                    f"{name} is {quoted(meta.get(name))}, expected {value!r}: it is the spread of another model"
                )
        mean, scale = meta.get("mean"), meta.get("scale")
        if not (_is_finite(mean) and _is_finite(scale) and scale > 0):
            raise ArtifactError(
                f"mean and scale are {quoted([mean, scale])}, expected finite numbers, the scale above 0"
            )
        arrays: dict[str, Any] = {name: _array(archive, name, dtype) for name, (dtype, _) in _ARRAYS.items()}
        _check_shapes(arrays)
        _check_values(arrays, len(w), archive.limits)
        chain = _chain(meta.get("chain"))
        from fm_core.spread import Spread  # seldom needed, and its classes take a while to make

        return Spread(predictor_type == "binary_classifier", len(w), mean, scale, chain=chain, **arrays)


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, float) and math.isfinite(value)


def _chain(found: Any) -> "Chain | None":
    if found is None:
        return None
    names = {"n_samples": int, "effective": float, "cost": float, "is_enough": bool}
    if (
        not isinstance(found, dict)
        or found.keys() != names.keys()
        or not all(
            (found[name] is None and name != "n_samples") or type(found[name]) is kind for name, kind in names.items()
        )
        or not all(0 <= found[name] < 1e18 for name in ("n_samples", "effective", "cost") if found[name] is not None)
    ):
        raise ArtifactError(f"chain is {quoted(found)}, expected {', '.join(names)}, and numbers that are not negative")
    from fm_core.spread import Chain

    return Chain(**found)


def _array(archive: Archive, name: str, dtype: str) -> NDArray[Any]:
    """One array, in place where it is stored. numpy.load would take memory for what the header declares."""
    member = archive.member(f"{name}.npy")
    member.check_sum(archive.limits)
    start = bytes(member.data[:10])
    n_header = int.from_bytes(start[8:10], "little")
    header = _HEADER.fullmatch(bytes(member.data[10 : 10 + n_header]))
    if not start.startswith(_MAGIC) or header is None:
        raise ArtifactError(f"{name}.npy is not an array as NumPy writes it, in C order")
    if header[1].decode() != dtype:
        raise ArtifactError(f"{name} holds {header[1].decode()}, expected {dtype}")
    shape = tuple(int(n) for n in header[2].replace(b" ", b"").split(b",") if n)
    data = member.data[10 + n_header :]
    if max(shape, default=0) >= 1 << 31 or not shape or math.prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise ArtifactError(f"{name} has shape {shape} of {dtype}, and {len(data)} bytes")
    found: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    return found


def _check_shapes(arrays: dict[str, NDArray[Any]]) -> None:
    lengths: dict[str, int] = {}
    for name, (_, dimensions) in _ARRAYS.items():
        shape = arrays[name].shape
        expected = tuple(lengths.setdefault(d, n) for d, n in zip(dimensions, shape, strict=False))
        if len(shape) != len(dimensions) or shape != expected:
            raise ArtifactError(f"{name} has shape {shape}, expected {len(dimensions)} dimensions as other arrays have")
    bounds = {"s": (2, _MOST_SAMPLES), "p": (2, _MOST_FACTORS + 1), "g": (min(1, lengths["n"]), max(1, lengths["n"]))}
    for dimension, (least, most) in bounds.items():
        if not least <= lengths[dimension] <= most:
            what = {"s": "samples", "p": "numbers a feature", "g": "groups"}[dimension]
            raise ArtifactError(f"it has {lengths[dimension]} {what}, expected {least} to {most}")


def _check_values(arrays: dict[str, NDArray[Any]], feature_dim: int, limits: Limits) -> None:
    features, groups = arrays["features"], arrays["groups"]
    if len(features) and not (features[0] >= 0 and features[-1] < feature_dim and (features[1:] > features[:-1]).all()):
        raise ArtifactError(f"features are not increasing numbers from 0 to {feature_dim - 1}")
    if len(groups) and not (groups.min() >= 0 and groups.max() < len(arrays["typical"])):
        raise ArtifactError(f"groups are not numbers from 0 to {len(arrays['typical']) - 1}")
    for name, array in arrays.items():
        if name in ("features", "groups"):
            continue
        flat = array.reshape(-1)
        for part in row_blocks(flat):
            limits.check()
            if not is_finite(flat[part]) or (name in _POSITIVE and not (flat[part] > 0).all()):
                above = " above 0" if name in _POSITIVE else ""
                raise ArtifactError(f"{name} has a number that is not finite or not in its range, expected finite "
                                    f"numbers{above}")  # fmt: skip
