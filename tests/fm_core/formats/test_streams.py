"""Files to chunks."""

import gzip
import os
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats import decompressed, open_chunks
from tests.fm_core.formats.strategies import chunkings

DATA = bytes(range(256)) * 20


def test_a_file_is_read_in_chunks(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    chunks = list(open_chunks(path, chunk_size=1000))
    assert b"".join(chunks) == DATA
    assert [len(chunk) for chunk in chunks] == [1000] * 5 + [120]


def test_an_empty_file_has_no_chunks(tmp_path):
    (tmp_path / "file").touch()
    assert list(open_chunks(tmp_path / "file")) == []


def test_gzip_is_recognised_whatever_the_name(tmp_path):
    path = tmp_path / "data.rec"
    path.write_bytes(gzip.compress(DATA))
    chunks = list(open_chunks(path, chunk_size=100))
    assert b"".join(chunks) == DATA
    assert max(map(len, chunks)) <= 100


@given(st.lists(st.binary(max_size=50), max_size=4), st.data())
def test_gzip_members_follow_one_another_and_padding_is_ignored(members, data):
    stream = b"".join(map(gzip.compress, members)) + bytes(data.draw(st.integers(0, 5)) * bool(members))
    for chunks in (data.draw(chunkings(stream)), [stream[i : i + 1] for i in range(len(stream))]):
        assert b"".join(decompressed(chunks, chunk_size=7)) == b"".join(members)


@given(st.binary(max_size=20).filter(lambda data: not data.startswith(b"\x1f\x8b")), st.data())
def test_what_is_not_gzip_is_passed_on(content, data):
    assert b"".join(decompressed(data.draw(chunkings(content)))) == content


@pytest.mark.parametrize("cut", [2, 12, -1])
def test_a_cut_gzip_file_is_refused(tmp_path, cut):
    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(DATA)[:cut])
    with pytest.raises(DataError, match=r"data\.gz: the gzip data ends at byte \d+, before its end mark"):
        list(open_chunks(path))


def test_a_damaged_gzip_file_is_refused(tmp_path):
    path = tmp_path / "data.gz"
    stream = bytearray(gzip.compress(DATA))
    stream[-6] ^= 1  # in the checksum
    path.write_bytes(stream)
    with pytest.raises(DataError, match=r"data\.gz: the gzip data is damaged after byte \d+"):
        list(open_chunks(path))


def test_a_bomb_comes_out_in_chunks():
    stream = gzip.compress(bytes(50_000_000))
    assert max(len(chunk) for chunk in decompressed([stream], chunk_size=1 << 16)) <= 1 << 16


class Counted:
    """A decompressor that counts the bytes handed to it."""

    n_bytes = 0

    def __init__(self, **options):
        self._object = decompressobj(**options)

    def decompress(self, data, *arguments):
        Counted.n_bytes += len(data)
        return self._object.decompress(data, *arguments)

    def __getattr__(self, name):
        return getattr(self._object, name)


decompressobj = zlib.decompressobj


@pytest.mark.parametrize(("members", "size"), [(3000, 0), (3000, 20), (20, 50_000), (1, 3_000_000)])
def test_work_stays_in_proportion_to_the_bytes_whatever_the_members_size(monkeypatch, members, size):
    stream = gzip.compress(os.urandom(size)) * members
    Counted.n_bytes = 0
    monkeypatch.setattr(zlib, "decompressobj", Counted)
    assert sum(map(len, decompressed([stream]))) == members * size
    assert Counted.n_bytes <= 3 * len(stream) + 600 * members


def test_padding_of_megabytes_is_passed_over():
    assert b"".join(decompressed([gzip.compress(DATA) + bytes(3_000_001), bytes(10)])) == DATA


def test_a_fifo_is_read_once_from_start_to_end(tmp_path):
    path = tmp_path / "train_0"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(DATA))
    writer.start()
    assert b"".join(open_chunks(path)) == DATA
    writer.join()
