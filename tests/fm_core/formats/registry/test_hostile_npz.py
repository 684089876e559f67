"""npz files that say more than they have: refused in a sentence, before memory is taken or SciPy writes beside it."""

import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError, ResourceError
from fm_core.formats.registry.npz import read_npz

pytest.importorskip("scipy")


class Evil:
    def __reduce__(self):
        return os.abort, ()


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def declared(shape, descr="<f4"):
    """The header of an array of any shape, and 64 bytes."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(64)


def npz(method=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(np.asarray(content)))
    return file.getvalue()


def sparse(kind=b"csr", data=(1.0,), indices=(0,), indptr=(0, 1), shape=(1, 4), **more):
    return npz(format=kind, data=data, indices=indices, indptr=indptr, shape=np.array(shape), **more)


FAR = 10**9
HOSTILE = {
    "an npz in an npz": npz(X=npz(X=np.eye(3)), y=np.zeros(3)),
    "objects": npz(X=npy(np.array([[Evil()]], object))),
    "objects in a sparse matrix": sparse(data=np.array([Evil()], object)),
    "labels of objects": npz(X=np.eye(1), y=np.array([Evil()], object)),
    "a shape of 16 TB": npz(X=declared((1 << 40, 4))),
    "a shape beyond 64 bits": npz(X=declared((1 << 62, 1 << 62))),
    "a negative shape": npz(X=declared((-1, 4))),
    "two negative sides": npz(X=declared((-2, -2))),
    "a shape of no rows": npz(X=declared((0, 1 << 62))),
    "a shape of no columns": npz(X=declared((1 << 62, 0))),
    "a call for a shape": npz(X=declared("(__import__('os').abort(),)")),
    "brackets for a shape": npz(X=declared("(" * 20)),
    "texts of 400 MB": npz(X=declared((3,), "U99999999")),
    "no dimension": npz(X=np.float32(3)),
    "three dimensions": npz(X=np.zeros((2, 2, 2))),
    "rows of texts": npz(X=np.array([["a", "b"]])),
    "complex rows": npz(X=np.zeros((3, 2), "c8")),
    "other compression": npz(zipfile.ZIP_LZMA, X=np.eye(3)),
    "csr with a far column": sparse(indices=[FAR]),
    "csr with a negative column": sparse(indices=[-5]),
    "csr with a far start": sparse(indptr=[0, FAR]),
    "csr whose starts decrease": sparse(indptr=[0, 9, 1], shape=(2, 4)),
    "csc with a far row": sparse(b"csc", indices=[10**6], indptr=[0, 1, 1, 1, 1]),
    "csc with a negative row": sparse(b"csc", indices=[-(10**6)], indptr=[0, 1, 1, 1, 1]),
    "csc whose starts decrease": sparse(b"csc", indptr=[0, 1, -(10**6), 1, 1]),
    "csc of very many rows": sparse(b"csc", indptr=[0, 1], shape=(1 << 50, 1)),
    "csc of more columns than starts": sparse(b"csc", indptr=[0, 1], shape=(4, 1 << 31)),
    "bsr with a far block": sparse(b"bsr", data=np.ones((1, 2, 2)), indices=[10**6], shape=(2, 2)),
    "bsr of blocks of nothing": sparse(b"bsr", data=np.ones((1, 0, 0))),
    "coo with a far row": npz(format=b"coo", data=[1.0], row=[FAR], col=[0], shape=[2, 2]),
    "coo of very many rows": npz(format=b"coo", data=[1.0], row=[0], col=[0], shape=[1 << 50, 2]),
    "dia of very many rows": npz(format=b"dia", data=np.ones((1, 1)), offsets=[0], shape=[1 << 50, 2]),
    "a format that is none": sparse(b"os"),
    "a format that is not text": sparse(b"\xff\xfe"),
    "a long format": sparse(b"x" * 100_000),
    "a shape of fractions": npz(format=b"csr", data=[1.0], indices=[0], indptr=[0, 1], shape=[1.0, 4.0]),
    "a member before the file": npz(X=np.eye(1)).replace(b"\0\0\0\0X.npy", b"\xf0\xff\xff\xffX.npy"),
    "nothing": npz(),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npz_is_refused(tmp_path, name):
    path = tmp_path / "x.npz"
    path.write_bytes(HOSTILE[name])
    with pytest.raises((DataError, ResourceError)) as caught:
        read_npz(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 400 + len(str(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", npy(np.eye(3)))
        archive.writestr("X.npy", npy(np.zeros((3, 3))))
    with pytest.raises(DataError, match="there are two arrays X, expected one"):
        read_npz(str(path))


GOOD = [npz(X=np.eye(3, dtype="f4"), y=np.zeros(3)), sparse(), sparse(b"csc", indptr=[0, 1, 1, 1, 1]),
        npz(format=b"coo", data=[1.0], row=[0], col=[0], shape=[2, 2])]  # fmt: skip


@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_refused_or_harmless(tmp_path_factory, content, changes):
    damaged = bytearray(content)
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    text = "read"
    try:
        assert read_npz("x", io.BytesIO(damaged)).n_rows < 100
    except (DataError, ResourceError) as error:
        text = str(error)
    assert text.isprintable()
