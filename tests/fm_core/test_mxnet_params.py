"""MXNet's NDArray list, against the layouts written down in tests/artifacts.py and an independent reader."""

import contextlib
import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import ArtifactError
from fm_core.mxnet_params import Array, data_offset, decode, encode, encoded_size
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
    monkeypatch.setattr("fm_core.mxnet_params._BLOCK_BYTES", max(block, 8))
    content = b"".join(encode(ARRAYS))
    assert content == artifacts.params(EXPECTED)
    assert encoded_size(ARRAYS) == len(content)
    at = data_offset(ARRAYS, 2)
    assert content[at : at + V.nbytes] == V.tobytes()


@given(rows=st.integers(1, 40), columns=st.integers(1, 5), block=st.integers(8, 200), step=st.integers(1, 3))
def test_pieces_are_bounded_and_strided_arrays_are_written_as_their_copies(rows, columns, block, step):
    strided = np.arange(rows * columns * step, dtype=np.float32).reshape(rows, columns * step)[:, ::step]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fm_core.mxnet_params._BLOCK_BYTES", block)
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


@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic_are_refused_or_read(tail):
    with contextlib.suppress(ArtifactError):
        decode(memoryview(artifacts.params({})[:16] + tail))
