"""MXNet's NDArray list, against the layouts written down in tests/artifacts.py and an independent reader."""

import contextlib
import importlib.util
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.artifact.mxnet_params import Array, data_offset, decode, encode, encoded_size
from fm_core.errors import ArtifactError
from tests import artifacts

rng = np.random.default_rng(0)
W = rng.normal(size=(9, 1)).astype(np.float32)
V = rng.normal(size=(9, 4)).astype(np.float32)
W0 = np.array([0.5], np.float32)
ARRAYS = [Array("arg:w1_weight", W, True), Array("arg:w0_weight", W0, False), Array("arg:v", V, True)]
EXPECTED = {"arg:w1_weight": artifacts.row_sparse(W), "arg:w0_weight": artifacts.dense(W0)}
EXPECTED["arg:v"] = artifacts.row_sparse(V)


@pytest.mark.parametrize("block", [1, 20, 4 << 20])
def test_the_bytes_are_those_of_the_layout(monkeypatch, block):
    monkeypatch.setattr("fm_core.arrays.CACHE_BYTES", max(block, 8))
    content = b"".join(encode(ARRAYS))
    assert content == artifacts.params(EXPECTED)
    assert encoded_size(ARRAYS) == len(content)
    at = data_offset(ARRAYS, 2)
    assert content[at : at + V.nbytes] == V.tobytes()


@given(rows=st.integers(1, 40), columns=st.integers(1, 5), block=st.integers(8, 200), step=st.integers(1, 3))
def test_pieces_are_bounded_and_strided_arrays_are_written_as_their_copies(rows, columns, block, step):
    strided = np.arange(rows * columns * step, dtype=np.float32).reshape(rows, columns * step)[:, ::step]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fm_core.arrays.CACHE_BYTES", block)
        pieces = [bytes(piece) for piece in encode([Array("v", strided, True)])]
    assert b"".join(pieces) == artifacts.params({"v": artifacts.row_sparse(strided)})
    assert max(map(len, pieces)) <= max(block, 4 * columns, 100)


# It leaves the closing of files to the garbage collector.
by_peer = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def peer(shared):
    spec = importlib.util.spec_from_file_location("peer", shared / "peers" / "mxnet_params_format.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@by_peer
def test_an_independent_reader_reads_what_is_written(peer, tmp_path):
    (tmp_path / "params").write_bytes(b"".join(encode(ARRAYS)))
    found = peer.read(tmp_path / "params")
    assert list(found) == [array.name for array in ARRAYS]
    for array in ARRAYS:
        assert np.array_equal(found[array.name], array.values)


def test_what_an_independent_writer_writes_is_read(peer, tmp_path):
    rows = (V[[8, 1]], [8, 1], (9, 4))
    peer.write(tmp_path / "params", {"arg:w1_weight": W, "arg:w0_weight": W0, "arg:v": rows}, sparse=["arg:w1_weight"])
    found = decode(memoryview((tmp_path / "params").read_bytes()))
    assert np.array_equal(found["arg:w1_weight"].values, W)
    assert found["arg:w1_weight"].row_ids.tolist() == list(range(9))
    assert found["arg:w0_weight"].row_ids is None
    assert found["arg:v"].shape == (9, 4)
    assert found["arg:v"].row_ids.tolist() == [8, 1]
    assert np.array_equal(found["arg:v"].values, V[[8, 1]])


def test_every_beginning_is_refused_with_its_place():
    content = artifacts.params(EXPECTED)
    for size in range(len(content)):
        with pytest.raises(ArtifactError, match=r"^params ends inside .* where \d+ are left \(byte \d+\)$"):
            decode(memoryview(content[:size]))


def test_what_follows_the_end_is_refused():
    with pytest.raises(ArtifactError, match="goes on for 1 bytes after its last name"):
        decode(memoryview(artifacts.params(EXPECTED) + b"\0"))


def test_two_arrays_of_one_name_are_refused():
    content = artifacts.params(EXPECTED).replace(b"arg:w1_weight", b"arg:w0_weight")
    with pytest.raises(ArtifactError, match="has two arrays of one name"):
        decode(memoryview(content))


def row_sparse_claim(stored, shape, ids_shape, ids_type=6):
    """A row_sparse array that says what it is told to say, followed by enough zeros for its data."""
    head = struct.pack("<Ii", 0xF993FAC9, 1) + artifacts.shape_bytes(stored) + artifacts.shape_bytes(shape)
    return head + artifacts.CPU + struct.pack("<ii", 0, ids_type) + artifacts.shape_bytes(ids_shape) + bytes(400)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            row_sparse_claim((3, 2), (5, 4), (3,)),
            r"has rows of shape \(3, 2\) for a row_sparse array of shape \(5, 4\)",
        ),
        (
            row_sparse_claim((6, 2), (5, 2), (6,)),
            r"has rows of shape \(6, 2\) for a row_sparse array of shape \(5, 2\)",
        ),
        (row_sparse_claim((), (), ()), r"has rows of shape \(\) for"),
        (row_sparse_claim((3, 2), (5, 2), (2,)), r"has row ids of shape \(2,\) for 3 rows"),
        (row_sparse_claim((3, 2), (5, 2), (3, 1)), r"has row ids of shape \(3, 1\) for 3 rows"),
        (row_sparse_claim((3, 2), (5, 2), (3,), ids_type=4), "has row ids that are not int64"),
        (row_sparse_claim((3, -2), (5, -2), (3,)), r"an array of shape \(3, -2\), expected sizes of at least 0"),
        (struct.pack("<IiI2q", 0xF993FAC9, 0, 2, -1, -8) + bytes(99), r"an array of shape \(-1, -8\), expected sizes"),
    ],
)
def test_an_array_that_contradicts_itself_is_refused(array, message):
    with pytest.raises(ArtifactError, match=message):
        decode(memoryview(artifacts.params({"v": array})))


def test_a_list_of_very_many_arrays_is_refused_before_it_is_walked():
    with pytest.raises(ArtifactError, match="declares 4294967296 arrays, expected at most 64"):
        decode(memoryview(struct.pack("<QQQ", 0x112, 0, 2**32)))


def test_an_array_without_items_takes_no_room_whatever_its_other_sizes():
    claim = struct.pack("<Ii", 0xF993FAC9, 0) + artifacts.shape_bytes((0, 2**62, 2**62)) + artifacts.CPU
    found = decode(memoryview(artifacts.params({"v": claim + struct.pack("<i", 0)})))
    assert found["v"].shape == (0, 2**62, 2**62)
    assert found["v"].values.size == 0


def test_a_row_id_that_is_repeated_across_two_blocks_is_found(monkeypatch):
    monkeypatch.setattr("fm_core.arrays.CACHE_BYTES", 16)
    array = artifacts.row_sparse(np.ones((4, 1), np.float32), [0, 3, 3, 5], 9)
    with pytest.raises(ArtifactError, match="has a row id twice"):
        decode(memoryview(artifacts.params({"v": array})))


@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic_are_refused_or_read(tail):
    with contextlib.suppress(ArtifactError):
        decode(memoryview(artifacts.params({})[:16] + tail))
