"""Write and read a model as a file: `model_algo-1`, in the format of SageMaker's built-in algorithm.

The file is a zip, not compressed, of three members:

- `meta.json`: the configuration of the job, as text, and the `score_range` of a model that has one;
- `symbol.json`: the network, for MXNet (mxnet_symbol.py);
- `params`: the parameters, as MXNet's NDArray list (mxnet_params.py).

Written files have fixed time stamps, so that equal models are equal bytes, and a padded
zip header before `params`, so that the factors lie 64-byte aligned in the file and are
used where they lie. Writing and reading go through the parameters in blocks: no second
copy of the model is made. What is read is checked first: `params` against its checksum,
shapes against `meta.json`, and every parameter for being finite.
"""

import errno
import functools
import json
import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import is_finite, row_blocks
from fm_core.artifact import mxnet_params
from fm_core.artifact.archive import MODEL_FILE, opened
from fm_core.artifact.limits import Limits
from fm_core.artifact.mxnet_params import Array, StoredArray, Values
from fm_core.artifact.mxnet_symbol import symbol_json
from fm_core.artifact.spread_file import load_spread
from fm_core.atomic_file import atomic_write
from fm_core.errors import ArtifactError, ResourceError
from fm_core.given import check_kind
from fm_core.hyperparameters import parameters
from fm_core.model import Model
from fm_core.printable import quoted
from fm_core.score_range import ScoreRange

__all__ = ["MODEL_FILE", "Saved", "identity", "load_model", "model_arrays", "model_of", "read_meta", "save_model"]


# Padding of a zip header, in the form that Android's zipalign made common: id, size of
# the rest, alignment, zeros. Readers skip ids that they do not know.
_PADDING = struct.Struct("<HHH")
_PADDING_ID = 0xD935
_ALIGNMENT = 64

#: Bytes of meta.json, at most.
_MAX_META = 1 << 20


class Saved(Protocol):
    """What is asked of a model to be written; `Model` has it."""

    @property
    def predictor_type(self) -> str:
        """The kind of its predictions."""

    @property
    def feature_dim(self) -> int:
        """Number of features."""

    @property
    def num_factors(self) -> int:
        """Number of factors of each."""

    @property
    def w0(self) -> float:
        """The bias."""

    @property
    def w(self) -> Values:
        """The linear weights, shape (feature_dim,)."""

    @property
    def V(self) -> Values:  # noqa: N802
        """The factors, shape (feature_dim, num_factors)."""


def save_model(path: str | os.PathLike[str], model: Saved, hyperparameter_strings: Mapping[str, str]) -> None:
    """Write a model in the format of SageMaker's built-in algorithm.

    The file appears under its name when it is complete and on disk, or not at all.

    Parameters
    ----------
    path : path
        Replaced if it exists; its folder must exist.
    model : Model, or other Saved
        `w` and `V` may be strided views; they are copied a few megabytes at a time. A `score_range` is kept, if there
        is such an attribute.
    hyperparameter_strings : mapping of str to str
        The job's final configuration, for `meta.json` and `symbol.json`. The model's own
        ``predictor_type``, ``feature_dim`` and ``num_factors`` replace those here.

    Raises
    ------
    ResourceError
        The disk is full.
    ArtifactError
        The file could not be written for another reason, or a parameter is not finite.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from fm_core import Model, load_model, save_model
    >>> model = Model("regressor", 1.0, np.zeros(3, np.float32), np.zeros((3, 2), np.float32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(os.path.join(folder, "model_algo-1"), model, {"epochs": "10"})
    ...     load_model(folder).V.shape
    (3, 2)
    """
    path = Path(path)
    for name in ("predictor_type", "feature_dim", "num_factors", "w0", "w", "V"):
        if not hasattr(model, name):
            raise TypeError(f"model is a {type(model).__name__} without {name}, expected a Model")
    check_kind("hyperparameter_strings", hyperparameter_strings, Mapping, "a mapping of texts")
    for name, text in hyperparameter_strings.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"hyperparameter {quoted(name)} is {quoted(text)}, expected texts: see to_texts")
    settings = dict(hyperparameter_strings) | {
        "feature_dim": str(model.feature_dim),
        "num_factors": str(model.num_factors),
        "predictor_type": model.predictor_type,
    }
    meta = {"version": 1, "epoch_number": 1, "training_parameters": settings, "label_names": ["out_label"]}
    score_range = getattr(model, "score_range", None)
    if score_range is not None:
        meta["score_range"] = list(score_range)
    symbol = symbol_json(model.predictor_type, model.feature_dim, model.num_factors, settings)
    arrays = model_arrays(model)
    try:
        with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_member("meta.json"), json.dumps(meta))
            archive.writestr(_member("symbol.json"), symbol)
            _write_params(archive, file.tell(), arrays)
    except OSError as error:
        reason = (
            f"{path} could not be written: {error.strerror or error}; it takes {mxnet_params.encoded_size(arrays)} "
            "bytes, and no partial file was left"
        )
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (ResourceError if is_full else ArtifactError)(reason) from error


def model_arrays(model: Saved) -> list[Array]:
    """Return the arrays of a model's `params`, in the built-in's order.

    Parameters
    ----------
    model : Model
        Or any object with its w0, w and V.

    Returns
    -------
    arrays : list of Array
    """
    # A model without a bias or linear term has zeros here, so that every reader finds the
    # three names that it looks for.
    return [
        Array("arg:w1_weight", model.w[:, np.newaxis], row_sparse=True),
        Array("arg:w0_weight", np.array([model.w0], np.float32), row_sparse=False),
        Array("arg:v", model.V, row_sparse=True),
    ]


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3  # Unix, whose permissions the next line gives, wherever this runs
    member.external_attr = 0o100644 << 16
    return member


def _write_params(archive: zipfile.ZipFile, position: int, arrays: list[Array]) -> None:
    member = _member("params")
    is_large = mxnet_params.encoded_size(arrays) > zipfile.ZIP64_LIMIT
    member.extra = _PADDING.pack(_PADDING_ID, 2, _ALIGNMENT)
    member.CRC = 0  # not known yet: zipfile sets it, and sizes, when all is written
    factors = position + len(member.FileHeader(is_large)) + mxnet_params.data_offset(arrays, len(arrays) - 1)
    padding = -factors % _ALIGNMENT
    member.extra = _PADDING.pack(_PADDING_ID, 2 + padding, _ALIGNMENT) + bytes(padding)
    with archive.open(member, "w", force_zip64=is_large) as file:
        for piece in mxnet_params.encode(arrays):
            file.write(piece)


def load_model(path: str | os.PathLike[str], limits: Limits | None = None) -> Model:
    """Read a model.

    Parameters
    ----------
    path : path
        A model file, a folder that holds one (or the `model.tar.gz` that does), or a
        `model.tar.gz`.
    limits : Limits, optional
        Of memory and time. By default the memory that the system has, and any time.

    Returns
    -------
    model : Model
        Its arrays are read-only views of the memory-mapped file where they are float32,
        whole and aligned, as in files written here; copies otherwise. Its spread is that of the `spread.npz` that lies
        beside the file, which is read when it is first asked for.

    Raises
    ------
    ArtifactError
        There is no such file, it is not a model, it is damaged, or a parameter is not finite.
    ResourceError
        The model needs more memory than the limit.
    """
    with opened(path, limits) as archive:
        meta = archive.meta(max_size=_MAX_META, kind="not a model file: ")
        params = archive.member("params")
        params.check_sum(archive.limits)
        model = model_of(meta, params.data, archive.limits)
    # not the model itself, which would hold on to itself
    model.spread = functools.partial(load_spread, Path(path).absolute(), model.predictor_type, model.w0, model.w)
    return model


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `meta.json` of a model file, without its parameters.

    Parameters
    ----------
    path : path
        As for `load_model`.

    Returns
    -------
    meta : dict
        `training_parameters` among others, as docs/reference/artifact.md lists them.

    Raises
    ------
    ArtifactError
        It is not a model file, or it is damaged.
    """
    with opened(path) as archive:
        return archive.meta(max_size=_MAX_META, kind="not a model file: ")


def identity(path: str | os.PathLike[str]) -> str:
    """An identifier of a model: the checksum of its parameters in the file, in eight hexadecimal digits.

    Parameters
    ----------
    path : path
        As for `load_model`, which compares parameters and checksum.

    Returns
    -------
    identity : str
        The same of the same parameters, whatever else the file holds.

    Raises
    ------
    ArtifactError
        It is not a model file, or it is damaged.
    """
    with opened(path) as archive:
        return f"{archive.member('params').crc:08x}"


class _Facts(NamedTuple):
    """The description of the parameters in `meta.json`."""

    predictor_type: str
    feature_dim: int
    num_factors: int
    use_bias: bool
    use_linear: bool
    score_range: ScoreRange | None


def _facts(meta: Mapping[str, Any]) -> _Facts:
    settings = meta.get("training_parameters")
    if not isinstance(settings, dict):
        raise ArtifactError("not a factorization machine: meta.json has no training_parameters")
    predictor_type = _setting(settings, "predictor_type")
    return _Facts(
        predictor_type=predictor_type,
        feature_dim=_setting(settings, "feature_dim"),
        num_factors=_setting(settings, "num_factors"),
        use_bias=settings.get("use_bias") not in ("false", False),
        use_linear=settings.get("use_linear") not in ("false", False),
        score_range=_score_range(meta, predictor_type),
    )


def _score_range(meta: Mapping[str, Any], predictor_type: str) -> ScoreRange | None:
    found = meta.get("score_range")
    if found is None:
        return None
    if predictor_type != "regressor":
        raise ArtifactError(
            f"in meta.json, predictor_type is {predictor_type} and score_range is there, expected of a regressor only"
        )
    try:
        return ScoreRange.of_json(found)
    except ValueError as error:
        raise ArtifactError(f"in meta.json, {error}") from None


def _setting(settings: Mapping[str, Any], name: str) -> Any:
    parameter = parameters()[name]
    value = settings.get(name)
    # Ten digits are enough for every integer that is admitted.
    if parameter.kind == "integer" and isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        value = int(value)
    problem = parameter.problem(value)
    if problem:
        raise ArtifactError(f"not a factorization machine: in meta.json, {problem}"[:300])
    return value


# The names of the sparse network, and those of the dense one, whose w is (1, d) and v (k, d).
_NAMES = {
    "w0_weight": "w0",
    "w1_weight": "w",
    "v": "V",
    "Linear_Plus_Bias_bias": "w0",
    "Linear_Plus_Bias_weight": "w",
}


def model_of(meta: Mapping[str, Any], params: memoryview, limits: Limits) -> Model:
    """Put a model together from what its members hold.

    Parameters
    ----------
    meta : mapping
        Of `meta.json`.
    params : memoryview of bytes
        The model's arrays are views of it where they can be.
    limits : Limits

    Returns
    -------
    model : Model

    Raises
    ------
    ArtifactError
        They are not a model's, or do not fit each other.
    ResourceError
        The model needs more memory than the limit.
    """
    facts, stored = _facts(meta), mxnet_params.decode(params)
    names = {name: name.removeprefix("arg:") for name in stored}
    found = {_NAMES[bare]: (bare, stored[name]) for name, bare in names.items() if bare in _NAMES}
    # A model without a term may come without its array.
    needed = {"V"} | ({"w0"} if facts.use_bias else set()) | ({"w"} if facts.use_linear else set())
    if len(found) != len(stored) or not needed <= found.keys():
        raise ArtifactError(
            f"not a factorization machine: params holds {', '.join(map(repr, stored)) or 'nothing'}, expected "
            "w0_weight, w1_weight and v (or Linear_Plus_Bias_bias, Linear_Plus_Bias_weight and v)"
        )
    d, k = facts.feature_dim, facts.num_factors
    w0 = _dense(*found["w0"], [(1,), (1, 1)], limits) if "w0" in found else np.zeros(1, np.float32)
    w = _dense(*found["w"], [(d, 1), (1, d), (d,)], limits) if "w" in found else _zeros("w", (d,), limits)
    # The shape tells which way v lies; where d = k, the network that w belongs to does.
    V = _dense(*found["V"], [(d, k), (k, d)], limits)
    is_transposed = "Linear_Plus_Bias_weight" in names.values() if d == k else V.shape == (k, d)
    if is_transposed:
        turned = _zeros("v", (d, k), limits)
        turned[:] = V.T
        V = turned
    return Model(facts.predictor_type, float(w0.reshape(-1)[0]), w.reshape(-1), V, facts.score_range)


def _zeros(name: str, shape: tuple[int, ...], limits: Limits) -> NDArray[np.float32]:
    """Take memory for an array, if it may be taken."""
    limits.allow(4 * math.prod(shape), f"{name} of shape {shape}")
    return np.zeros(shape, np.float32)


def _dense(name: str, array: StoredArray, shapes: list[tuple[int, ...]], limits: Limits) -> NDArray[np.float32]:
    """Return an array as finite, C-contiguous float32 with every row; in place if it is that already."""
    if array.shape not in shapes:
        raise ArtifactError(
            f"{name} has shape {array.shape}, expected {' or '.join(map(str, shapes))} by the feature_dim and "
            "num_factors of meta.json"
        )
    if array.values.dtype.kind != "f":
        raise ArtifactError(f"{name} holds {array.values.dtype}, expected float32")
    blocks = list(row_blocks(array.values))
    is_float32 = array.values.dtype == np.float32 and array.values.flags.aligned
    if is_float32 and _has_every_row_in_order(array, blocks):
        for rows in blocks:
            limits.check()
            _check_finite(name, array.values[rows])
        return array.values
    dense = _zeros(name, array.shape, limits)
    for rows in blocks:
        limits.check()
        with np.errstate(over="ignore"):  # an infinity is refused by the next line
            values = array.values[rows].astype(np.float32)
        _check_finite(name, values)
        dense[rows if array.row_ids is None else array.row_ids[rows]] = values
    return dense


def _has_every_row_in_order(array: StoredArray, blocks: list[slice]) -> bool:
    row_ids = array.row_ids
    if row_ids is None:
        return True
    return len(row_ids) == array.shape[0] and all(
        np.array_equal(row_ids[rows], np.arange(rows.start, rows.stop)) for rows in blocks
    )


def _check_finite(name: str, values: NDArray[np.float32]) -> None:
    if not is_finite(values):
        raise ArtifactError(
            f"{name} has a parameter that is not finite, so it cannot compute scores: its training diverged; train "
            "again with lower learning rates"
        )
