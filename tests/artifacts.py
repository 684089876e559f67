"""Model files of every layout, put together byte by byte: what the reader is tested with.

Nothing here is shared with fm_core: the layouts are written down a second time, in the
plainest way, and for arrays that fit in a test.
"""

import io
import json
import struct
import tarfile
import zipfile

import numpy as np

CODES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}
CPU = struct.pack("<ii", 1, 0)


def shape_bytes(shape):
    return struct.pack("<I", len(shape)) + b"".join(struct.pack("<q", size) for size in shape)


def dtype_bytes(array):
    return struct.pack("<i", CODES[array.dtype.name])


def dense(array):
    return struct.pack("<Ii", 0xF993FAC9, 0) + shape_bytes(array.shape) + CPU + dtype_bytes(array) + array.tobytes("C")


def dense_numpy_rules(array):
    return struct.pack("<Ii", 0xF993FACA, 0) + shape_bytes(array.shape) + CPU + dtype_bytes(array) + array.tobytes("C")


def dense_v1(array):
    return struct.pack("<I", 0xF993FAC8) + shape_bytes(array.shape) + CPU + dtype_bytes(array) + array.tobytes("C")


def dense_oldest(array):
    dimensions = b"".join(struct.pack("<I", size) for size in array.shape)
    return struct.pack("<I", array.ndim) + dimensions + CPU + dtype_bytes(array) + array.tobytes("C")


def row_sparse(array, row_ids=None, n_rows=None):
    row_ids = np.arange(len(array), dtype=np.int64) if row_ids is None else np.asarray(row_ids, np.int64)
    n_rows = len(array) if n_rows is None else n_rows
    return (
        struct.pack("<Ii", 0xF993FAC9, 1)
        + shape_bytes(array.shape)
        + shape_bytes((n_rows, *array.shape[1:]))
        + CPU
        + dtype_bytes(array)
        + struct.pack("<i", 6)
        + shape_bytes(row_ids.shape)
        + array.tobytes("C")
        + row_ids.tobytes()
    )


def params(arrays):
    """The NDArray list of encoded arrays by name."""
    names = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
    count = struct.pack("<Q", len(arrays))
    return struct.pack("<QQ", 0x112, 0) + count + b"".join(arrays.values()) + count + names


def meta(model, **settings):
    settings = {
        "predictor_type": model.predictor_type,
        "feature_dim": str(model.feature_dim),
        "num_factors": str(model.num_factors),
    } | settings
    return json.dumps({"version": 1, "training_parameters": settings}).encode()


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members, mode="w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def sparse_network(model):
    """The arrays as the built-in's sparse network stores them."""
    return {
        "arg:w1_weight": row_sparse(model.w[:, None]),
        "arg:w0_weight": dense(np.array([model.w0], np.float32)),
        "arg:v": row_sparse(model.V),
    }
